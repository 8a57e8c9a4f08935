"""Names of options that the parser and the suggestions after a run share. It imports nothing."""

RETRY_FAILED = "--retry-failed"
FRESH = "--fresh"
ON_UNCERTAIN = "--on-uncertain"
ALL = "all"
"""What an option whose value may be left out, as in ``--retry-failed``, stands for without it."""
