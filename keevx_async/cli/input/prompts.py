"""Files of prompts: read lazily, every fault named with file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import fields_dict, frozen

from keevx_async import ImageToVideo
from keevx_async.errors import ConfigurationError, InvalidRequest, UploadError, Violation
from keevx_async.journal.protocol import first_attempt_key
from keevx_async.models.kinds import Kind
from keevx_async.models.registry import REQUESTS, request_by_name
from keevx_async.models.request import Request
from keevx_async.transfer.images import sniff

from .csv_types import KEY, KIND, kind_of_row, ratio_made_a_time
from .formats import BadLine
from .sources import Source

MOST_TOLD = 50
"""Faults of a file that are told one by one."""
LINES_TOLD = 3
"""Lines that are named beside the first, where many have the same fault."""
MAX_QUOTED = 300
"""Letters of a path that a person is told."""


@frozen
class Job:
    """One line of a file: where it stands, its request, and its key if it has one."""

    line: int
    request: Request
    key: str | None = None


@frozen
class Problem:
    """One fault of a file, as a person is told it.

    Attributes:
        file: what a person calls it.
        line: the first that has the fault; 0: it is the whole file's.
        message: what is wrong.
        more_lines: the others that have the same fault.
    """

    file: str
    line: int
    message: str
    more_lines: Sequence[int] = ()

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.message}{''.join(self._elsewhere())}"

    def _elsewhere(self) -> Iterator[str]:
        if count := len(self.more_lines):
            yield f" … in {count:,} more line{'s' * (count > 1)} ("
            yield ", ".join(map(str, self.more_lines[:LINES_TOLD]))
            yield ", …)" if count > LINES_TOLD else ")"


def told(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the lines that tell a person of a file's faults; of very many, the first."""
    yield from map(str, problems[:MOST_TOLD])
    if len(problems) > MOST_TOLD:
        yield f"… and {len(problems) - MOST_TOLD:,} more"


def jobs(file: Path | Source) -> Iterator[Job | BadLine]:
    """Yield each line's job, or what is wrong with it.

    Raises:
        OSError: the file cannot be read.
    """
    source = file if isinstance(file, Source) else Source.of(file)
    keys: dict[str, int] = {}
    for line, row in source.rows():
        job = row if isinstance(row, BadLine) else _job(line, row, source.folder)
        if isinstance(job, Job) and job.key is not None:
            first = keys.setdefault(job.key, line)
            if first != line:
                said = f"key: {job.key!r} is line {first}'s too; give each line a key of its own"
                job = BadLine(line, (said,))
        yield job


class Prompts:
    """The requests of a file that was found to be in order, and the job of each."""

    def __init__(self, file: Path | Source | Iterable[Job]) -> None:
        self._jobs = jobs(file) if isinstance(file, Path | Source) else file
        self._under_way: dict[int, Job] = {}

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Prompts:
        """Return prompts without a file."""
        return cls(Job(line, request) for line, request in enumerate(requests, 1))

    def __iter__(self) -> Iterator[Request]:
        for job in self._jobs:
            if isinstance(job, BadLine):
                raise ConfigurationError(
                    f"the file was changed while it was read: line {job.line}: {job.messages[0]}"
                )
            self._under_way[id(job.request)] = job
            yield job.request

    def key(self, request: Request) -> str | None:
        """Return the key that a request's line gave."""
        return self._under_way[id(request)].key

    def ended(self, request: Request) -> Job:
        """Return a request's job; asked once, when all is known of it."""
        return self._under_way.pop(id(request))


def problems(
    file: Path | Source, check: Callable[[Job], str | None] = lambda _: None
) -> tuple[int, list[Problem]]:
    """Read a file through; return how many jobs it holds, and all that is wrong with it.

    Args:
        file: its lines are read, and no more than one is held.
        check: says what else is wrong with a job that breaks no rule.
    """
    name = file.name if isinstance(file, Source) else str(file)
    lines: dict[str, list[int]] = {}  # that have a fault
    count = 0
    try:
        for job in jobs(file):
            count += 1
            fault = check(job) if isinstance(job, Job) else None
            messages = job.messages if isinstance(job, BadLine) else (fault,) if fault else ()
            for message in messages:
                lines.setdefault(message, []).append(job.line)
    except OSError as error:
        lines[f"cannot be read: {error.strerror or error}"] = [0]
    if not count and not lines:
        lines["holds no prompts"] = [0]
    return count, [Problem(name, line, said, more) for said, (line, *more) in lines.items()]


def _job(line: int, row: dict[str, Any], folder: Path) -> Job | BadLine:
    key = row.pop(KEY, None)
    if key is not None and not (isinstance(key, str) and key):
        return BadLine(line, (f"key: must be a string (got {key!r})",))
    if key is not None and first_attempt_key(key) != key:
        said = f"key: {key!r} is one that the journal gives to a later try; end it otherwise"
        return BadLine(line, (said,))
    named = row.pop(KIND, None)
    if named is None and (hint := _forgotten(row)):
        return BadLine(line, (hint,))
    try:
        kind = request_by_name(kind_of_row(named))
        request = kind.from_dict(with_paths(kind, row, folder))
    except InvalidRequest as error:
        return BadLine(line, tuple(map(_explained, error.violations)))
    if missing := tuple(_missing(request)):
        return BadLine(line, missing)
    return Job(line, request, key)


def _explained(violation: Violation) -> str:
    """Say what is broken; of a ratio that a spreadsheet has taken for a time, that it has."""
    said, value = str(violation), violation.value
    if violation.rule != "allowed" or not violation.field.endswith("ratio"):
        return said
    ratio = ratio_made_a_time(value) if isinstance(value, str) else None
    if ratio is None or ratio == value:
        return said
    return f"{said}; a spreadsheet made a time of {ratio}: format the column as text"


def _forgotten(row: Mapping[str, Any]) -> str | None:
    """Tell which kind a line without one is of, where its fields are another's alone."""
    if row.keys() <= fields_dict(ImageToVideo).keys():
        return None
    for name, kind in REQUESTS.items():
        if row.keys() <= fields_dict(cast(Any, kind)).keys():
            return f'kind: is missing; a line with these fields has "{KIND}": "{name}"'
    return None


def _missing(request: Request) -> Iterator[str]:
    """Tell, field by field, which local files are not there."""
    for name in request.source_fields:
        value: object = getattr(request, name)
        several = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
        for one in several:
            if isinstance(one, Path) and (fault := describe_fault(one, request.kind)):
                yield f"{name}: {fault}"


def describe_fault(path: Path, kind: Kind) -> str | None:
    """Say what keeps a local file from being uploaded for a job of a kind, or None."""
    try:
        if not path.is_file():
            return _absent(path)
        sniff(path, kind.formats)
    except UploadError as error:
        return str(error)
    except OSError:  # too long for the system
        return _absent(path)
    return None


def _absent(path: Path) -> str:
    """Say what is wrong with a path that is not there; a whole image may stand in it."""
    if any(part.startswith("data:") for part in path.parts):
        return "data: URIs are not taken; save the image as a file, and name that"
    return f"{str(path)[:MAX_QUOTED]} is neither a URL nor a file"


def with_paths(kind: type[Request], row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Turn sources that are no URLs into paths relative to the file."""

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(place(one) for one in cast(list[object], value))
        if isinstance(value, str) and value and "://" not in value:
            return folder / value.removeprefix("file:")
        return value

    return {
        name: place(value) if name in kind.source_fields else value for name, value in row.items()
    }
