"""Writes ``results.jsonl``, with a line for each item. Only one run writes it at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from keevx_async.errors import ConfigurationError
from keevx_async.journal.lock import lock_file, open_binary

from .records import CARRIED
from .views import read_item

NAME = "results.jsonl"


class Results:
    """Appends each item's line when the item ends. On close, only each key's last line is kept.

    Lines from earlier runs are kept, since they belong to paid tasks whose videos are in the
    folder. Lines without a key, from items that failed before they got a key, are kept as well.

    Args:
        folder: the file's folder, which is created if missing.

    Raises:
        ConfigurationError: the file is not a results file, another run is writing it, or it cannot
            be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: IO[bytes] | None = None
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise _cannot_write(self.path, "the folder is read-only")
            if self.path.exists():
                with self.path.open("rb") as file:
                    first_line = file.readline()
                if first_line.strip() and read_item(first_line) is None:
                    raise ConfigurationError(
                        f"{self.path} exists and is not a keevx results file; "
                        "move it, or choose another --out"
                    )
            self._lock = FileLock(folder / f".{NAME}.lock")
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or str(error)) from error
        except LockedError:
            raise ConfigurationError(
                f"another keevx run is writing to {self.path}; choose another --out"
            ) from None

    def add(self, item: dict[str, Any]) -> None:
        """Append an item's line and flush it.

        The first item creates the file. Lone surrogates, which UTF-8 cannot encode, are written as
        JSON escapes.

        Raises:
            OSError: the file cannot be written.
        """
        if self._file is None:
            self._file = self.path.open("ab")
            # A run that was killed may have left half a line, so start a new line.
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":
                        self._file.write(b"\n")
        self._file.write(_encode(item))
        self._file.flush()

    def close(self) -> None:
        """Reduce the file to one line per key, and unlock it. Calling this again has no effect.

        The file is replaced completely or not at all. It is not rewritten if every line is the last
        line for its key, or if no item was added.

        Raises:
            OSError: the file cannot be written; the appended lines are kept.
        """
        file, self._file = self._file, None
        try:
            if file is None:
                return
            file.close()
            # The file is read twice, keeping only keys and line numbers in memory: it may have a
            # line for every prompt of every run into this folder.
            last = {item["key"] or number: number for number, item, _ in self._lines() if item}
            kept = set(last.values())
            if len(kept) == self._count:
                return
            replacement = self.path.with_name(f".{NAME}.new")
            with replacement.open("wb") as new:
                new.writelines(self._last_lines(kept))
                new.flush()
                os.fsync(new.fileno())
            replacement.replace(self.path)
        finally:
            self._lock.release()

    def _last_lines(self, kept: Set[int]) -> Iterator[bytes]:
        """Yield the lines to keep, adding missing values from earlier lines for the same tasks."""
        earlier: dict[str, dict[str, Any]] = {}
        for number, item, line in self._lines():
            if item is None:
                continue
            if number not in kept:
                values = {name: value for name in CARRIED if (value := item.get(name)) is not None}
                if values:
                    earlier[item["key"]] = {**values, "task_ids": item["task_ids"]}
                continue
            before = earlier.get(item["key"])
            if before and before["task_ids"] == item["task_ids"]:
                missing = {k: v for k, v in before.items() if item.get(k) is None}
                line = _encode(item | missing) if missing else line
            yield line

    def _lines(self) -> Iterator[tuple[int, dict[str, Any] | None, bytes]]:
        with self.path.open("rb") as file:
            self._count = 0
            for line in file:
                yield self._count, read_item(line), line
                self._count += 1


def _encode(item: dict[str, Any]) -> bytes:
    text = json.dumps(item, ensure_ascii=False) + "\n"
    return text.encode("utf-8", errors="backslashreplace")


class LockedError(Exception):
    """Another process holds the lock."""


class FileLock:
    """A lock for a file that is replaced, held on a separate lock file.

    The kernel releases the lock if the process dies.

    Args:
        path: the lock file, which exists only while the lock is held.

    Raises:
        LockedError: another process holds the lock.
        OSError: the lock file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        # The holder removes the file when it releases the lock. A lock on a removed file excludes
        # nobody, so the lock is valid only if the path still refers to the locked file.
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
        """Remove the lock file and release the lock. Calling it again has no effect."""
        if self._file is not None:
            with suppress(OSError):  # Windows cannot remove open files
                self._path.unlink()
            os.close(self._file)
            self._file = None


def _cannot_write(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot write {path}: {reason}; choose another --out")
