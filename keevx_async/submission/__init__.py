"""A paid create, at most once."""
