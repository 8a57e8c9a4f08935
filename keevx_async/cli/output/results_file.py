"""``results.jsonl``: one line for each item, beside the videos. One run writes it at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from keevx_async.errors import ConfigurationError
from keevx_async.journal.lock import lock_file, open_binary
from keevx_async.journal.protocol import first_attempt_key
from keevx_async.models.outcomes import Outcome
from keevx_async.models.request import Request

from ..input.prompts import Job
from .counters import status_of

NAME = "results.jsonl"
FIELDS = ("key", "kind", "prompt", "task_ids", "status", "paths", "mismatches", "error")


def record(outcome: Outcome[Request], job: Job) -> dict[str, Any]:
    """Return the fields of an item's line.

    ``key`` is the one of the input, or the first that the journal assigned: an item keeps it when
    it is submitted again, so that its new line replaces the old one.
    """
    error = outcome.error
    values = (
        job.key or first_attempt_key(outcome.key),
        outcome.request.kind.name,
        outcome.request.subject,
        list(outcome.task_ids),
        status_of(error).value,
        list(map(str, outcome.paths)),
        list(outcome.mismatches),
        None if error is None else str(error),
    )
    return dict(zip(FIELDS, values, strict=True))


class Results:
    """Appends each item's line as it ends; once closed, holds only the last line of every key.

    Lines of other keys stay: they belong to paid tasks whose videos are in the folder. So do all
    lines without a key, of items that failed before they had one.

    Args:
        folder: where the file goes; created if missing.

    Raises:
        ConfigurationError: the file is not ours, another run writes it, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: IO[str] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise _cannot_write(self.path, "the folder is read-only")
            if self.path.exists():
                with self.path.open("rb") as file:
                    first_line = file.readline()
                if first_line.strip() and _key_of(first_line) is None:
                    raise ConfigurationError(
                        f"{self.path} exists and is not a results file of keevx; "
                        "move it, or choose another --out"
                    )
            self._lock = FileLock(folder / f".{NAME}.lock")
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or str(error)) from error
        except LockedError:
            raise ConfigurationError(
                f"another keevx run writes {self.path}; choose another --out for this one"
            ) from None

    def add(self, item: dict[str, Any]) -> None:
        """Append an item's line, and hand it to the system at once.

        The file is created by the first item. Lone surrogates, which UTF-8 cannot encode, are
        written as the escapes that JSON has for them.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is None:
            self._file = self.path.open(
                "a", encoding="utf-8", errors="backslashreplace", newline="\n"
            )
            # A run that was killed may have left half a line: start on a line of our own.
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":
                        self._file.write("\n")
        self._file.write(json.dumps(item, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Reduce the file to one line for each key, and release it; a second call does nothing.

        The file is replaced as a whole or not at all. Nothing is rewritten when every line is the
        last of its key, or when no item was added.

        Raises:
            OSError: it cannot be written; the lines that were appended stay.
        """
        file, self._file = self._file, None
        try:
            if file is None:
                return
            file.close()
            # The file is read three times, and only keys and numbers are held: it may have as many
            # lines as there are prompts, of all runs into this folder.
            last = {key or number: number for number, key, _ in self._lines() if key is not None}
            kept = set(last.values())
            if all(number in kept for number, _, _ in self._lines()):
                return
            replacement = self.path.with_name(f".{NAME}.new")
            with replacement.open("wb") as new:
                new.writelines(line for number, _, line in self._lines() if number in kept)
                new.flush()
                os.fsync(new.fileno())
            replacement.replace(self.path)
        finally:
            self._lock.release()

    def _lines(self) -> Iterator[tuple[int, str | None, bytes]]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                yield number, _key_of(line), line


class LockedError(Exception):
    """Another process holds the lock."""


class FileLock:
    """A lock file beside a file that is replaced; the kernel releases it if the process dies.

    Args:
        path: the lock file, which exists only while it is held.

    Raises:
        LockedError: another process holds it.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        # The holder removes its file when it releases it. A lock on a removed file excludes
        # nobody, so the lock counts only if the path still leads to the file that was locked.
        while self._file is None:
            file = open_binary(path)
            try:
                lock_file(file)
                if os.path.samestat(os.fstat(file), path.stat()):
                    self._file = file
                    return
            except FileNotFoundError:
                pass
            except (BlockingIOError, PermissionError):  # on Unix, and on Windows
                os.close(file)
                raise LockedError from None
            os.close(file)

    def release(self) -> None:
        """Remove the lock file and free the lock; a second call does nothing."""
        if self._file is not None:
            with suppress(OSError):  # Windows removes no open file
                self._path.unlink()
            os.close(self._file)
            self._file = None


def _cannot_write(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot write {path}: {reason}; choose another --out")


def _key_of(line: bytes) -> str | None:
    """Return the key of a line that we wrote, or None. Old versions wrote fewer fields."""
    try:
        item = json.loads(line)
    except ValueError:
        return None
    optional = {"cost", "kind", "mismatches"}
    if not isinstance(item, dict) or item.keys() - optional != set(FIELDS) - optional:
        return None
    return str(cast(dict[str, object], item)["key"])
