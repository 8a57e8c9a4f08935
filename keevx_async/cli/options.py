"""The options of the command line: their types, their help, and those of ``keevx run`` as a whole.

cyclopts reads the annotations. A text is a sentence as the help shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from attrs import frozen
from cyclopts import Parameter, Token

from .input.sources import Format


def _parse_path(_: object, tokens: Sequence[Token]) -> Path:
    """Convert an argument to a path; ``~`` is the home folder.

    A shell expands it in ``--out ~/videos``, but leaves ``--out=~/videos`` as it is.
    """
    path = Path(tokens[0].value)
    if path.parts[:1] != ("~",):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # in a container, whose user is in no list of users
        raise ValueError(
            f"{path}: this user has no home folder; set HOME, or give the full path"
        ) from None


def check_seconds(_: object, value: float | None) -> None:
    """Check that an option is a length of time; cyclopts calls it with the converted value.

    Raises:
        ValueError: the value is negative, infinite or not a number.
    """
    if value is not None and not 0 <= value < math.inf:
        raise ValueError("Must be 0 or more seconds.")


PathOption = Annotated[Path, Parameter(converter=_parse_path)]
FLAG = Parameter(negative="", show_default=False)
Json = Annotated[bool, FLAG, Parameter(help="Print one JSON object per line.")]
Download = Annotated[
    PathOption | None,
    Parameter(help="Download the results to this folder; created if missing."),
]
PromptFile = Annotated[
    PathOption,
    Parameter(help="Prompts: JSON lines, a JSON array, or CSV with a header; - for stdin."),
]
InputFormat = Annotated[
    Format | None, Parameter(help="Input format; detected from the file by default.")
]
Concurrency = Annotated[int, Parameter(help="Maximum number of creates in flight.")]
Output = Annotated[
    PathOption,
    Parameter(help="Folder for the results (created if missing), or a template for their names."),
]
Fleet = Annotated[str, Parameter(help="Name of the fleet, if several share one Redis.")]
OnExisting = Literal["report", "resubmit"]


@Parameter(name="*")
@frozen(kw_only=True)
class RunOptions:
    """The options of ``keevx run``, which cyclopts parses into one value.

    Each attribute is an option: ``dry_run`` is ``--dry-run``. They are checked one by one only;
    ``run`` refuses those that exclude each other.
    """

    out: Output = Path("videos")
    journal: Annotated[
        PathOption | None,
        Parameter(help="Journal file; by default keevx.db beside the results."),
    ] = None
    no_journal: Annotated[
        bool,
        FLAG,
        Parameter(help="Keep no journal: running this again pays for everything again."),
    ] = False
    fresh: Annotated[
        bool,
        FLAG,
        Parameter(help="Make, and pay for, new ones of the items that earlier runs made."),
    ] = False
    yes: Annotated[bool, FLAG, Parameter(help="Do not ask before paying.")] = False
    format: InputFormat = None
    dry_run: Annotated[
        bool, FLAG, Parameter(help="Check the input and print an estimate; send nothing.")
    ] = False
    retry_failed: Annotated[
        bool,
        FLAG,
        Parameter(
            help="Submit items that failed in earlier runs again; all their tasks are paid again."
        ),
    ] = False
    on_uncertain: Annotated[
        OnExisting,
        Parameter(help="What to do with creates of earlier runs that may have been paid."),
    ] = "report"
    concurrency: Concurrency = 32
    callbacks: Annotated[
        str | None,
        Parameter(
            help="Public URL that leads to --listen. Keevx reports tasks that end there, and "
            "creates whose answer was lost are recovered."
        ),
    ] = None
    listen: Annotated[str, Parameter(help="HOST:PORT to receive callbacks on.")] = "127.0.0.1:8080"
    docket: Annotated[
        str | None,
        Parameter(help="Redis URL of a fleet that does the work; see keevx worker."),
    ] = None
    fleet: Fleet = "keevx"
    json: Annotated[
        bool, FLAG, Parameter(help="Print JSON events to stdout, everything else to stderr.")
    ] = False
    quiet: Annotated[bool, FLAG, Parameter(help="Print only errors and the summary.")] = False

    @property
    def on_failed(self) -> OnExisting:
        """What to do with items that failed in earlier runs, as ``Journal`` takes it."""
        return "resubmit" if self.retry_failed else "report"
