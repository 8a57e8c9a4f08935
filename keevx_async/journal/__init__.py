"""The durable record of submitted creates, in a SQLite file or, for many machines, in Redis."""
