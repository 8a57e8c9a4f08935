"""The command line: what is called, and the exit code of what comes of it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Sequence

from cyclopts import App, CycloptsError

from keevx_async.errors import (
    AuthenticationError,
    ConfigurationError,
    KeevxError,
    SubmissionUncertain,
)
from keevx_async.settings import VERSION

from .input.sources import STDIN
from .output.printer import print_error
from .output.report import FAILED, INTERRUPTED, OK, UNCERTAIN, USAGE
from .output.streams import finish_output, prepare_streams
from .registry import register
from .signals import raising_interrupts, stoppable

app = App(
    name="keevx",
    help="Image-to-video with Keevx: every create is paid at most once.",
    version=VERSION,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
register(app)
CODES: dict[type[Exception], int] = {
    CycloptsError: USAGE,
    ConfigurationError: USAGE,
    AuthenticationError: USAGE,
    ValueError: USAGE,
    SubmissionUncertain: UNCERTAIN,
}


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    prepare_streams()
    code = _code_of(arguments)
    failed = finish_output()
    if failed is None or code != OK:
        return code
    if not isinstance(failed, BrokenPipeError):  # who read it has gone, as head does
        print_error(described(failed))
    return FAILED


def _code_of(arguments: Sequence[str]) -> int:
    try:
        with raising_interrupts():
            return _run(arguments)
    except (CycloptsError, KeevxError, ValueError) as error:
        print_error(error)
        return next((code for kind, code in CODES.items() if isinstance(error, kind)), FAILED)
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        print_error(described(error))
        return FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        command, bound, _ = app.parse_args(
            with_stdin(arguments), exit_on_error=False, print_error=False
        )
    except OSError as error:  # of what the command imports: nothing has begun
        raise ConfigurationError(described(error)) from None
    result = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(result):
        result = asyncio.run(_interrupted(result))
    return result if isinstance(result, int) else OK


async def _interrupted(command: Awaitable[object]) -> object:
    """Await a command, which a signal ends; one that takes signals itself comes before this."""
    signals = 0

    def on_signal(times: int) -> None:
        nonlocal signals
        signals = times

    result = await stoppable(command, on_signal)
    if signals and result == INTERRUPTED:
        print_error("interrupted")
    return result


def described(error: OSError) -> str:
    """Say what the system refused, with the file, and the variable that named it.

    A working folder that was removed is named as such: the system says no more than "No such
    file or directory".
    """
    try:
        os.getcwd()
    except OSError:
        return "the folder that it runs in is gone; change to one that is there"
    reason = error.strerror or str(error)
    if error.filename is None:
        return reason
    named = [name for name, value in os.environ.items() if value == str(error.filename)]
    hint = f", which the environment variable {named[0]} names" if named else ""
    return f"{error.filename}: {reason}{hint}"


def with_stdin(arguments: Sequence[str]) -> list[str]:
    """Name a lone ``-`` as the same path, for cyclopts takes it for an option."""
    return [f"./{STDIN}" if word == STDIN else word for word in arguments]
