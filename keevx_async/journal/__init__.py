"""The durable record of submitted creates: in one SQLite file, or in Redis for many machines."""
