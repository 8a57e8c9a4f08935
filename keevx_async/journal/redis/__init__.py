"""The durable record of creates in Redis, shared by many machines."""
