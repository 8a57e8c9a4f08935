"""Between values and the rows of the SQLite file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs

from ..errors import JournalError
from ..models.object_path import absolute, as_path
from ..models.tasks import Task
from ..models.usage import UsageGroup
from .protocol import DIED_WHILE_SENDING, Entry, State, TaskRecord
from .writer import Row

ENTRY = "rowid, key, kind, state, body, at, reason, task_ids"
"""The columns that ``entry_of`` takes."""
TASK = "snapshot, at, path, size, digest"
"""The columns that ``record_of`` takes."""

NEVER = -1.0
"""Stands for the time of the last intent where none was written."""


def intent_row(key: str, kind: str, body: bytes, at: float, last: float) -> Row:
    """Return the row of a create that is about to be sent.

    Args:
        key: of the entry.
        kind: of job.
        body: the canonical JSON of its request.
        at: now, in seconds since the epoch.
        last: the time of the last intent that the claim saw; NEVER if there was none. The row is
            refused if the entry has another by now.
    """
    return [key, State.SENDING, "", kind, body.decode(), at, None, last]


def state_row(key: str, state: State, reason: str = "", ids: Sequence[str] | None = None) -> Row:
    """Return the row that changes an entry's state.

    Args:
        key: of the entry.
        state: the new state.
        reason: why; lone surrogates in it are replaced.
        ids: added to those that the entry has.
    """
    return [key, state, storable(reason), None, None, None, None if ids is None else join_ids(ids)]


def join_ids(ids: Sequence[str]) -> str:
    """Return ids as they are stored: percent-encoded, with a space between two."""
    # Keevx promises nothing about its ids: one may hold a space, or a character that is no text.
    return " ".join(quote(task_id, errors="surrogatepass") for task_id in ids)


def split_ids(text: str | None) -> tuple[str, ...]:
    """Return the ids that ``join_ids`` joined."""
    if not text:
        return ()
    ids = text.split()
    if "%" in text:
        return tuple(unquote(task_id, errors="surrogatepass") for task_id in ids)
    return tuple(ids)


def entry_of(row: tuple[Any, ...], *, held: bool) -> Entry:
    """Return the entry of a row.

    Args:
        row: the columns of ENTRY.
        held: whether a caller of this process has claimed it. If not, ``sending`` was left by a
            run that died, and reads as ``uncertain``.
    """
    _, key, kind, state, body, at, reason, ids = row
    if state == State.SENDING and not held:
        state, reason = State.UNCERTAIN, DIED_WHILE_SENDING
    return Entry(key, kind, State(state), body, at, reason, split_ids(ids))


def usage_of(row: tuple[Any, ...]) -> tuple[UsageGroup, int]:
    """Return a group of results and how many of them some creates made, or may have made.

    Args:
        row: the kind; the model, resolution, duration and count of the requests as a JSON array;
            how many ids each create has; how many creates there are.
    """
    kind, settings, ids, creates = row
    model, resolution, duration, count = json.loads(settings or "[null, null, null, null]")
    group = UsageGroup(kind or "", model or "", resolution or "", duration or 0)
    return group, creates * max(count or 1, ids)


def end_row(task: Task, at: float | None = None) -> Row:
    """Return the row of an ended task.

    Args:
        task: its snapshot.
        at: when it was taken, in seconds since the epoch; None means now.
    """
    snapshot = json.dumps(attrs.asdict(task))
    return [task.task_id, snapshot, time.time() if at is None else at, None, None, None]


def download_row(task: Task, at: float | None, path: Path, size: int, digest: str) -> Row:
    """Return the row of a task whose result was downloaded; its path is made absolute."""
    return [*end_row(task, at)[:3], storable(absolute(path)), size, digest]


def record_of(row: tuple[Any, ...]) -> TaskRecord:
    """Return the record of a task from the columns of TASK."""
    snapshot, at, path, size, digest = row
    return TaskRecord(
        Task(**json.loads(snapshot)), at, as_path(path) if path else None, size, digest
    )


def check_key(key: str) -> None:
    """Check that a key comes back from the journal exactly as it was written.

    Raises:
        JournalError: it has a NUL or a lone surrogate.
    """
    if "\0" in key or storable(key) != key:
        raise JournalError(f"key {key!r} has characters that cannot be stored; use another")


def other_request_error(journal: object, key: str, existing: str, body: bytes) -> JournalError:
    """Return the error of a key under which the journal has another request.

    Args:
        journal: named in it.
        key: the key.
        existing: the canonical JSON of the request that it belongs to.
        body: that of the request which is to be submitted now.
    """
    return JournalError(
        f"key {key!r} belongs to another request; in {journal}: {existing}; "
        f"now: {body.decode()}. Use a key of its own for this one"
    )


def storable(value: str) -> str:
    """Return text with its lone surrogates, which are not valid UTF-8, replaced by ``?``."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
