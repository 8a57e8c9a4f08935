"""The durable record in Redis, for many machines."""
