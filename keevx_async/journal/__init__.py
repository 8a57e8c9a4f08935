"""The durable record of what was submitted: in one SQLite file, or in Redis for many machines."""
