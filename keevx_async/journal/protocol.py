"""The states of creates and tasks in a journal, and the protocol that every journal follows.

planned ──> sending ──> submitted        then per task:  succeeded | failed ──> downloaded
   ^            ├─────> refused
   └────────────┤
                └─────> uncertain        ``sending`` left by a dead run reads as this
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
"""The reason reported for a create that an earlier run left as ``sending``."""


def partial_reason(reported: int, count: int) -> str:
    """Return the reason for a create that is uncertain because only some of its ids arrived."""
    return f"callbacks reported {reported} of its {count} tasks"


def has_ids_reason(task_ids: Sequence[str]) -> str:
    """Return why a create that has ids cannot be settled as not made."""
    return f"was made: it has {', '.join(task_ids)}, so it cannot be settled as none"


ATTEMPT_MARK = "~"
"""Separates a key from its attempt number once a failed create has been resubmitted."""


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
    """Return the common start of the keys of equal requests; ``-`` and a running number follow.

    Args:
        kind: the kind of job.
        body: the request's canonical JSON.
    """
    return sha256(f"{kind}:".encode() + body).hexdigest()[:32]


def is_resubmit(name: str, value: str) -> bool:
    """Return whether a setting is ``"resubmit"``.

    Args:
        name: the setting's name, for the error.
        value: ``"report"`` or ``"resubmit"``.

    Raises:
        ValueError: the value is neither.
    """
    if value not in ("report", "resubmit"):
        raise ValueError(f"{name} must be 'report' or 'resubmit' (got {value!r})")
    return value == "resubmit"


class State(StrEnum):
    """How far a create has progressed.

    Attributes:
        PLANNED: nothing was sent, or certainly nothing was made; it may be sent.
        SENDING: its intent is on disk, and the request may be on its way. If its process has died,
            it reads as UNCERTAIN.
        SUBMITTED: Keevx accepted it, and its task ids are recorded. It is never sent again.
        REFUSED: Keevx refused it for good. Nothing was charged; the same key may be sent again.
        UNCERTAIN: the response was lost, so it may have been charged. It waits to be settled.
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
        state: how far it has progressed.
        body: the canonical JSON of its request.
        at: when its intent was written, in seconds since the epoch.
        reason: why it was refused or is uncertain.
        task_ids: the ids of its tasks, from Keevx.
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
        """Whether it was made and its ids are recorded, so it is never sent again."""
        return self.state is State.SUBMITTED

    def is_final(self, *, resubmits: bool) -> bool:
        """Return whether it is never sent again: it has ids, or is uncertain and not resubmitted.

        Args:
            resubmits: whether the journal resubmits uncertain creates.
        """
        return bool(self.task_ids) or (self.state is State.UNCERTAIN and not resubmits)


class Claim(NamedTuple):
    """A key that belongs to one caller until it is released.

    Attributes:
        key: the key.
        entry: the journal's entry for the key; None if it has none.
    """

    key: str
    entry: Entry | None


@frozen
class TaskRecord:
    """One task that has ended.

    Attributes:
        task: the task's last snapshot.
        at: when the snapshot was taken, in seconds since the epoch.
        path: the path of its downloaded result; None if it was not downloaded.
        size: the file's size in bytes.
        digest: the file's SHA-256 in hexadecimal.
    """

    task: Task
    at: float
    path: Path | None = None
    size: int | None = None
    digest: str | None = None


class OverLimit(Exception):
    """A create does not fit in the journal's limit; its intent was not written.

    Args:
        usage: what the journal's creates have made or may have made.
    """

    def __init__(self, usage: Usage) -> None:
        super().__init__(usage)
        self.usage = usage


class JournalProtocol(Protocol):
    """The durable record of creates and their tasks.

    Whatever is "durable on return" survives the death of the process; whether it survives a power
    cut depends on the implementation. Every method may raise ``JournalError``, if the journal is
    closed or cannot be read or written. After a failed write, no further create may start.
    """

    @property
    def resubmits(self) -> bool:
        """Whether an uncertain create of an earlier run is sent again.

        It may have been charged, so by default it is only reported.
        """
        ...

    @property
    def shared(self) -> object:
        """An object shared by all users of this journal in this process while it is open.

        It is hashable and supports weak references.
        """
        ...

    @property
    def lost(self) -> str | None:
        """Why the journal is read-only: it has lost recorded data. None if it has lost nothing.

        If it is set, every claim raises ``JournalError`` with this message.
        """
        ...

    def attach(self, owner: Owner | None = None) -> None:
        """Open the journal for one more user.

        Each call must be matched by one call of ``detach``.

        Args:
            owner: the host and account for which it is used; None skips the check. A journal
                belongs to its first owner.

        Raises:
            JournalError: the journal cannot be used, or belongs to another host or account.
        """
        ...

    async def check_owner(self) -> None:
        """Check the journal's owner, if ``attach`` could not do so yet.

        Raises:
            JournalError: the journal belongs to another host or account, or cannot be reached.
        """
        ...

    async def detach(self) -> None:
        """Leave the journal; the last user closes it.

        Everything recorded before is durable on return.
        """
        ...

    def recall(
        self, kind: str, encode: Callable[[], bytes | None], key: str | None = None
    ) -> Entry | None:
        """Return the submitted entry that ``claim`` would find, as if claimed and released.

        It does not wait. If the entry is neither in memory nor next in the file, only
        ``claim`` finds it.

        Args:
            kind: the kind of job.
            encode: returns the canonical JSON of the request, or None if that must be waited for.
                Not called if no entry of an earlier run is in memory, so a new create costs no
                more.
            key: as for ``claim``.
        """
        ...

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other caller submits the same create in the meantime.

        Args:
            kind: the kind of job.
            body: the request's canonical JSON.
            key: the key to claim, waiting while another caller has it. None claims the first free
                key of this body, so the n-th of equal requests finds the n-th entry again.
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
        """Record the intent to send. Durable on return.

        No byte of a create may be sent before this returns.
        """
        ...

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Enforce a budget, if the journal itself counts what its creates use.

        A journal that several processes write does so: its ``mark_sending`` then raises
        ``OverLimit`` for a create that does not fit. If only one process writes the journal, that
        process counts.

        Args:
            limit: what all of its creates may use together; None for no limit.

        Returns:
            Whether the journal itself counts.
        """
        ...

    async def usage(self) -> Usage:
        """Return what its creates have made or may have made, including uncertain ones.

        A create counts as the results it requested or, if it has more ids, as its ids. May read
        the whole journal, in bounded memory.
        """
        ...

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the task ids of a create. Durable on return.

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

        Nothing was charged; the next claimant of the key may send it again.
        """
        ...

    async def mark_planned(self, key: str) -> None:
        """Record that a create made no task and may be sent again. Durable on return.

        A submitted create stays submitted.
        """
        ...

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record what became of an uncertain create. Durable on return.

        Args:
            key: the create's key.
            task_ids: the create's task ids; empty if it was not made and may be sent again.

        Raises:
            JournalError: the create is not uncertain, or it has ids and so cannot be settled
                without any.
        """
        ...

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add task ids that Keevx confirmed, whatever the entry's state. Durable on return.

        Args:
            key: the create's key.
            task_ids: the ids to add; ids that it already has are ignored.
            count: the number of tasks that the create requested.

        Returns:
            The entry before this call; None if the key had no entry.
        """
        ...

    async def mark_ended(self, task: Task) -> None:
        """Record the end of a task.

        Need not be durable on return: a run without the record queries Keevx again.
        """
        ...

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record where a task's result was downloaded. Durable on return.

        Args:
            task: the ended task.
            path: the file's path.
            size: the file's size in bytes.
            digest: the file's SHA-256 in hexadecimal.
        """
        ...

    async def find(self, key: str) -> Entry | None:
        """Return a key's entry, or None if it has no entry.

        An entry in state ``sending`` without a live holder reads as ``uncertain``.
        """
        ...

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task.

        None until its end is recorded.
        """
        ...

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that a task belongs to.

        None if no entry has the id. May read the whole journal.
        """
        ...

    def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all entries, oldest first.

        They are read as needed; the journal may be used in the meantime.
        """
        ...

    async def set_note(self, name: str, value: str) -> None:
        """Store a short text for later runs, replacing any previous text of that name.

        Need not be durable on return.
        """
        ...

    async def get_note(self, name: str) -> str | None:
        """Return a text stored by ``set_note``.

        None if no text has that name.
        """
        ...
