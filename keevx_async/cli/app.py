"""The command line: what is called, and the exit code of what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App, CycloptsError

from keevx_async.errors import (
    AuthenticationError,
    ConfigurationError,
    KeevxError,
    SubmissionUncertain,
)
from keevx_async.version import VERSION

from .commands import register
from .lines import bear_any_text, complain
from .report import FAILED, INTERRUPTED, UNCERTAIN, USAGE
from .sources import STDIN

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
    bear_any_text()
    try:
        result = app(with_stdin(arguments), exit_on_error=False, print_error=False)
    except (CycloptsError, KeevxError, ValueError) as error:
        complain(error)
        return next((code for kind, code in CODES.items() if isinstance(error, kind)), FAILED)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # who read it has gone, as head does
        return FAILED
    return result if isinstance(result, int) else 0


def with_stdin(arguments: Sequence[str]) -> list[str]:
    """Name a lone ``-`` as the same path, for cyclopts takes it for an option."""
    return [f"./{STDIN}" if word == STDIN else word for word in arguments]
