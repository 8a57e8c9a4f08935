"""Option names that the parser and the suggestions after a run share. Imports nothing."""

RETRY_FAILED = "--retry-failed"
FRESH = "--fresh"
ON_UNCERTAIN = "--on-uncertain"
ALL = "all"
"""The value of an option such as ``--retry-failed`` if none is given."""
