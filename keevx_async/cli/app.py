"""Parses the command line, runs the command, and reports errors as messages and exit codes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from keevx_async.errors import ConfigurationError, KeevxError
from keevx_async.settings import VERSION

from .input.sources import STDIN
from .option_names import ALL, RETRY_FAILED
from .os_errors import describe_os_error
from .output.console import (
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    exit_code,
    print_error,
    print_error_event,
)
from .registry import register
from .signals import raising_interrupts, stoppable

app = App(
    name="keevx",
    help=(
        "Create videos and images with Keevx. Every create is paid for at most once.\n\n"
        "Exit codes: 0 all done; 1 something failed; 2 invalid usage, input, key, host or journal "
        "(nothing was sent); 3 a create whose response was lost may have been charged; 4 stopped "
        "before every item was started; 130 interrupted."
    ),
    version=VERSION,
    # Markdown would import a parser and a highlighter, which doubles the time to show help.
    help_format="plaintext",
    version_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
register(app)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments, run the command, and return its exit code. Errors are printed."""
    # A command ends in one of these ways:
    # 1. It returns its exit code, or nothing, which means 0. A command that sends creates handles
    #    signals itself, prints what it knows, and returns 130.
    # 2. It raises one of our errors, or the command line has a syntax error: EXIT_CODES has the
    #    code. With --json, the error is also printed as an event.
    # 3. A signal interrupts it: 130.
    # 4. The reader of its output is gone: 1, since nobody is left to read a message.
    # 5. The system refuses an operation: 1, and the message names the file.
    as_json = "--json" in arguments
    try:
        with raising_interrupts():
            try:
                command, bound, _ = app.parse_args(
                    explicit(arguments), exit_on_error=False, print_error=False
                )
            except OSError as error:  # raised while importing the command: nothing has started
                raise ConfigurationError(describe_os_error(error)) from None
            result = command(*bound.args, **bound.kwargs)
            if inspect.iscoroutine(result):
                # A command that handles signals itself replaces this handler.
                signals: list[int] = []
                result = asyncio.run(stoppable(result, signals.append))
                if signals and result == INTERRUPTED:
                    raise KeyboardInterrupt
            return result if isinstance(result, int) else OK
    except (CycloptsError, KeevxError, ValueError) as error:
        hint = ""
        if isinstance(error, CycloptsError):
            hint = f" See: {' '.join(('keevx', *(error.command_chain or ()), '--help'))}"
        print_error(f"{error}{hint}")
        code = USAGE if isinstance(error, CycloptsError) else exit_code(error)
        if as_json:
            print_error_event(error, exit=code)
        return code
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        print_error(describe_os_error(error))
        if as_json:
            print_error_event(OSError(describe_os_error(error)), exit=FAILED)
        return FAILED


def explicit(arguments: Sequence[str]) -> list[str]:
    """Rewrite the arguments before a ``--`` into a form that cyclopts can parse.

    1. cyclopts treats a lone ``-`` as an option, so ``-`` becomes the path ``./-``. Commands that
       read a file accept both as standard input.
    2. cyclopts does not support options with an optional value, so a missing value is filled in.

    Arguments after ``--`` belong to another command and are left unchanged.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    forms = {STDIN: f"./{STDIN}", RETRY_FAILED: f"{RETRY_FAILED}={ALL}"}
    return [*(forms.get(argument, argument) for argument in arguments[:end]), *arguments[end:]]
