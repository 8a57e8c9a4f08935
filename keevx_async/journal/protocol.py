"""What every journal keeps: the states of a create and of its tasks, and the protocol itself.

planned ──> sending ──> submitted        then per task:  succeeded | failed ──> downloaded
   ^            ├─────> refused
   └────────────┤
                └─────> uncertain        ``sending`` left by a run that died reads as this
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

DIED_WHILE_SENDING = "the program ended before the answer came"
"""The reason of a create that an earlier run left as ``sending``."""


def partial_reason(reported: int, count: int) -> str:
    """Return the reason of a create that is uncertain because only some of its ids arrived."""
    return f"callbacks reported {reported} of its {count} tasks"


def has_ids_reason(task_ids: Sequence[str]) -> str:
    """Return why a create that has ids cannot be settled as not made."""
    return f"was made: it has {', '.join(task_ids)}, so it cannot be settled as none"


ATTEMPT_MARK = "~"
"""Separates a key from its attempt number, once a failed create has been resubmitted."""


def next_attempt_key(key: str) -> str:
    """Return the key under which a failed create is resubmitted.

    ``KEY`` is followed by ``KEY~2``, that by ``KEY~3``, and so on.
    """
    first, number = _split_attempt(key)
    return f"{first}{ATTEMPT_MARK}{number + 1}"


def first_attempt_key(key: str) -> str:
    """Return the key that a create had before it was first resubmitted.

    A key without an attempt number is returned as it is.
    """
    return _split_attempt(key)[0]


def _split_attempt(key: str) -> tuple[str, int]:
    first, _, number = key.rpartition(ATTEMPT_MARK)
    if first and number.isascii() and number.isdecimal():
        return first, int(number)
    return key, 1


def stem_of(kind: str, body: bytes) -> str:
    """Return what the keys of equal requests begin with; ``-`` and a running number follow.

    Args:
        kind: of job.
        body: the canonical JSON of the request.
    """
    return sha256(f"{kind}:".encode() + body).hexdigest()[:32]


def is_resubmit(name: str, value: str) -> bool:
    """Return whether a setting is ``"resubmit"``.

    Args:
        name: of the setting, for the error.
        value: ``"report"`` or ``"resubmit"``.

    Raises:
        ValueError: it is neither.
    """
    if value not in ("report", "resubmit"):
        raise ValueError(f"{name} must be 'report' or 'resubmit' (got {value!r})")
    return value == "resubmit"


class State(StrEnum):
    """How far a create has come.

    Attributes:
        PLANNED: nothing was sent, or it is certain that nothing was made; it may be sent.
        SENDING: its intent is on disk and the request may be on its way. Left by a process that
            has died, it reads as UNCERTAIN.
        SUBMITTED: Keevx made it, and its task ids are recorded. It is never sent again.
        REFUSED: Keevx refused it for good. Nothing was paid; the same key may be sent again.
        UNCERTAIN: the answer was lost, so it may have been paid. It waits to be settled.
    """

    PLANNED = "planned"
    SENDING = "sending"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


class Entry(NamedTuple):
    """One create, as the journal has it.

    Attributes:
        key: identifies it within the journal.
        kind: the kind of job.
        state: how far it has come.
        body: the canonical JSON of its request.
        at: when its intent was written, in seconds since the epoch.
        reason: why it was refused or is uncertain.
        task_ids: the ids that Keevx gave it.
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
        """Whether it was made and its ids are recorded, so that it is never sent again."""
        return self.state is State.SUBMITTED

    def is_final(self, *, resubmits: bool) -> bool:
        """Whether it is never sent again: it has an id, or is in doubt and to be left alone.

        Args:
            resubmits: whether the journal is to resubmit uncertain creates.
        """
        return bool(self.task_ids) or (self.state is State.UNCERTAIN and not resubmits)


class Claim(NamedTuple):
    """A key that belongs to one caller until it is released.

    Attributes:
        key: the key.
        entry: what the journal had under it; None if nothing.
    """

    key: str
    entry: Entry | None


@frozen
class TaskRecord:
    """One task that has ended.

    Attributes:
        task: its last snapshot.
        at: when the snapshot was taken, in seconds since the epoch.
        path: where its result was downloaded to; None if it was not.
        size: the file's bytes.
        digest: the file's SHA-256, in hexadecimal.
    """

    task: Task
    at: float
    path: Path | None = None
    size: int | None = None
    digest: str | None = None


class OverLimit(Exception):
    """A create does not fit in the journal's limit; its intent was not written.

    Args:
        usage: what the journal's creates have made or may have.
    """

    def __init__(self, usage: Usage) -> None:
        super().__init__(usage)
        self.usage = usage


class JournalProtocol(Protocol):
    """The durable record of creates and their tasks.

    What is "durable on return" survives the death of the process; whether it survives a power
    cut is up to the implementation. Every method may raise JournalError: the journal is closed,
    or can be neither read nor written. After a failed write no further create may begin.
    """

    @property
    def resubmits(self) -> bool:
        """Whether an uncertain create of an earlier run is sent again.

        It may have been paid for, so by default it is only reported.
        """
        ...

    @property
    def shared(self) -> object:
        """What all that use this journal in this process have in common while it is open.

        It can be hashed and referred to weakly.
        """
        ...

    @property
    def lost(self) -> str | None:
        """Why it can only be read: it has lost what was recorded. None if it has not.

        Every claim then raises JournalError with this message.
        """
        ...

    def attach(self, owner: Owner | None = None) -> None:
        """Open the journal for one more user.

        Each call needs one of ``detach``.

        Args:
            owner: the host and account that it is used for; None to check no owner. A journal
                belongs to the first one.

        Raises:
            JournalError: it cannot be used, or belongs to another host or account.
        """
        ...

    async def check_owner(self) -> None:
        """Check whose the journal is, where ``attach`` could not do so yet.

        Raises:
            JournalError: it belongs to another host or account, or cannot be reached.
        """
        ...

    async def detach(self) -> None:
        """Leave the journal; the last user closes it.

        What was recorded before is durable on return.
        """
        ...

    def recall(self, kind: str, encode: Callable[[], bytes]) -> Entry | None:
        """Return the submitted entry that ``claim`` would meet, met and released; or None.

        It neither waits nor reads the file: where it has no answer at hand, ``claim`` finds it.

        Args:
            kind: of job.
            encode: returns the canonical JSON of the request. Not called where no entry of an
                earlier run is at hand, so that a new create costs no more.
        """
        ...

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other caller submits the same create meanwhile.

        Args:
            kind: of job.
            body: the canonical JSON of the request.
            key: the key to claim, waiting while another caller has it. None: the first free key
                of this body, so that the n-th of equal requests meets the n-th entry again.
        """
        ...

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim; releasing twice is harmless.

        Args:
            key: the key claimed.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        ...

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record the intent to send. Durable on return.

        Not one byte of a create may be sent before this has returned.
        """
        ...

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Take over a budget, if the journal counts by itself what its creates use.

        A journal that several processes write does: its ``mark_sending`` then raises OverLimit
        for a create that does not fit. What only one process writes is counted there.

        Args:
            limit: the most that all its creates may use together; None for no limit.

        Returns:
            Whether the journal counts by itself.
        """
        ...

    async def usage(self) -> Usage:
        """Return what its creates have made or may have made, uncertain ones included.

        A create counts for what it was to make, or for its ids where these are more. May read the
        whole journal, in bounded memory.
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
        """Record that the answer to a create was lost. Durable on return.

        Any ids that are known are still kept; a submitted create stays submitted.
        """
        ...

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record that Keevx refused a create for good. Durable on return.

        Nothing was paid; whoever claims the key next may send it again.
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
            key: of the create.
            task_ids: its ids; empty if it was not made, and may be sent again.

        Raises:
            JournalError: it is not uncertain, or has ids and so cannot be settled without any.
        """
        ...

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add task ids that Keevx confirmed, whatever the entry's state. Durable on return.

        Args:
            key: of the create.
            task_ids: ids; those that it already has are ignored.
            count: how many tasks the create was to make.

        Returns:
            The entry as it was before; None if there is none.
        """
        ...

    async def mark_ended(self, task: Task) -> None:
        """Record the end of a task.

        Need not be durable on return: a run that has lost it asks Keevx again.
        """
        ...

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record where a task's result was downloaded to. Durable on return.

        Args:
            task: the task, ended.
            path: the file.
            size: its bytes.
            digest: its SHA-256, in hexadecimal.
        """
        ...

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key; None if there is none.

        ``sending`` that nobody alive holds reads as ``uncertain``.
        """
        ...

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task.

        None as long as no end of it is recorded.
        """
        ...

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that a task belongs to.

        None if no entry has the id. May read the whole journal.
        """
        ...

    def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all, oldest first.

        They are read as they are needed; the journal may be used meanwhile.
        """
        ...

    async def set_note(self, name: str, value: str) -> None:
        """Store a small text for later runs, replacing the one before.

        Need not be durable on return.
        """
        ...

    async def get_note(self, name: str) -> str | None:
        """Return a text stored by ``set_note``.

        None if there is none of that name.
        """
        ...
