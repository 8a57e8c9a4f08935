"""The ``keevx`` command."""

import sys


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            raise
        sys.exit("keevx: the command line needs its extra: pip install 'keevx_async[cli]'")
    sys.exit(run(sys.argv[1:]))
