"""One HTTP exchange: bytes, verdict, retry."""
