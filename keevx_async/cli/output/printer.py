"""What single-shot commands print: a line or a JSON object on stdout, errors on stderr."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import attrs
from cyclopts import Parameter, Token

from keevx_async.errors import AuthenticationError, InvalidRequest, KeevxError, UploadError
from keevx_async.models.tasks import Task

from .console import printable
from .report import FAILED, OK, USAGE
from .streams import write_error


def _at_home(_: object, tokens: Sequence[Token]) -> Path:
    """Return the path that a word names: of ``--out=~/videos`` a shell leaves the ~ as it is."""
    path = Path(tokens[0].value)
    if path.parts[:1] != ("~",):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # a container's user, who is in no list of users
        raise ValueError(
            f"{path}: this user has no home folder; set HOME, or name it whole"
        ) from None


Place = Annotated[Path, Parameter(converter=_at_home)]
FLAG = Parameter(negative="", show_default=False)
Json = Annotated[bool, FLAG, Parameter(help="Print one JSON object a line.")]
Download = Annotated[Place | None, Parameter(help="Folder the results go to, made if need be.")]

T = TypeVar("T")


def seconds(_: object, value: float | None) -> None:
    """Refuse what is no length of time."""
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{value} is no number of seconds from 0")


def print_error(what: object) -> bool:
    """Print an error, or another word that is no result; return whether it was written."""
    return write_error(f"keevx: {printable(str(what))}")


def keep_ids(task_ids: Sequence[str]) -> None:
    """Save task ids that are paid and could not be printed: a terminal was closed, a disk is full.

    They go to standard error; where that is gone too, to ``keevx-task-ids.txt`` in the working
    folder, or else in the folder for temporary files.
    """
    if print_error(f"keep these task ids, which are paid and nobody read: {', '.join(task_ids)}"):
        return
    for folder in (Path(), Path(tempfile.gettempdir())):
        with suppress(OSError), (folder / "keevx-task-ids.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{one}\n" for one in task_ids)
            return


class Printer:
    """Prints results.

    Args:
        as_json: whether as JSON.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def print(self, fields: Mapping[str, Any], *lines: str) -> None:
        """Print one result: an object of its fields, or its lines."""
        written = [json.dumps(fields, default=str)] if self.as_json else map(printable, lines)
        print(*written, sep="\n", flush=True)

    def task(self, task: Task, path: Path | None = None) -> int:
        """Print a task, and where its result was put; return the exit code it stands for."""
        fields = attrs.asdict(task) if path is None else {**attrs.asdict(task), "path": path}
        self.print(fields, task_line(task, path))
        return FAILED if task.done and not task.succeeded else OK


def task_line(task: Task, path: Path | None = None) -> str:
    """Return a task as a person reads it: its id, its status, and its result or why not."""
    said = path or next(iter(task.results.values()), task.error_message)
    return printable(f"{task.task_id}  {task.status}  {said}".rstrip())


async def each(
    items: Iterable[str],
    work: Callable[[str], Awaitable[T]],
    tell: Callable[[T], int],
    *,
    in_order: bool = True,
) -> int:
    """Do all at once, and return the exit code; one that fails leaves the others alone.

    Args:
        items: names; one named twice is done once.
        work: what is done for each.
        tell: prints what came of it, and returns its exit code.
        in_order: whether they are told in the order of items, or as they end.

    Raises:
        AuthenticationError: a refused key is refused for all.
    """
    working = [asyncio.ensure_future(work(item)) for item in dict.fromkeys(items)]
    ending = working if in_order else asyncio.as_completed(working)
    try:
        return max([await _described(one, tell) for one in ending], default=OK)
    finally:
        for one in working:
            one.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _described(one: Awaitable[T], tell: Callable[[T], int]) -> int:
    try:
        return tell(await one)
    except AuthenticationError:
        raise
    except KeevxError as error:
        print_error(error)
        return USAGE if isinstance(error, UploadError | InvalidRequest) else FAILED
