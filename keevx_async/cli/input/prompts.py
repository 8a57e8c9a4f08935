"""Reads and checks files of prompts lazily; each problem names its file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import evolve, field, fields_dict, frozen

from keevx_async import ImageToVideo
from keevx_async.errors import ConfigurationError, InvalidRequest, UploadError
from keevx_async.journal.protocol import first_attempt_key
from keevx_async.models.kinds import Kind
from keevx_async.models.registry import REQUESTS, request_by_name
from keevx_async.models.request import Request
from keevx_async.transfer.fitting import Fit
from keevx_async.transfer.images import sniff
from keevx_async.transfer.media_types import CONVERTIBLE
from keevx_async.transfer.output_paths import Row

from ..output.wording import for_terminal
from .csv_types import KEY, KIND, kind_of_row, ratio_from_time
from .formats import BadLine
from .inputs import Draft, Input
from .sources import Source
from .template import PROMPT

MAX_PROBLEMS = 50
"""The maximum number of problems to print for a file."""
MAX_MORE_LINES = 3
"""The maximum number of other line numbers to print, if several lines have the same problem."""
MAX_PATH_SHOWN = 300
"""The maximum length of a path in a message; someone may pass a whole image as text."""


@frozen
class Job:
    """One line of a file.

    Attributes:
        line: the line number, from 1.
        request: the request on the line.
        key: the request's key in the journal, if the line sets one.
        row: the line's values by column.
    """

    line: int
    request: Request
    key: str | None = None
    row: Mapping[str, Any] = field(factory=dict[str, Any])


@frozen
class Problem:
    """A problem in a file, printed as ``prompts.csv:2: duration: must be …``.

    Attributes:
        file: the file's name.
        line: the first line with the problem, from 1; 0 if the problem concerns the whole file.
        message: what is wrong.
        more_lines: the other lines that have the same problem.
    """

    file: str
    line: int
    message: str
    more_lines: Sequence[int] = ()

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{where}: {self.message}"
        if count := len(self.more_lines):
            text += " (also on line" if count == 1 else f" (also on {count:,} more lines:"
            text += f" {', '.join(str(line) for line in self.more_lines[:MAX_MORE_LINES])}"
            text += ", …)" if count > MAX_MORE_LINES else ")"
        return text


def problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the lines to print for the problems in a file.

    At most ``MAX_PROBLEMS`` are listed; a last line counts the others.
    """
    yield from map(str, problems[:MAX_PROBLEMS])
    if len(problems) > MAX_PROBLEMS:
        yield f"… and {len(problems) - MAX_PROBLEMS:,} more"


def jobs(file: Path | Input) -> Iterator[Job | BadLine]:
    """Yield the jobs in a file; a line with problems is yielded as a ``BadLine``.

    A duplicate key is a problem on the later line. Only the keys and one line are kept in memory.

    Raises:
        OSError: the file cannot be read.
    """
    source = Input(first=Source.from_path(file)) if isinstance(file, Path) else file
    keys: dict[str, int] = {}
    for line, draft in source.drafts():
        job = draft if isinstance(draft, BadLine) else _parse_draft(line, draft, source.fit)
        if isinstance(job, Job) and (key := job.key) is not None:
            if key in keys:
                job = BadLine(line, (f"key: must be unique (line {keys[key]} also has {key!r})",))
            else:
                keys[key] = line
        yield job


class Prompts:
    """The requests in a checked file, each with its job.

    Iterate over it once to get the requests. Once a request has been yielded, its job can be
    looked up until ``take_job`` removes the job.

    Args:
        file: the file, or its jobs.

    Raises:
        ConfigurationError: while iterating, if the file changed after the check and a line is bad.
    """

    def __init__(self, file: Path | Input | Iterable[Job | BadLine]) -> None:
        self._jobs = jobs(file) if isinstance(file, Path | Input) else file
        self._in_progress: dict[int, Job] = {}

    @classmethod
    def from_requests(cls, requests: Iterable[Request]) -> Prompts:
        """Return prompts for requests that are not from a file; lines are numbered from 1."""
        return cls(Job(line, request) for line, request in enumerate(requests, 1))

    def __iter__(self) -> Iterator[Request]:
        for job in self._jobs:
            if isinstance(job, BadLine):
                raise ConfigurationError(
                    f"the file changed while it was being read: line {job.line}: {job.messages[0]}"
                )
            self._in_progress[id(job.request)] = job
            yield job.request

    def key(self, request: Request) -> str | None:
        """Return a request's key, if its line sets one.

        Raises:
            KeyError: the request was not yielded, or its job was taken.
        """
        return self._in_progress[id(request)].key

    def row(self, request: Request) -> Row:
        """Return the row from which a request was made.

        Raises:
            KeyError: the request was not yielded, or its job was taken.
        """
        job = self._in_progress[id(request)]
        return Row(job.line, job.row)

    def take_job(self, request: Request) -> Job:
        """Remove and return a request's job; call it once the request has ended.

        Raises:
            KeyError: the request was not yielded, or its job was taken.
        """
        return self._in_progress.pop(id(request))


def find_problems(
    file: Path | Input, check: Callable[[Job], str | None] = lambda _: None
) -> tuple[int, list[Problem]]:
    """Read a whole file; return the number of jobs, valid or not, and all problems.

    Lines with the same problem share one ``Problem``. A file that cannot be read or has no prompts
    is also reported as a problem; no exception is raised.

    Args:
        file: the file; it is read line by line.
        check: checks a job that breaks no rule; returns a message, or None if the job is fine.
    """
    if isinstance(file, Path):
        file = Input(first=Source.from_path(file))
    name = file.name
    lines_by_message: dict[str, list[int]] = {}
    kinds: set[type[Request]] = set()
    count = 0
    if problems := [
        Problem(axis, bad.line, message)
        for axis, bad in file.bad_lines()
        for message in bad.messages
    ]:
        return 0, problems  # rows cannot be combined with a bad axis
    try:
        for job in jobs(file):
            count += 1
            if isinstance(job, BadLine):
                messages = job.messages
            else:
                kinds.add(type(job.request))
                message = check(job)
                messages = () if message is None else (message,)
            for message in messages:
                lines = lines_by_message.setdefault(message, [])
                if lines[-1:] != [job.line]:  # all combinations of a line may have the same problem
                    lines.append(job.line)
    except OSError as error:
        lines_by_message[f"cannot be read: {error.strerror or error}"] = [0]
    if not count and not lines_by_message:
        lines_by_message["contains no prompts"] = [0]
    if kinds and not lines_by_message:
        for option in file.defaults.unused(kinds):
            lines_by_message[f"--{option_name(option)}: is not a field of any row's kind"] = [0]
    return count, [
        Problem(name, line, message, more) for message, (line, *more) in lines_by_message.items()
    ]


def option_name(field: str) -> str:
    """Return a field's option name, without the leading dashes."""
    return field.replace("_", "-")


def _parse_draft(line: int, draft: Draft, fit: Fit) -> Job | BadLine:
    """Return a row's job, or the problems with its key, kind, fields or files."""
    # A line reports the problems of the first step that finds any, because later steps depend on
    # earlier ones:
    # 1. The key must be a string that cannot equal the key of another line's later attempt.
    # 2. The kind determines the fields. Without a kind, a line is image-to-video, unless its fields
    #    show that the kind was forgotten: otherwise every field would be reported as unknown.
    # 3. The fields must satisfy the vendor's rules; all violations are reported.
    # 4. Local files must exist and be images; nothing is uploaded yet.
    row = draft.values
    key = row.pop(KEY, None)
    if key is not None and not (isinstance(key, str) and key):
        return BadLine(line, (f"key: must be a string (got {key!r})",))
    if key is not None and first_attempt_key(key) != key:
        message = f"key: must not end in ~ and a number (got {key!r}); the journal adds those"
        return BadLine(line, (message,))
    kind_name = row.pop(KIND, None)
    if kind_name is None and (hint := _missing_kind(row)):
        return BadLine(line, (hint,))
    try:
        kind = request_by_name(kind_of_row(kind_name))
        request = kind.from_dict(row)
    except InvalidRequest as error:
        messages: list[str] = []
        for violation in error.violations:
            violation = evolve(violation, message=for_terminal(violation.message))
            value, suffix = violation.value, ""
            # Spreadsheets read 16:9 as a time, and save 16:09:00.
            if violation.rule == "allowed" and violation.field.endswith("ratio"):
                ratio = ratio_from_time(value) if isinstance(value, str) else None
                if ratio not in (None, value):
                    suffix = (
                        f"; a spreadsheet turned {ratio} into a time: format the column as text"
                    )
            # If an option set the value, name the option. A value that is missing in every line is
            # best passed once.
            if violation.field in draft.options:
                messages.append(f"--{option_name(violation.field)}: {violation.message}{suffix}")
                continue
            if violation.message == "is required" and violation.field != PROMPT:
                suffix = f"; pass --{option_name(violation.field)} for every line"
                if draft.row.keys() - {PROMPT}:  # a list of prompts has no columns
                    suffix += ", or add a column"
            messages.append(f"{violation}{suffix}")
        return BadLine(line, tuple(messages))
    missing = tuple(
        f"{f'--{option_name(name)}' if name in draft.options else name}: {problem}"
        for name in request.source_fields
        for path in _as_tuple(getattr(request, name))
        if isinstance(path, Path) and (problem := file_problem(path, request.kind, fit))
    )
    return BadLine(line, missing) if missing else Job(line, request, key, draft.row)


def _missing_kind(row: Mapping[str, Any]) -> str | None:
    """Return a message with the kind to add, if a row's fields fit only a different kind."""
    if row.keys() <= fields_dict(ImageToVideo).keys():
        return None
    for name, kind in REQUESTS.items():
        if row.keys() <= fields_dict(cast(Any, kind)).keys():
            return f'kind: is required with these fields; add "{KIND}": "{name}"'
    return None


def _as_tuple(value: object) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


def file_problem(path: Path, kind: Kind, fit: Fit = "none") -> str | None:
    """Return the reason a local file cannot be uploaded for a kind of job; None if it can be.

    The file's type is determined by its first bytes. Nothing is sent. Unless ``fit`` is ``none``,
    an image may be too large, or in a format that can be converted.
    """
    try:
        if path.is_file():
            if fit == "none" or "JPEG" not in kind.formats:
                sniff(path, kind.formats)
            else:
                sniff(path, (*kind.formats, *CONVERTIBLE), limit=None)
            return None
    except UploadError as error:
        return str(error)
    except OSError:  # the name is too long for the system
        pass
    if any(part.startswith("data:") for part in path.parts):
        return "data: URIs are not supported; save the image to a file and use its path"
    return f"{str(path)[:MAX_PATH_SHOWN]} is neither a URL nor a file"
