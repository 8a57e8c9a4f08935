"""Keep task ids that Redis has not accepted yet in the log, and in a file for the next worker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

log = logging.getLogger("keevx_async.journal")

BATCH = 0.5
"""Seconds spent collecting ids for one log line."""


class Left(NamedTuple):
    """The ids that another worker could not write.

    Attributes:
        path: the path of the worker's file.
        ids: each create's task ids, by key.
    """

    path: Path
    ids: dict[str, tuple[str, ...]]


def default_folder(fleet: str, url: str) -> Path:
    """Return the folder where a fleet's workers on this machine save ids they could not write.

    Args:
        fleet: the fleet's name.
        url: the fleet's Redis URL. Fleets with the same name on different servers use different
            folders. The password in the URL is ignored, because it may have changed.
    """
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    server = url.rpartition("@")[2].partition("?")[0]
    digest = sha256(f"{fleet} {server}".encode()).hexdigest()[:16]
    return base / "keevx_async" / "unwritten" / digest


class Unwritten:
    """A worker's task ids that Redis has not accepted yet.

    Ids are appended at once to a file, which the next worker to start on this machine reads. Soon
    afterwards, they are also logged as one line of JSON, for people to read. The file is removed
    once Redis has accepted all ids. If the file cannot be written, the ids are still logged.

    Args:
        name: the journal's name.
        folder: the folder for the files; None to only log the ids.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._folder = folder
        self._path = folder and folder / f"{token_hex(6)}.jsonl"
        self._ids: dict[str, tuple[str, ...]] = {}
        self._unlogged: dict[str, tuple[str, ...]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: str, task_ids: Sequence[str]) -> None:
        """Add a create's ids, which could not be written yet."""
        self._ids[key] = self._unlogged[key] = tuple(task_ids)
        if self._path is not None:
            # A plain append: it survives a kill of the process, and costs this loop microseconds.
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, list(task_ids)]) + "\n")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH, self.flush)

    def flush(self) -> None:
        """Log the ids that were added since the last call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unlogged:
            record = {"journal": self._name, "unwritten": self._unlogged}
            log.error("task ids are not in the journal yet: %s", json.dumps(record))
            self._unlogged = {}

    def written(self, key: str) -> None:
        """Remove a create's ids, which are now in the journal; ids never added are ignored."""
        if self._ids.pop(key, None) is None or self._ids:
            return
        self.flush()
        log.warning("all task ids are in the journal now")
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def left_by_others(self) -> Iterator[Left]:
        """Iterate over the ids that other workers on this machine could not write.

        Such a worker may still be trying to write its ids. Writing ids twice is harmless, because
        ids are only ever added.
        """
        if self._folder is None:
            return
        with suppress(OSError):
            for path in sorted(self._folder.glob("*.jsonl")):
                if path != self._path:
                    yield Left(path, _read(path))


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    ids: dict[str, tuple[str, ...]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # the last line of a process that was killed
            key, task_ids = json.loads(line)
            ids[key] = tuple(task_ids)
    return ids
