"""Convert between values and the rows of the SQLite file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs

from ..errors import JournalError
from ..models.object_path import absolute, as_path
from ..models.tasks import Task
from ..models.usage import UsageGroup
from .protocol import DIED_WHILE_SENDING, Entry, State, TaskRecord
from .writer import DOWNLOAD, END, INTENT, STATE, Row

ENTRY = "rowid, key, kind, state, body, at, reason, task_ids"
"""The columns that ``entry_of`` expects."""
TASK = "snapshot, at, path, size, digest"
"""The columns that ``record_of`` expects."""

_STATES = {state.value: state for state in State}  # a resume looks up millions of them
_SENDING = State.SENDING
_is_plain = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch

NEVER = -1.0
"""The time of the last intent if none was written."""


def intent_row(key: str, kind: str, body: bytes, at: float, last: float) -> Row:
    """Return the row for a create that is about to be sent.

    Args:
        key: the entry's key.
        kind: the kind of job.
        body: the request's canonical JSON.
        at: the current time, in seconds since the epoch.
        last: the time of the last intent that the claim saw; NEVER if there was none. The row is
            refused if the entry has a different intent by now.
    """
    return [INTENT, key, kind, body.decode(), at, last]


def last_intent(entry: Entry | None) -> float:
    """Return the time of an entry's last intent, or NEVER if it has none."""
    return NEVER if entry is None or entry.at is None else entry.at


def state_row(key: str, state: State, reason: str = "", ids: Sequence[str] = ()) -> Row:
    """Return the row that changes an entry's state.

    Args:
        key: the entry's key.
        state: the new state.
        reason: the reason for the state; lone surrogates in it are replaced.
        ids: the ids to add to the entry.
    """
    return [STATE, key, state.value, storable(reason), join_ids(ids)]


def join_ids(ids: Sequence[str]) -> str:
    """Return ids in their stored form, percent-encoded and separated by spaces."""
    # Keevx promises nothing about its ids: an id may contain a space, or an invalid character.
    # Most ids need no encoding, and checking that is cheaper than encoding them.
    return " ".join(
        [
            task_id if _is_plain(task_id) else quote(task_id, errors="surrogatepass")
            for task_id in ids
        ]
    )


def split_ids(text: str | None) -> tuple[str, ...]:
    """Return the ids in a string made by ``join_ids``."""
    if not text:
        return ()
    ids = text.split()
    if "%" in text:
        return tuple(unquote(task_id, errors="surrogatepass") for task_id in ids)
    return tuple(ids)


def entry_of(row: tuple[Any, ...], is_held: Callable[[str], bool]) -> Entry:
    """Return a row's entry.

    Args:
        row: the columns in ENTRY.
        is_held: returns whether a key's holder is alive. If not, a ``sending`` entry is from a dead
            run and reads as ``uncertain``.
    """
    _, key, kind, state, body, at, reason, ids = row
    state = _STATES[state]
    if state is _SENDING and not is_held(key):
        state, reason = State.UNCERTAIN, DIED_WHILE_SENDING
    return Entry(key, kind, state, body, at, reason, split_ids(ids))


def usage_of(row: tuple[Any, ...]) -> tuple[UsageGroup, int]:
    """Return a usage group and the number of results that its creates made or may have made.

    Args:
        row: the kind; the requests' model, resolution, duration and count as a JSON array; the
            number of ids per create; the number of creates.
    """
    kind, settings, ids, creates = row
    model, resolution, duration, count = json.loads(settings or "[null, null, null, null]")
    group = UsageGroup(kind or "", model or "", resolution or "", duration or 0)
    return group, creates * max(count or 1, ids)


def end_row(task: Task) -> Row:
    """Return the row for a finished task, whose snapshot was taken now."""
    return [END, *_snapshot(task, time.time())]


def download_row(task: Task, at: float | None, path: Path, size: int, digest: str) -> Row:
    """Return the row for a task whose result was downloaded.

    Args:
        task: the task's snapshot.
        at: when the snapshot was taken, in seconds since the epoch; None means now.
        path: the file's path, which is stored as an absolute path.
        size: the file's size in bytes.
        digest: the file's SHA-256 in hexadecimal.
    """
    snapshot = _snapshot(task, time.time() if at is None else at)
    return [DOWNLOAD, *snapshot, storable(absolute(path)), size, digest]


def _snapshot(task: Task, at: float) -> Row:
    return [storable(task.task_id), json.dumps(attrs.asdict(task)), at]


def record_of(row: tuple[Any, ...]) -> TaskRecord:
    """Return a task's record, given the columns in TASK."""
    snapshot, at, path, size, digest = row
    return TaskRecord(
        Task(**json.loads(snapshot)), at, as_path(path) if path else None, size, digest
    )


def check_key(key: str) -> None:
    """Check that a key can be read back from the journal exactly as written.

    Raises:
        JournalError: the key contains a NUL or a lone surrogate.
    """
    if "\0" in key or storable(key) != key:
        raise JournalError(f"key {key!r} contains characters that cannot be stored; use another")


def other_request_error(journal: object, key: str, existing: str, body: bytes) -> JournalError:
    """Return the error for a key that belongs to another request.

    Args:
        journal: the journal to name in the error.
        key: the key.
        existing: the canonical JSON of the request that the key belongs to.
        body: the canonical JSON of the new request.
    """
    return JournalError(
        f"key {key!r} belongs to another request; in {journal}: {existing}; "
        f"now: {body.decode()}. Use a different key for this one"
    )


def storable(value: str) -> str:
    """Replace lone surrogates, which are not valid UTF-8, with ``?``."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
