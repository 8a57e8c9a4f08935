"""The ``keevx`` command. ``main`` is its entry point, and imports everything else when called."""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run the command in ``sys.argv``, and exit with its exit code.

    If the ``cli`` extra is missing, exit with a message that says how to install it.
    """
    # Outside a command, Ctrl-C ends the process by the system's default action. A KeyboardInterrupt
    # would print a traceback of whatever is being imported or closed.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The parent may have closed descriptor 0, 1 or 2 (``keevx ... >&-``). The next file that is
    # opened, perhaps the journal, would get that number, so closed descriptors are opened on the
    # null device. 0 is opened for writing and 1 for reading, so using them fails as if they were
    # closed: a result that nobody can receive must be an error.
    for name, flags in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)  # takes the lowest free number
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    try:
        from .entry import run

        code = run(sys.argv[1:])
    except SystemError:  # CPython 3.13.0 cannot import sockets in a folder that was removed
        with suppress(FileNotFoundError):
            os.getcwd()
            raise
        print("keevx: the working folder no longer exists; change to another one", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            raise
        sys.exit("keevx: the command line needs the cli extra; pip install 'keevx_async[cli]'")
    sys.exit(code)
