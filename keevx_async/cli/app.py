"""The commands. Each is a thin hand-over to the SDK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from keevx_async.errors import AuthenticationError, ConfigurationError, KeevxError
from keevx_async.journal import Journal
from keevx_async.version import VERSION

from .bulk import run_file
from .demo import demo
from .ledger import settlement, tell_journal
from .listen import listen
from .report import ERRORS, FAILED, INTERRUPTED, USAGE
from .sources import STDIN

app = App(
    name="keevx",
    help="Image-to-video with Keevx: every create is paid at most once.",
    version=VERSION,
    result_action="return_value",
)
USER_ERRORS = (ConfigurationError, AuthenticationError, ValueError)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    try:
        result = app(_with_stdin(arguments), exit_on_error=False, print_error=True)
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        ERRORS.print("keevx: interrupted")
        return INTERRUPTED
    except (KeevxError, ValueError) as error:
        ERRORS.print(f"keevx: {error}")
        return USAGE if isinstance(error, USER_ERRORS) else FAILED
    return result if isinstance(result, int) else 0


def _with_stdin(arguments: Sequence[str]) -> list[str]:
    """Name run's lone ``-`` as the same path, for cyclopts takes it for an option."""
    if list(arguments[:1]) != ["run"]:
        return list(arguments)
    return [f"./{STDIN}" if word == STDIN else word for word in arguments]


app.command(run_file, name="run")
app.command(demo)
app.command(listen)


@app.command(name="journal")
async def show_journal(
    file: Annotated[Path, Parameter(help="A journal, as named to run.")],
    *,
    settle: Annotated[
        list[str] | None,
        Parameter(help="KEY=ID[,ID…] or KEY=none: what became of an uncertain create."),
    ] = None,
) -> int:
    """Show what a journal holds, and the creates whose answer was lost; settle them."""
    if not file.is_file():
        ERRORS.print(f"keevx: there is no journal {file}")
        return USAGE
    with Journal(file) as record:
        for word in settle or []:
            key, ids = settlement(word)
            await record.settle(key, ids)
        return tell_journal(Console(soft_wrap=True, highlight=False, markup=False), record)
