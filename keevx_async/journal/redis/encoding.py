"""Convert values to and from the form in which Redis stores them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from ...models.object_path import absolute, as_path
from ...models.tasks import Task
from ...models.usage import UsageGroup, UsageLimit
from ..encoding import join_ids, split_ids, storable
from ..protocol import DIED_WHILE_SENDING, Entry, State, TaskRecord


class Planned(NamedTuple):
    """A create to be added.

    Attributes:
        kind: the kind of job.
        body: the request's canonical JSON.
        key: the create's key; None to generate a key from the body and a running number.
    """

    kind: str
    body: bytes
    key: str | None


class Added(NamedTuple):
    """A create that was added.

    Attributes:
        key: the create's key.
        entry: the key's earlier entry in the journal; None if there was none.
    """

    key: str
    entry: Entry | None


@attrs.frozen
class CreateRecord:
    """A create and its tasks.

    Attributes:
        entry: the create.
        records: each task's record, in the order of the ids; None for a task whose end is not
            recorded.
    """

    entry: Entry
    records: tuple[TaskRecord | None, ...]

    @property
    def done(self) -> bool:
        """Whether all of the create's tasks have ended. An abandoned task has not ended."""
        return all(record is not None and record.task.done for record in self.records)


def entry_of(key: str, pairs: Sequence[bytes], *, held: bool) -> Entry | None:
    """Return the entry that a hash contains, or None if the hash is empty.

    If the entry cannot be read, its state is ``uncertain``.

    Args:
        key: the create's key.
        pairs: alternating names and values, as Lua returns a hash.
        held: whether a live worker has claimed the create. If not, a ``sending`` entry is from a
            dead worker and reads as ``uncertain``.
    """
    fields = {pairs[n].decode(): pairs[n + 1].decode() for n in range(0, len(pairs), 2)}
    if not fields:
        return None
    reason, ids = fields.get("reason", ""), split_ids(fields.get("ids"))
    kind, body = fields.get("kind", ""), fields.get("body", "")
    # A damaged record must not prevent others in its window from being read. Its create may have
    # been sent.
    try:
        state = State(fields.get("state", ""))
    except ValueError as error:
        state, reason = State.UNCERTAIN, f"its record cannot be read: {error}"
    try:
        at = float(fields.get("at", ""))
    except ValueError:
        at = 0.0
    if state is State.SENDING and not held:
        state, reason = State.UNCERTAIN, DIED_WHILE_SENDING
    return Entry(key, kind, state, body, at, reason, ids)


def usage_of(pairs: Sequence[bytes]) -> dict[UsageGroup, int]:
    """Return the number of results in each group, from a hash of alternating names and values."""
    usage: dict[UsageGroup, int] = {}
    for n in range(0, len(pairs), 2):
        kind, _, rest = pairs[n].decode().partition("|")
        model, resolution, duration = rest.rsplit("|", 2)
        usage[UsageGroup(kind, model, resolution, int(duration))] = int(pairs[n + 1])
    return usage


def limit_of(limit: UsageLimit | None) -> tuple[str | int, ...]:
    """Return the script arguments for a limit; empty if there is no limit."""
    if limit is None:
        return ()
    limits = (limit.videos, limit.seconds, limit.cost)
    prices = (value for price in limit.prices.items() for value in price)
    return (*("" if value is None else value for value in limits), *prices)


def end_of(task: Task, at: float | None = None) -> tuple[str, str, str]:
    """Return a task's id, its outcome, and its record without fields that have default values.

    The outcome is ``+`` for a success, ``-`` for a failure, and ``?`` for a task that was abandoned
    without a result and so has not ended.

    Args:
        task: the task's last snapshot.
        at: when the snapshot was taken, in seconds since the epoch; None means now.
    """

    # Redis keeps every record in memory, and most of a task's fields have their default values.
    def is_stored(attribute: attrs.Attribute[Any], value: Any) -> bool:
        return attribute.name != "task_id" and value not in (attribute.default, {})

    fields = attrs.asdict(task, filter=is_stored)
    record = json.dumps(
        [round(time.time() if at is None else at, 3), fields], separators=(",", ":")
    )
    outcome = "+" if task.succeeded else "-" if task.done else "?"
    return join_ids([task.task_id]), outcome, record


def file_of(path: Path, size: int, digest: str) -> str:
    """Return the record of a downloaded file. The path is made absolute."""
    return json.dumps([storable(absolute(path)), size, digest], separators=(",", ":"))


def record_of(task_id: str, end: bytes | None, file: bytes | None) -> TaskRecord | None:
    """Return a task's record.

    Args:
        task_id: the task's id.
        end: the outcome and record made by ``end_of``; None if no end is recorded.
        file: the file record made by ``file_of``; None if the result was not downloaded.
    """
    if end is None:
        return None
    at, fields = json.loads(end[1:])
    path, size, digest = json.loads(file) if file else (None, None, None)
    return TaskRecord(
        Task(task_id=task_id, **fields), at, as_path(path) if path else None, size, digest
    )


def counts_of(answer: tuple[int, Sequence[bytes]]) -> dict[str, int]:
    """Return the counts of creates by state and of finished tasks, from a reply to COUNTS.

    Creates that dead workers were sending are counted as ``uncertain``.
    """
    died, pairs = answer
    counts = dict.fromkeys([*(state.value for state in State), "succeeded", "failed"], 0)
    for name, count in zip(pairs[::2], pairs[1::2], strict=True):
        if name.decode() in counts:
            counts[name.decode()] = int(count)
    counts[State.SENDING] -= died
    counts[State.UNCERTAIN] += died
    return counts
