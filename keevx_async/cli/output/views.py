"""Makes ``results.csv``, ``index.html`` and ``results.parquet`` from ``results.jsonl``.

Each file is replaced completely or not at all. ``results.jsonl`` is read line by line; only keys
and line numbers are kept in memory, except for Parquet.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import IO, Any, cast

from keevx_async.errors import ConfigurationError

from .gallery import Folder, page_end, page_row, page_start
from .records import FIELDS

CSV_NAME, PAGE_NAME, PARQUET_NAME = "results.csv", "index.html", "results.parquet"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a cell a formula in a spreadsheet. Source: OWASP, "CSV Injection"."""
REQUIRED = {"key", "prompt", "status", "task_ids", "paths", "error"}
"""The fields that identify one of our lines."""


def read_item(line: bytes) -> dict[str, Any] | None:
    """Return the item in one of our lines; None for any other line."""
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return (
        cast(dict[str, Any], item) if isinstance(item, dict) and item.keys() >= REQUIRED else None
    )


class Views:
    """Writes the table, the page and the Parquet file beside a ``results.jsonl``.

    Args:
        path: the path of ``results.jsonl``. A run may be writing the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.page = path.with_name(PAGE_NAME)
        self._lock = Lock()

    def write(self, total: int | None = None) -> bool:
        """Write the table and the page; return whether there was anything to write.

        Only one thread writes at a time; other threads wait.

        Args:
            total: the number of items in the run in progress; None if no run is in progress.

        Raises:
            OSError: a file cannot be written.
        """
        with self._lock:
            return self._write(total)

    def _write(self, total: int | None) -> bool:
        numbers, columns = self._survey()
        if not numbers:
            return False
        names = [*FIELDS, *(name for name in columns if name not in FIELDS)]
        folder = Folder(self.path.parent)
        with (
            _replacing(self.path.with_name(CSV_NAME), "utf-8-sig") as table,
            _replacing(self.page, "utf-8") as page,
        ):
            # With a byte-order mark: without it, Excel reads UTF-8 as the system's code page.
            rows = csv.writer(table)
            rows.writerow(names)
            page.write(page_start(self.path, total))
            is_first = True
            for item in self._items(numbers):
                rows.writerow([_cell(item.get(name)) for name in names])
                page.write(("" if is_first else ",\n") + page_row(item, folder))
                is_first = False
            page.write(page_end())
        return True

    def write_parquet(self) -> Path:
        """Write ``results.parquet``, and return its path. Lists and numbers keep their types.

        Raises:
            ConfigurationError: pyarrow is not installed.
            OSError: the file cannot be written.
        """
        if find_spec("pyarrow") is None:
            raise ConfigurationError(
                "a Parquet file needs pyarrow", hint="pip install 'keevx_async[frames]'"
            )
        # Any: pyarrow has no type hints.
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")

        numbers, columns = self._survey()
        items = list(self._items(numbers))
        arrays: dict[str, Any] = {}
        for name in [*FIELDS, *(name for name in columns if name not in FIELDS)]:
            values = [item.get(name) for item in items]
            try:
                arrays[name] = arrow.array(values)
            except (arrow.ArrowInvalid, arrow.ArrowTypeError):  # a column with several types
                arrays[name] = arrow.array([None if v is None else str(_cell(v)) for v in values])
        target = self.path.with_name(PARQUET_NAME)
        new = target.with_name(f".{target.name}.new")
        parquet.write_table(arrow.table(arrays), new)
        new.replace(target)
        return target

    def _survey(self) -> tuple[set[int], list[str]]:
        """Return the line number of each key's last line, and the names of all columns."""
        last: dict[str | int, int] = {}
        columns: dict[str, None] = {}
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file):
                    if (item := read_item(line)) is not None:
                        last[str(item["key"]) or number] = number
                        columns.update(dict.fromkeys(item))
        except FileNotFoundError:  # no item has ended yet
            pass
        return set(last.values()), list(columns)

    def _items(self, numbers: set[int]) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if number in numbers and (item := read_item(line)) is not None:
                    yield item


@contextmanager
def _replacing(path: Path, encoding: str) -> Generator[IO[str]]:
    """Open a new file that replaces ``path`` if the block ends without an error."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding=encoding, errors="backslashreplace", newline="") as file:
        yield file
    os.replace(new, path)


def _cell(value: object) -> object:
    """Return a value as a table cell. Text that a spreadsheet might run is made harmless."""
    if isinstance(value, list):
        value = "; ".join(map(str, cast("list[object]", value)))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
