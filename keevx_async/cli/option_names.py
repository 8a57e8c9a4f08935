"""Option names used by the parser and by the suggestions after a run. Imports nothing."""

RETRY_FAILED = "--retry-failed"
FRESH = "--fresh"
ON_UNCERTAIN = "--on-uncertain"
ALL = "all"
"""The value of ``--retry-failed`` when the option is passed without a value."""
