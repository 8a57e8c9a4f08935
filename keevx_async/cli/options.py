"""The options of the command line: their types, their help, and those of ``keevx run`` as a whole.

cyclopts reads the annotations. A text is a sentence as the help shows it.
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
    """Says in a type's metadata that an option's converter has the last word on its value.

    Where pydantic happens to be imported, cyclopts has it check every value against its type. A
    converter here may return what the type does not show: a text that is checked later with a
    better message, or the address of an object instead of a path.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, str]:
        return {"type": "any"}


CONVERTED = _Converted()


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


def _parse_destination(what: object, tokens: Sequence[Token]) -> Path:
    """Convert an argument to a path, or to an address in object storage."""
    text = tokens[0].value
    try:
        return as_path(text) if is_object(text) else _parse_path(what, tokens)
    except ConfigurationError as error:
        raise ValueError(error.message) from None


def _parse_text(_: object, tokens: Sequence[Token]) -> str:
    """Return the value of an option as it is: what it may be is checked with a better message."""
    return tokens[0].value


def check_seconds(_: object, value: float | None) -> None:
    """Check that an option is a length of time; cyclopts calls it with the converted value.

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
        help="Prompts: text with one per line, CSV with a header, JSON lines or a JSON array; a "
        "folder of images; - for stdin."
    ),
]
Concurrency = Annotated[int, Parameter(help="Maximum number of creates in flight.")]
Output = Annotated[
    Destination,
    Parameter(
        help="Folder for the results (created if missing), or a template for their names, such as "
        f"'videos/{{date}}/{{index:04d}}-{{prompt}}-{{id}}', of {field_names()}; s3://, gs:// and "
        "az:// too."
    ),
]
FitOption = Annotated[
    Fit,
    Parameter(
        help="Make local images fit (upright, right format, 20 MB), and frames to aspect_ratio."
    ),
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
        help="Stop after so many identical refusals in a row; 0 for no limit. A refused key or an "
        "empty account stops it at once."
    ),
]


def check_failure(_: object, value: str | None) -> None:
    """Check that an option names a class of failure; cyclopts calls it with the value.

    Raises:
        ValueError: with the classes that exist.
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
        help="Submit items that failed in earlier runs again, or only those that failed for one "
        f"reason ({', '.join(failure_classes())}); every task is paid for again.",
    ),
]
OnExisting = Literal["report", "resubmit"]
if TYPE_CHECKING:
    KindName = str
else:  # what a shell completes
    KindName = Literal[tuple(REQUESTS)]


@Parameter(name="*", group=INPUT)
@frozen(kw_only=True)
class InputOptions:
    """How the prompts are read: the options that ``keevx run`` and ``keevx check`` share."""

    format: Annotated[
        Format | None, Parameter(help="Input format; detected from the file by default.")
    ] = None
    kind: Annotated[
        KindName | None,
        CONVERTED,
        Parameter(
            converter=_parse_text,
            help="Kind to use for rows that do not name one; image_to_video by default.",
        ),
    ] = None
    matrix: Annotated[
        tuple[PathOption, ...],
        Parameter(
            negative="",
            consume_multiple=True,
            show_default=False,
            help="More files, or folders of images: each row combined with every row of the "
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
    """The options of ``keevx run``, which cyclopts parses into one value.

    Each attribute is an option: ``dry_run`` is ``--dry-run``. They are checked one by one only;
    ``run`` refuses those that exclude each other.
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
            help="Make, and pay for, new ones of the items that earlier runs made.",
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
            help="What to do with creates of earlier runs that may have been paid.",
        ),
    ] = "report"
    concurrency: Concurrency = 32
    fuse: RunFuse = DEFAULT_FUSE
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
    record: Annotated[
        PathOption | None,
        Parameter(
            help="Add every exchange with Keevx to this file, without keys and signatures, for "
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
        """What to do with items that failed in earlier runs, as ``Journal`` takes it."""
        if self.retry_failed in (None, ALL):
            return "report" if self.retry_failed is None else "resubmit"
        return lambda task: failure_class(task.error_message) == self.retry_failed
