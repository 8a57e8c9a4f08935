"""The states of creates and tasks in a journal, and the protocol that every journal implements.

planned ──> sending ──> submitted        then per task:  succeeded | failed ──> downloaded
   ^            ├─────> refused
   └────────────┤
                └─────> uncertain        ``sending`` reads as this if the run died
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from attrs import frozen

from ..models.tasks import Task
from ..models.usage import Usage, UsageLimit
from .owner import Owner

DIED_WHILE_SENDING = "the program ended before the response arrived"
"""The reason reported for a create that was still ``sending`` when its run died."""


def partial_reason(reported: int, count: int) -> str:
    """Return the reason to record for a create that is uncertain because some ids are missing."""
    return f"callbacks reported {reported} of its {count} tasks"


def has_ids_reason(task_ids: Sequence[str]) -> str:
    """Return the reason why a create that has ids cannot be settled as not made."""
    return f"was made: it has {', '.join(task_ids)}, so it cannot be settled as none"


ATTEMPT_MARK = "~"
"""Separates a key from the attempt number that is added when a failed create is resubmitted."""


def next_attempt_key(key: str) -> str:
    """Return the key under which a failed create is resubmitted.

    ``KEY`` is followed by ``KEY~2``, ``KEY~3``, and so on.
    """
    first, number = _split_attempt(key)
    return f"{first}{ATTEMPT_MARK}{number + 1}"


def first_attempt_key(key: str) -> str:
    """Return the key that a create had before it was first resubmitted.

    A key without an attempt number is returned unchanged.
    """
    return _split_attempt(key)[0]


def _split_attempt(key: str) -> tuple[str, int]:
    first, _, number = key.rpartition(ATTEMPT_MARK)
    if first and number.isascii() and number.isdecimal():
        return first, int(number)
    return key, 1


def stem_of(kind: str, body: bytes) -> str:
    """Return the prefix shared by the keys of equal requests. Keys add ``-`` and a running number.

    Args:
        kind: the kind of job.
        body: the request's canonical JSON.
    """
    return sha256(f"{kind}:".encode() + body).hexdigest()[:32]


def is_resubmit(name: str, value: str) -> bool:
    """Return whether a setting is ``"resubmit"``.

    Args:
        name: the setting's name, for the error message.
        value: ``"report"`` or ``"resubmit"``.

    Raises:
        ValueError: the value is neither.
    """
    if value not in ("report", "resubmit"):
        raise ValueError(f"{name} must be 'report' or 'resubmit' (got {value!r})")
    return value == "resubmit"


class State(StrEnum):
    """The state of a create.

    Attributes:
        PLANNED: nothing was sent, or it is certain that nothing was made. The create may be sent.
        SENDING: the intent is recorded, and the request may have been sent. If the sending process
            has died, the create reads as UNCERTAIN.
        SUBMITTED: Keevx accepted the create, and its task ids are recorded. It is never sent again.
        REFUSED: Keevx refused the create for good. Nothing was charged; it may be sent again.
        UNCERTAIN: the response was lost, so the create may have been charged. It must be settled.
    """

    PLANNED = "planned"
    SENDING = "sending"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


class Entry(NamedTuple):
    """One create, as recorded in the journal.

    Attributes:
        key: its key, which identifies it within the journal.
        kind: the kind of job.
        state: its state.
        body: its request as canonical JSON.
        at: when its intent was written, in seconds since the epoch.
        reason: the reason why it was refused or is uncertain.
        task_ids: the ids that Keevx gave its tasks.
    """

    key: str
    kind: str
    state: State
    body: str
    at: float
    reason: str = ""
    task_ids: tuple[str, ...] = ()

    @property
    def is_submitted(self) -> bool:
        """Whether the create was made and its ids are recorded, so it is never sent again."""
        return self.state is State.SUBMITTED

    def is_final(self, *, resubmits: bool) -> bool:
        """Return whether the create will never be sent again.

        This is the case if it has ids, or if it is uncertain and uncertain creates are not
        resubmitted.

        Args:
            resubmits: whether the journal resubmits uncertain creates.
        """
        return bool(self.task_ids) or (self.state is State.UNCERTAIN and not resubmits)


class Claim(NamedTuple):
    """A claimed key, which belongs to one caller until the caller releases it.

    Attributes:
        key: the key.
        entry: the key's entry in the journal; None if there is none.
    """

    key: str
    entry: Entry | None


@frozen
class TaskRecord:
    """The record of a finished task.

    Attributes:
        task: the task's last snapshot.
        at: when the snapshot was taken, in seconds since the epoch.
        path: the path of the downloaded result; None if the result was not downloaded.
        size: the file's size in bytes.
        digest: the file's SHA-256 in hexadecimal.
    """

    task: Task
    at: float
    path: Path | None = None
    size: int | None = None
    digest: str | None = None


class OverLimit(Exception):
    """A create does not fit in the journal's usage limit, so its intent was not written.

    Args:
        usage: the results that the journal's creates have made or may have made.
    """

    def __init__(self, usage: Usage) -> None:
        super().__init__(usage)
        self.usage = usage


class JournalProtocol(Protocol):
    """The durable record of creates and their tasks.

    A record that is "durable on return" survives a crash of the process. Whether it survives a
    power cut depends on the implementation. Every method may raise ``JournalError`` if the journal
    is closed or cannot be read or written. After a failed write, no further create may start.
    """

    @property
    def resubmits(self) -> bool:
        """Whether an earlier run's uncertain creates are sent again.

        Such a create may have been charged, so by default it is only reported.
        """
        ...

    @property
    def shared(self) -> object:
        """An object that is the same for all users of the open journal in this process.

        The object is hashable and supports weak references.
        """
        ...

    @property
    def lost(self) -> str | None:
        """A message about the recorded data that the journal has lost; None if it has lost nothing.

        If data was lost, the journal is read-only: every claim raises ``JournalError`` with this
        message.
        """
        ...

    def attach(self, owner: Owner | None = None) -> None:
        """Open the journal for another user.

        Each call must be matched by one call to ``detach``.

        Args:
            owner: the host and account for which the journal is used; None skips the check. A
                journal belongs to its first owner.

        Raises:
            JournalError: the journal cannot be used, or belongs to another host or account.
        """
        ...

    async def check_owner(self) -> None:
        """Check the journal's owner if ``attach`` could not do so.

        Raises:
            JournalError: the journal belongs to another host or account, or cannot be reached.
        """
        ...

    async def detach(self) -> None:
        """Stop using the journal. The last user to do so closes it.

        Everything recorded before this call is durable on return.
        """
        ...

    def recall(
        self, kind: str, encode: Callable[[], bytes | None], key: str | None = None
    ) -> Entry | None:
        """Return the submitted entry that ``claim`` would find, without waiting.

        The effect is the same as claiming and releasing the key. An entry that is neither in memory
        nor next in the file is found only by ``claim``.

        Args:
            kind: the kind of job.
            encode: returns the request's canonical JSON, or None if the JSON is not available yet.
                It is not called if no earlier run's entry is in memory, so new creates are not
                slowed down.
            key: see ``claim``.
        """
        ...

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other caller submits the same create in the meantime.

        Args:
            kind: the kind of job.
            body: the request's canonical JSON.
            key: the key to claim, waiting while another caller has it. None claims the body's first
                free key, so the n-th of several equal requests finds the n-th entry again.
        """
        ...

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim. Releasing it again has no effect.

        Args:
            key: the claimed key.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        ...

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record the intent to send a create. Durable on return.

        No byte of the create may be sent before this returns.
        """
        ...

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Enforce a usage limit if the journal itself counts usage.

        A journal that is written by several processes counts usage, and its ``mark_sending`` raises
        ``OverLimit`` if a create does not fit. If only one process writes the journal, that process
        counts instead.

        Args:
            limit: the limit for all of the journal's creates together; None for no limit.

        Returns:
            Whether the journal itself counts usage.
        """
        ...

    async def usage(self) -> Usage:
        """Return the number of results in each group, including those of uncertain creates.

        A create counts as the number of results it requested or the number of its ids, whichever is
        greater. This may read the whole journal, in bounded memory.
        """
        ...

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record a create's task ids. Durable on return.

        Ids are only ever added, never removed.
        """
        ...

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record that the response to a create was lost. Durable on return.

        Any known ids are kept; a submitted create stays submitted.
        """
        ...

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record that Keevx refused a create for good. Durable on return.

        Nothing was charged; the next caller that claims the key may send the create again.
        """
        ...

    async def mark_planned(self, key: str) -> None:
        """Record that a create made no task and may be sent again. Durable on return.

        A submitted create stays submitted.
        """
        ...

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the outcome of an uncertain create. Durable on return.

        Args:
            key: the create's key.
            task_ids: the create's task ids; empty if it was not made and may be sent again.

        Raises:
            JournalError: the create is not uncertain, or it has ids but none were passed.
        """
        ...

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add task ids that Keevx confirmed, regardless of the entry's state. Durable on return.

        Args:
            key: the create's key.
            task_ids: the ids to add; ids that the create already has are ignored.
            count: the number of tasks that the create requested.

        Returns:
            The entry as it was before this call; None if the key had no entry.
        """
        ...

    async def mark_ended(self, task: Task) -> None:
        """Record that a task has ended.

        This need not be durable on return: without the record, a later run queries Keevx again.
        """
        ...

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record the file to which a task's result was downloaded. Durable on return.

        Args:
            task: the finished task.
            path: the file's path.
            size: the file's size in bytes.
            digest: the file's SHA-256 in hexadecimal.
        """
        ...

    async def find(self, key: str) -> Entry | None:
        """Return a key's entry, or None if it has no entry.

        A ``sending`` entry whose holder is no longer alive reads as ``uncertain``.
        """
        ...

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return a task's record, or None if the task's end has not been recorded."""
        ...

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create to which a task belongs, or None if no entry has its id.

        This may read the whole journal.
        """
        ...

    def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all entries, oldest first.

        Entries are read as needed; the journal may be used during the iteration.
        """
        ...

    async def set_note(self, name: str, value: str) -> None:
        """Store a short text for later runs, replacing any previous text with the same name.

        This need not be durable on return.
        """
        ...

    async def get_note(self, name: str) -> str | None:
        """Return the text that ``set_note`` stored under a name, or None if there is none."""
        ...
