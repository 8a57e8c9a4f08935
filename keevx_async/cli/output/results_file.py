"""``results.jsonl``: one line an item, beside the videos."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import first_attempt_key
from keevx_async.models.outcomes import Outcome
from keevx_async.models.request import Request

from ..input.prompts import Job
from .counters import status_of
from .exclusive import Exclusive, InUse

NAME = "results.jsonl"
FIELDS = ("key", "kind", "prompt", "task_ids", "status", "paths", "error")


def record(outcome: Outcome[Request], job: Job) -> dict[str, Any]:
    """Return what is told of an item; it keeps its key when it is made again."""
    error = outcome.error
    values = (
        job.key or first_attempt_key(outcome.key),
        outcome.request.kind.name,
        outcome.request.subject,
        list(outcome.task_ids),
        status_of(error).value,
        list(map(str, outcome.paths)),
        None if error is None else str(error),
    )
    return dict(zip(FIELDS, values, strict=True))


class Results:
    """Appends each item's line as it ends; closed, it holds the last line of every key.

    Lines of other keys stay: they tell of paid tasks whose videos are there. So do all lines
    without a key, of items that failed before they had one.

    Args:
        folder: where it stands; made if need be.

    Raises:
        ConfigurationError: another file has its name, another run writes it, or it cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: IO[str] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise _cannot(self.path, "the folder lets nobody write")
            self._refuse_strangers()
            self._lock = Exclusive(folder / f".{NAME}.lock")
        except OSError as error:
            raise _cannot(self.path, error.strerror or str(error)) from error
        except InUse:
            raise ConfigurationError(
                f"another keevx run writes {self.path}; give this one another --out"
            ) from None

    def _opened(self) -> IO[str]:
        # What is no valid text is written as JSON's own escape of it.
        self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
        if not _ends_with_a_line(self.path):  # a run was killed: begin on a line of our own
            self._file.write("\n")
        return self._file

    def _refuse_strangers(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            head = file.readline()
        if head.strip() and _key_of(head) is None:
            raise ConfigurationError(
                f"{self.path} is there, and no results of keevx; move it, or name another --out"
            )

    def add(self, item: dict[str, Any]) -> None:
        """Write an item's line."""
        file = self._file or self._opened()
        file.write(json.dumps(item, ensure_ascii=False) + "\n")
        file.flush()

    def close(self) -> None:
        """Leave one line a key: the file is replaced whole, or not at all."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
                self._leave_the_last()
        finally:
            self._lock.release()

    def _leave_the_last(self) -> None:
        last = {key or number: number for number, key, _ in self._lines() if key is not None}
        kept = set(last.values())
        if all(number in kept for number, _, _ in self._lines()):
            return
        fresh = self.path.with_name(f".{NAME}.new")
        with fresh.open("wb") as file:
            file.writelines(line for number, _, line in self._lines() if number in kept)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def _lines(self) -> Iterator[tuple[int, str | None, bytes]]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                yield number, _key_of(line), line


def _cannot(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be written: {reason}; name another --out")


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _key_of(line: bytes) -> str | None:
    """Return the key of a line of ours."""
    try:
        item = json.loads(line)
    except ValueError:
        return None
    if not isinstance(item, dict) or item.keys() | {"kind"} != set(FIELDS):  # older ones had none
        return None
    return str(cast(dict[str, object], item)["key"])
