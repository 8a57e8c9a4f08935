"""Between values and what Redis keeps of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import attrs

from ...models.tasks import Task
from ..encoding import join_ids, storable
from ..protocol import DIED_WHILE_SENDING, Entry, State, TaskRecord


def stem_of(kind: str, body: bytes) -> str:
    """Return what the keys of equal bodies begin with, as in the journal's other form."""
    return sha256(f"{kind}:".encode() + body).hexdigest()[:32]


def split(words: str) -> tuple[str, ...]:
    """Return the ids that were joined."""
    return tuple(unquote(one, errors="surrogatepass") for one in words.split())


def entry_of(key: str, pairs: Sequence[bytes], *, held: bool) -> Entry | None:
    """Return the entry of a hash; ``sending`` that nobody holds was left by one that died."""
    fields = {pairs[n].decode(): pairs[n + 1].decode() for n in range(0, len(pairs), 2)}
    if "state" not in fields:
        return None
    state, reason = State(fields["state"]), fields.get("reason", "")
    if state is State.SENDING and not held:
        state, reason = State.UNCERTAIN, DIED_WHILE_SENDING
    ids = split(fields.get("ids", ""))
    return Entry(key, fields["kind"], state, fields["body"], float(fields["at"]), reason, ids)


def end_of(task: Task, at: float | None = None) -> tuple[str, str, str]:
    """Return a task's id, how it ended, and its record; what is at its default is left out.

    One that was given up without a result has not ended.
    """
    fields = attrs.asdict(task, filter=lambda it, one: it.name != "task_id" and one != it.default)
    record = json.dumps(
        [round(time.time() if at is None else at, 3), fields], separators=(",", ":")
    )
    outcome = "+" if task.succeeded else "-" if task.done else "?"
    return join_ids([task.task_id]), outcome, record


def file_of(path: Path, size: int, digest: str) -> str:
    """Return the record of where a result was brought."""
    return json.dumps([storable(os.path.abspath(path)), size, digest], separators=(",", ":"))


def record_of(task_id: str, end: bytes | None, file: bytes | None) -> TaskRecord | None:
    """Return a task's record."""
    if end is None:
        return None
    at, fields = json.loads(end[1:])
    path, size, digest = json.loads(file) if file else (None, None, None)
    return TaskRecord(
        Task(task_id=task_id, **fields), at, Path(path) if path else None, size, digest
    )
