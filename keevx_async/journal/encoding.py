"""Between values and the file's rows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs

from ..models.tasks import Task
from .protocol import DIED_WHILE_SENDING, Entry, State, TaskRecord
from .writer import Row

ENTRY = "rowid, key, kind, state, body, at, reason, task_ids"
TASK = "snapshot, at, path, size, digest"


NEVER = -1.0
"""When the last intent of an entry that is not there was written."""


def intent_row(key: str, kind: str, body: bytes, at: float, last: float) -> Row:
    """Return the row of a create that is about to be sent.

    Args:
        key: of the entry.
        kind: of job.
        body: the canonical JSON of its request.
        at: now, in seconds since the epoch.
        last: when the last intent was written that is known of; NEVER if none was.
    """
    return [key, State.SENDING, "", kind, body.decode(), at, None, last]


def state_row(key: str, state: State, reason: str = "", ids: Sequence[str] | None = None) -> Row:
    """Return the row that changes an entry's state, and its ids if they are given."""
    return [key, state, storable(reason), None, None, None, None if ids is None else join_ids(ids)]


def join_ids(ids: Sequence[str]) -> str:
    """Return ids as the file keeps them: a space between two."""
    return " ".join(quote(one, errors="surrogatepass") for one in ids)


def entry_of(row: tuple[Any, ...], *, held: bool) -> Entry:
    """Return the entry of a row; ``sending`` is what a run left that died, unless it is held."""
    _, key, kind, state, body, at, reason, words = row
    if state == State.SENDING and not held:
        state, reason = State.UNCERTAIN, DIED_WHILE_SENDING
    ids: Sequence[str] = words.split() if words else ()
    if words and "%" in words:
        ids = [unquote(one, errors="surrogatepass") for one in ids]
    return Entry(key, kind, State(state), body, at, reason, tuple(ids))


def end_row(task: Task, at: float | None = None) -> Row:
    """Return the row of an ended task.

    Args:
        task: its snapshot.
        at: when it was taken; now if not given.
    """
    snapshot = json.dumps(attrs.asdict(task))
    return [task.task_id, snapshot, time.time() if at is None else at, None, None, None]


def download_row(task: Task, at: float | None, path: Path, size: int, digest: str) -> Row:
    """Return the row of a task whose result was brought home."""
    return [*end_row(task, at)[:3], storable(os.path.abspath(path)), size, digest]


def record_of(row: tuple[Any, ...]) -> TaskRecord:
    """Return the record of a task's row."""
    snapshot, at, path, size, digest = row
    return TaskRecord(Task(**json.loads(snapshot)), at, Path(path) if path else None, size, digest)


def is_storable(key: str) -> bool:
    """Tell whether a key comes back as it was written."""
    return "\0" not in key and storable(key) == key


def storable(value: str) -> str:
    """Return value without the lone surrogates that are no valid text."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
