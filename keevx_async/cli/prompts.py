"""Files of prompts: JSON lines or CSV, read lazily, every fault named with file, line and field."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from attrs import frozen

from keevx_async.errors import InvalidRequest
from keevx_async.image_to_video import ImageToVideo
from keevx_async.requests import Request

KEY = "key"


@frozen
class Job:
    """One line of a file: where it stands, its request, and its key if it has one."""

    line: int
    request: Request
    key: str | None = None


@frozen
class Problem:
    """One fault of a file, as a person is told it."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class BadLine(Exception):
    """A line that is no request; says why."""

    def __init__(self, line: int, messages: tuple[str, ...]) -> None:
        super().__init__(line, messages)
        self.line = line
        self.messages = messages


def jobs(path: Path) -> Iterator[Job | BadLine]:
    """Yield each line's job, or what is wrong with it.

    Raises:
        OSError: the file cannot be read.
    """
    folder = path.resolve().parent  # so that a body does not depend on how the file was named
    rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in rows(file):
            yield row if isinstance(row, BadLine) else _job(line, row, folder)


class Prompts:
    """The requests of a file that was found to be in order, and the key that each line gave."""

    def __init__(self, file: Path | Iterable[Job]) -> None:
        rows = jobs(file) if isinstance(file, Path) else file
        self._jobs = (row for row in rows if isinstance(row, Job))
        self._keys: dict[int, str | None] = {}

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Prompts:
        """Return prompts without a file."""
        return cls(Job(line, request) for line, request in enumerate(requests, 1))

    def __iter__(self) -> Iterator[Request]:
        for job in self._jobs:
            self._keys[id(job.request)] = job.key
            yield job.request

    def key(self, request: Request) -> str | None:
        """Return the key that a request's line gave; asked once."""
        return self._keys.pop(id(request), None)


def problems(path: Path) -> tuple[int, list[Problem]]:
    """Read a file through; return how many jobs it holds, and all that is wrong with it."""
    found: list[Problem] = []
    count = 0
    try:
        for job in jobs(path):
            count += 1
            if isinstance(job, BadLine):
                found += [Problem(str(path), job.line, one) for one in job.messages]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        found.append(Problem(str(path), 0, f"cannot be read: {reason}"))
    if not count and not found:
        found.append(Problem(str(path), 0, "holds no prompts"))
    return count, found


def _json_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text.strip())
        except (ValueError, RecursionError) as error:
            where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            yield line, BadLine(line, (f"is no JSON{where}",))
            continue
        yield line, row if isinstance(row, dict) else BadLine(line, ("is no JSON object",))


def _csv_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    reader = csv.DictReader(file, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, BadLine(reader.line_num, (f"is no CSV: {error}",))
            return
        if None in row:
            yield reader.line_num, BadLine(reader.line_num, ("has more cells than the header",))
        else:
            yield reader.line_num, {name: _cell(name, text) for name, text in row.items() if text}


def _cell(name: str, text: str) -> Any:
    """Turn a cell into what its field takes; what cannot be turned is left for the rules."""
    text = text.strip()
    if name in ("duration", "generate_count"):
        return int(text) if text.lstrip("-").isdecimal() else text
    if name == "generate_audio":
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower(), text
        )
    return text.split() if name == "reference_images" else text


def _job(line: int, row: dict[str, Any], folder: Path) -> Job | BadLine:
    key = row.pop(KEY, None)
    if key is not None and not (isinstance(key, str) and key):
        return BadLine(line, (f"key: {key!r} is not a text",))
    try:
        request = ImageToVideo.from_dict(with_paths(row, folder))
    except InvalidRequest as error:
        return BadLine(line, tuple(map(str, error.violations)))
    missing = [path for path in request.local_files() if not path.is_file()]
    if missing:
        return BadLine(line, tuple(f"{path} is neither a URL nor a file" for path in missing))
    return Job(line, request, key)


def with_paths(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Turn sources that are no URLs into paths relative to the file."""

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(place(one) for one in cast(list[object], value))
        if isinstance(value, str) and value and "://" not in value:
            return folder / value.removeprefix("file:")
        return value

    sources = ImageToVideo.sources
    return {name: place(value) if name in sources else value for name, value in row.items()}
