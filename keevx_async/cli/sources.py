"""Where prompts are read from: a file or standard input, JSON lines or CSV, row by row."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Literal

from attrs import frozen

from keevx_async.errors import ConfigurationError

from .cells import typed

Form = Literal["jsonl", "csv"]
STDIN = "-"
SUFFIXES: dict[str, Form] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class BadLine(Exception):
    """A line that is no request; says why."""

    def __init__(self, line: int, messages: tuple[str, ...]) -> None:
        super().__init__(line, messages)
        self.line = line
        self.messages = messages


@frozen
class Source:
    """Something to read prompts from.

    Attributes:
        path: the file.
        name: what a person calls it.
        folder: what its local paths are relative to; absolute, so that a request does not
            depend on how the file was named.
        form: ``jsonl`` or ``csv``; None: as its suffix says, else its first letter.
    """

    path: Path
    name: str
    folder: Path
    form: Form | None = None

    @classmethod
    def of(cls, path: Path, form: Form | None = None) -> Source:
        """Return a file as a source."""
        return cls(path, str(path), path.resolve().parent, form)

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
        """Yield each row and its line number, blank lines left out.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            form = self.form or SUFFIXES.get(self.path.suffix.lower()) or _sniffed(file)
            yield from (_csv_rows if form == "csv" else _json_rows)(file)


@contextmanager
def opened(file: Path, form: Form | None) -> Generator[Source]:
    """Return what a command line named; standard input is kept, for it is read twice.

    Raises:
        ConfigurationError: standard input is a terminal.
    """
    if str(file) != STDIN:
        yield Source.of(file, form)
        return
    if sys.stdin.isatty():
        raise ConfigurationError(
            "standard input is a terminal; pipe the prompts in, or name a file"
        )
    with TemporaryDirectory(prefix="keevx-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
        yield Source(path, "stdin", Path.cwd(), form)


def _sniffed(file: IO[str]) -> Form:
    """Tell JSON lines by their first letter: no header of ours begins with a bracket."""
    is_json = file.read(4096).lstrip().startswith(("{", "["))
    file.seek(0)
    return "jsonl" if is_json else "csv"


def _json_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(_decoded(text.strip()))
        except (ValueError, RecursionError) as error:
            yield line, BadLine(line, (_no_json(error),))
            continue
        yield line, row if isinstance(row, dict) else BadLine(line, ("is no JSON object",))


def _decoded(text: str) -> str:
    """Return text if it was UTF-8; what was not came as lone surrogates."""
    if not text.isascii():
        text.encode()
    return text


def _no_json(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "is not UTF-8 text; save the file as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON at column {error.colno}: {error.msg}"
    return "is no JSON"


def _csv_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    reader = csv.DictReader(map(_decoded, file), strict=True)
    try:
        if twice := _twice(reader.fieldnames or ()):
            yield 1, BadLine(1, tuple(f"{name}: has two columns" for name in twice))
            return
        for row in reader:
            yield reader.line_num, _csv_row(reader.line_num, row)
    except UnicodeError:
        line = reader.line_num + 1  # it counts what it was given
        yield line, BadLine(line, ("is not UTF-8 text; save the file as UTF-8",))
    except csv.Error as error:
        yield reader.line_num, BadLine(reader.line_num, (f"is no CSV: {error}",))


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _csv_row(line: int, row: dict[str | Any, str | Any]) -> dict[str, Any] | BadLine:
    if None in row:
        return BadLine(line, ("has more cells than the header",))
    return typed({name: text.strip() for name, text in row.items() if text})
