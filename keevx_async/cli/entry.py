"""Runs a command line between preparing the standard streams and closing them.

The parser and the commands are imported only where there is something to parse: scripts and
installers ask for the version often.
"""

from __future__ import annotations

from collections.abc import Sequence

from keevx_async.settings import VERSION

from .os_errors import describe_os_error
from .output.console import FAILED, OK, finish_output, prepare_streams, print_error


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code.

    Never raises for what a user or the system can cause: every such error is printed as
    ``keevx: message``. An output that could not be written makes a success a failure.

    Args:
        arguments: without the program's name.
    """
    prepare_streams()
    if list(arguments) == ["--version"]:
        print(VERSION)
        code = OK
    else:
        from .app import run_command

        code = run_command(arguments)
    error = finish_output()
    if error is None or code != OK:
        return code
    if not isinstance(error, BrokenPipeError):  # the reader has gone, as head does
        print_error(describe_os_error(error))
    return FAILED
