"""Types and help texts for command-line options, and all options of ``keevx run``.

cyclopts reads the annotations, and shows each help text unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import frozen
from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from keevx_async.errors import ConfigurationError
from keevx_async.models.failures import failure_class, failure_classes
from keevx_async.models.object_path import as_path, is_object
from keevx_async.models.registry import REQUESTS
from keevx_async.models.tasks import Task
from keevx_async.settings import DEFAULT_FUSE
from keevx_async.transfer.fitting import Fit
from keevx_async.transfer.output_paths import field_names

from .input.formats import Format
from .option_names import ALL


class _Converted:
    """Marks an option whose converter may return a value of another type.

    If pydantic is imported, cyclopts uses it to check every value against the option's type. Some
    converters return another type: a string that is checked later with a better message, or an
    object storage address instead of a path.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, str]:
        return {"type": "any"}


CONVERTED = _Converted()


def _parse_path(_: object, tokens: Sequence[Token]) -> Path:
    """Convert an argument to a path; ``~`` is expanded to the home folder.

    Shells expand ``~`` in ``--out ~/videos``, but not in ``--out=~/videos``.
    """
    path = Path(tokens[0].value)
    if path.parts[:1] != ("~",):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # in a container, the user may have no passwd entry
        raise ValueError(
            f"{path}: this user has no home folder; set HOME, or give the full path"
        ) from None


def _parse_destination(what: object, tokens: Sequence[Token]) -> Path:
    """Convert an argument to a path or an object storage address."""
    text = tokens[0].value
    try:
        return as_path(text) if is_object(text) else _parse_path(what, tokens)
    except ConfigurationError as error:
        raise ValueError(error.message) from None


def _parse_text(_: object, tokens: Sequence[Token]) -> str:
    """Return an option's value unchanged; it is checked later, with a better message."""
    return tokens[0].value


def check_seconds(_: object, value: float | None) -> None:
    """Check that an option's value is a valid number of seconds. Called by cyclopts.

    Raises:
        ValueError: the value is negative, infinite or not a number.
    """
    if value is not None and not 0 <= value < math.inf:
        raise ValueError("Must be 0 or more seconds.")


INPUT = Group("Input", sort_key=1)
SPENDING = Group("Spending", sort_key=2)
OUTPUT = Group("Output", sort_key=3)
REQUEST_SORT_KEY = 4
ADVANCED = Group("Advanced", sort_key=9)
PathOption = Annotated[Path, Parameter(converter=_parse_path)]
Destination = Annotated[Path, CONVERTED, Parameter(converter=_parse_destination)]
FLAG = Parameter(negative="", show_default=False)
Json = Annotated[bool, FLAG, Parameter(help="Print one JSON object per line.")]
Download = Annotated[
    Destination | None,
    Parameter(
        help="Download the results to this folder (created if missing), or s3://, gs://, az://."
    ),
]
PromptFile = Annotated[
    PathOption | None,
    Parameter(
        help="File of prompts: text with one prompt per line, CSV with a header, JSON lines or a "
        "JSON array; a folder of images; - for stdin."
    ),
]
Concurrency = Annotated[int, Parameter(help="Maximum number of creates in flight.")]
Output = Annotated[
    Destination,
    Parameter(
        help="Folder for the results (created if missing), or a template for their names, such as "
        f"'videos/{{date}}/{{index:04d}}-{{prompt}}-{{id}}'; fields: {field_names()}. May start "
        "with s3://, gs:// or az://."
    ),
]
FitOption = Annotated[
    Fit,
    Parameter(help="Adapt local images (rotation, format, 20 MB), and frames to aspect_ratio."),
]
Strict = Annotated[bool, FLAG, Parameter(help="Treat warnings as errors.")]
VerifyOption = Annotated[
    bool,
    FLAG,
    Parameter(
        help="Compare the duration, pixels and sound of each video with its request; needs PyAV "
        "or ffprobe."
    ),
]
Fleet = Annotated[str, Parameter(help="Name of the fleet, if several share one Redis.")]
RunFuse = Annotated[
    int,
    Parameter(
        help="Stop after this many identical refusals in a row; 0 for no limit. A refused key or "
        "an empty account always stops it."
    ),
]


def check_failure(_: object, value: str | None) -> None:
    """Check that an option's value is ``all`` or a failure class. Called by cyclopts.

    Raises:
        ValueError: the value is neither; the message lists the classes.
    """
    if value not in (None, ALL, *failure_classes()):
        raise ValueError(f"Must be one of {', '.join(failure_classes())}.")


RetryFailed = Annotated[
    str | None,
    Parameter(
        group=SPENDING,
        requires_equals=True,
        metavar="[=REASON]",
        validator=check_failure,
        help="Resubmit items that failed in earlier runs, or only those that failed for one "
        f"reason ({', '.join(failure_classes())}); every task is paid for again.",
    ),
]
OnExisting = Literal["report", "resubmit"]
if TYPE_CHECKING:
    KindName = str
else:  # for shell completion
    KindName = Literal[tuple(REQUESTS)]


@Parameter(name="*", group=INPUT)
@frozen(kw_only=True)
class InputOptions:
    """Options for reading prompts, shared by ``keevx run`` and ``keevx check``."""

    format: Annotated[
        Format | None, Parameter(help="Input format; detected from the file by default.")
    ] = None
    kind: Annotated[
        KindName | None,
        CONVERTED,
        Parameter(
            converter=_parse_text,
            help="Kind of rows that do not set one; image_to_video by default.",
        ),
    ] = None
    matrix: Annotated[
        tuple[PathOption, ...],
        Parameter(
            negative="",
            consume_multiple=True,
            show_default=False,
            help="More files or folders of images; each row is combined with every row of the "
            "others.",
        ),
    ] = ()
    repeat: Annotated[
        int, Parameter(help="Number of times to make each request.", validator=Number(gte=1))
    ] = 1
    fit: FitOption = "none"
    strict: Strict = False


@Parameter(name="*", group=ADVANCED)
@frozen(kw_only=True)
class RunOptions:
    """The options of ``keevx run``, which cyclopts parses into one object.

    Each attribute is an option: ``dry_run`` is ``--dry-run``. Options are checked individually
    here; ``run`` rejects options that exclude each other.
    """

    out: Annotated[Output, Parameter(group=OUTPUT)] = Path("videos")
    journal: Annotated[
        PathOption | None,
        Parameter(
            group=SPENDING,
            help="Journal file; by default keevx.db beside the results. Pass it again to resume.",
        ),
    ] = None
    no_journal: Annotated[
        bool,
        FLAG,
        Parameter(
            group=SPENDING,
            help="Keep no journal: running this again pays for everything again.",
        ),
    ] = False
    fresh: Annotated[
        bool,
        FLAG,
        Parameter(
            group=SPENDING,
            help="Make new results, and pay again, for items that earlier runs already made.",
        ),
    ] = False
    verify: VerifyOption = False
    dry_run: Annotated[
        bool,
        FLAG,
        Parameter(group=SPENDING, help="Check the input and print an estimate; send nothing."),
    ] = False
    retry_failed: RetryFailed = None
    on_uncertain: Annotated[
        OnExisting,
        Parameter(
            group=SPENDING,
            help="What to do with creates of earlier runs that may have been charged.",
        ),
    ] = "report"
    concurrency: Concurrency = 32
    fuse: RunFuse = DEFAULT_FUSE
    callbacks: Annotated[
        str | None,
        Parameter(
            help="Public URL that forwards to --listen. Keevx reports ended tasks to it, which "
            "also recovers creates whose response was lost."
        ),
    ] = None
    listen: Annotated[str, Parameter(help="HOST:PORT on which to receive callbacks.")] = (
        "127.0.0.1:8080"
    )
    docket: Annotated[
        str | None,
        Parameter(help="Redis URL of a fleet that does the work; see keevx worker."),
    ] = None
    fleet: Fleet = "keevx"
    record: Annotated[
        PathOption | None,
        Parameter(
            help="Append every exchange with Keevx to this file, without keys or signatures, for "
            "keevx emulator --replay."
        ),
    ] = None
    json: Annotated[
        bool,
        FLAG,
        Parameter(group=OUTPUT, help="Print JSON events to stdout, everything else to stderr."),
    ] = False
    quiet: Annotated[
        bool, FLAG, Parameter(group=OUTPUT, help="Print only errors and the summary.")
    ] = False

    @property
    def on_failed(self) -> OnExisting | Callable[[Task], bool]:
        """The ``on_failed`` argument of ``Journal``, for items that failed in earlier runs."""
        if self.retry_failed in (None, ALL):
            return "report" if self.retry_failed is None else "resubmit"
        return lambda task: failure_class(task.error_message) == self.retry_failed
