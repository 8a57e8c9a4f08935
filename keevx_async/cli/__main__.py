"""The entry point for ``python -m keevx_async.cli``."""

from . import main

main()
