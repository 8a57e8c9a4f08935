"""The entry point of ``python -m keevx_async.cli``."""

from . import main

main()
