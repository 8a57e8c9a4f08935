"""The ``keevx`` command."""

import os
import signal
import sys


def main() -> None:
    """Run the command line, or say which extra it needs."""
    # Until a command runs, and once it has ended, Ctrl-C ends the process as the system does: a
    # KeyboardInterrupt would show a traceback of what is being imported, or closed.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _fill_standard_descriptors()
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            raise
        sys.exit("keevx: the command line needs its extra: pip install 'keevx_async[cli]'")
    sys.exit(run(sys.argv[1:]))


def _fill_standard_descriptors() -> None:
    """Put something at 0, 1 and 2 where the parent closed them (``keevx ... >&-``).

    Else the next file that is opened, a journal perhaps, gets such a number. What stands at 0
    and 1 fails when it is used, as a closed one should: a result that nobody reads is told of.
    """
    for name, flags in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)  # gets the lowest number that is free
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
