"""What a journal keeps: the states of a create and of its tasks, and the protocol of its forms.

planned ──> sending ──> submitted        then per task:  succeeded | failed ──> downloaded
   ^            ├─────> refused
   └────────────┤
                └─────> uncertain        ``sending`` left by a run that died reads as this
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from attrs import frozen

from ..models.tasks import Task

DIED_WHILE_SENDING = "the program ended before the answer came"


def partial_reason(known: int, count: int) -> str:
    """Return why a create is uncertain of which some ids are known."""
    return f"callbacks have told of {known} of its {count} tasks"


def has_ids_reason(task_ids: Sequence[str]) -> str:
    """Return why a create that has ids cannot be settled as not made."""
    return f"was made: it has {', '.join(task_ids)}, so it cannot be settled as none"


TRY_MARK = "~"
"""Stands between a create's key and the number of its try, where a task of it failed."""


def next_attempt_key(key: str) -> str:
    """Return the key of a create that is made again: ``KEY~2``, then ``KEY~3``."""
    first, _, number = key.rpartition(TRY_MARK)
    return (
        f"{first}{TRY_MARK}{int(number) + 1}"
        if first and _is_number(number)
        else f"{key}{TRY_MARK}2"
    )


def first_attempt_key(key: str) -> str:
    """Return the key that a create had before it was made again."""
    first, _, number = key.rpartition(TRY_MARK)
    return first if first and _is_number(number) else key


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


class State(StrEnum):
    """How far a create has come."""

    PLANNED = "planned"
    SENDING = "sending"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


class Entry(NamedTuple):
    """One create.

    Attributes:
        key: what it is known by.
        kind: the kind of job.
        state: how far it has come.
        body: the canonical JSON of its request.
        at: when its intent was written, in seconds since the epoch.
        reason: why it was refused or is uncertain.
        task_ids: the ids it was given.
    """

    key: str
    kind: str
    state: State
    body: str
    at: float
    reason: str = ""
    task_ids: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """Why it is uncertain, with the ids that are known of it all the same."""
        if not self.task_ids:
            return self.reason
        return f"{self.reason}; known so far: {', '.join(self.task_ids)}"


class Claim(NamedTuple):
    """A key that is this caller's until released, and what the journal knows of it."""

    key: str
    entry: Entry | None


@frozen
class TaskRecord:
    """One ended task: its snapshot, when it was taken, and the file it was brought to."""

    task: Task
    at: float
    path: Path | None = None
    size: int | None = None
    digest: str | None = None


class JournalProtocol(Protocol):
    """The durable record. SQLite is its form for one machine."""

    @property
    def resubmits(self) -> bool:
        """Whether an uncertain create found from an earlier run is sent again."""
        ...

    def attach(self) -> None:
        """Open it, for one more user."""
        ...

    async def detach(self) -> None:
        """Close it, when its last user leaves."""
        ...

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Take a key: the one given, or the first free one among those of equal bodies."""
        ...

    async def release(self, key: str, *, made: bool = True) -> None:
        """Let others have the key; of one that was not made, an equal body may try again."""
        ...

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Write the intent; durable on return."""
        ...

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Write the ids; durable on return."""
        ...

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Write that the answer was lost, and ids known all the same; durable on return."""
        ...

    async def mark_refused(self, key: str, reason: str) -> None:
        """Write that Keevx refused for good; durable on return."""
        ...

    async def mark_planned(self, key: str) -> None:
        """Write that no task was made, and that it may be tried again; durable on return."""
        ...

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Write what became of an uncertain create: its ids, or none of them."""
        ...

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add ids that Keevx confirmed to an entry in any state; durable on return."""
        ...

    async def mark_ended(self, task: Task) -> None:
        """Note a task's end; a later run asks again if the note is lost."""
        ...

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Write where a task's result was brought; durable on return."""
        ...

    async def find_entry(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        ...

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of an ended task."""
        ...

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that was given a task id."""
        ...

    def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield the entries in one state, or all."""
        ...

    async def set_note(self, name: str, value: str) -> None:
        """Keep a small text for the next run."""
        ...

    async def get_note(self, name: str) -> str | None:
        """Return a text that was kept."""
        ...
