"""The durable record of creates in Redis, which many machines share."""
