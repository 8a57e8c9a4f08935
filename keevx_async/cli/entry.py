"""Prepares the standard streams, runs a command line, and flushes the output.

``--version`` imports neither the parser nor the commands, because scripts and installers run it
often.
"""

from __future__ import annotations

from collections.abc import Sequence

from keevx_async.settings import VERSION

from .os_errors import describe_os_error
from .output.console import FAILED, OK, finish_output, prepare_streams, print_error


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code.

    Errors that a user or the system can cause are not raised: they are printed as
    ``keevx: message``. A successful command returns ``FAILED`` if its output cannot be written to.

    Args:
        arguments: the arguments, without the program's name.
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
    if not isinstance(error, BrokenPipeError):  # the reader closed the pipe, as head does
        print_error(describe_os_error(error))
    return FAILED
