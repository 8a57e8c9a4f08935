"""One exchange: bytes, verdict, retry."""
