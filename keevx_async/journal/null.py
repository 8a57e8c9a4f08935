"""A client's default journal, which only remembers named keys in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from pathlib import Path
from secrets import token_hex

from ..errors import JournalError
from ..models.tasks import Task
from ..models.usage import Usage, UsageLimit
from .claims import Forks, Holds
from .encoding import other_request_error
from .owner import Owner
from .protocol import (
    DIED_WHILE_SENDING,
    Claim,
    Entry,
    State,
    TaskRecord,
    partial_reason,
)


class NullJournal:
    """Generates a key for each create, and remembers keys that the caller names.

    It supports the same steps as other journals, so the create path needs no special case. A named
    key is never submitted twice while the client exists, so its entry is kept for that long. A
    create without a named key is kept only if it failed, because the caller may name its key next.
    Memory therefore does not grow with successful unnamed creates. Keys are unique across
    processes, including forked processes.
    """

    resubmits = False

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._forks, self._prefix = Forks.count, token_hex(8)
        self._numbers = count(1)
        self._claims = Holds().join(0)
        self._entries: dict[str, Entry] = {}
        # The generated keys in use, each with the kind, body and time of its create while that is
        # sent. Only a failed create becomes an entry.
        self._unnamed: dict[str, tuple[str, bytes, float] | None] = {}
        self._named: set[str] = set()

    @property
    def shared(self) -> object:
        """The journal itself, because each client has its own journal."""
        return self

    @property
    def lost(self) -> None:
        """Always None, because this journal has no stored data to lose."""

    def attach(self, owner: Owner | None = None) -> None:
        """Do nothing, because there is no file to open."""

    async def check_owner(self) -> None:
        """Do nothing, because there is no recorded owner."""

    async def detach(self) -> None:
        """Do nothing, because there is no file to close."""

    def recall(
        self, kind: str, encode: Callable[[], bytes | None], key: str | None = None
    ) -> Entry | None:
        """Return None, because nothing is kept from earlier runs."""
        return None

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim the given key, waiting while another caller has it; if None, return a new key.

        Raises:
            JournalError: the key belongs to another request, or was generated for an earlier create
                whose ids were not kept.
        """
        # A forked process continues its parent's numbers, so it needs its own prefix. The parent's
        # creates remain the parent's.
        if self._forks != Forks.count:
            self._begin()
        if key is None:
            key = f"{self._prefix}-{next(self._numbers)}"
            self._unnamed[key] = None
            return Claim(key, None)
        self._claims.enter()
        await self._claims.hold(key)
        entry = self._read(key, is_held=False)
        try:
            if entry is not None and (entry.kind, entry.body) != (kind, body.decode()):
                raise other_request_error("this client", key, entry.body, body)
            if key in self._unnamed:
                raise JournalError(f"key {key!r} belongs to a create in progress")
            if entry is None and key.startswith(f"{self._prefix}-"):
                raise JournalError(
                    f"key {key!r} was generated for a create that this client does not remember; "
                    "its ids were returned to its caller. To get the ids of an earlier create, "
                    "pass your own key or use a journal"
                )
        except JournalError:
            self._claims.release(key, made=True)
            raise
        self._named.add(key)
        return Claim(key, entry)

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim. Releasing it again has no effect."""
        if key in self._unnamed:
            if self._unnamed[key] is not None:  # destroyed with its event loop, without a response
                self._change(key, State.UNCERTAIN, DIED_WHILE_SENDING)
            del self._unnamed[key]
        if key in self._named:  # any other key was never held
            self._claims.release(key, made=made)

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Remember the create in case the caller names its key later."""
        old = self._entries.get(key)
        if old is None and key in self._unnamed:
            self._unnamed[key] = kind, body, time.time()
            return
        ids = old.task_ids if old is not None else ()
        text = body.decode()
        self._entries[key] = Entry(key, kind, State.SENDING, text, time.time(), "", ids)

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Return False, because the client counts usage."""
        return False

    async def usage(self) -> Usage:
        """Return an empty mapping, because nothing is kept from earlier runs."""
        return {}

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Remember the create's ids if its key was named; otherwise forget the create."""
        if key in self._named:
            self._change(key, State.SUBMITTED, "", task_ids)
        elif self._unnamed.pop(key, None) is None:
            self._entries.pop(key, None)

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Remember that the response to a create was lost."""
        self._change(key, State.UNCERTAIN, reason, task_ids or ())

    async def mark_refused(self, key: str, reason: str) -> None:
        """Remember that a create was refused; it may be sent again."""
        self._change(key, State.REFUSED, reason)

    async def mark_planned(self, key: str) -> None:
        """Remember that a create made no task; it may be sent again."""
        self._change(key, State.PLANNED, "")

    def _change(self, key: str, state: State, reason: str, ids: Sequence[str] = ()) -> None:
        entry = self._entry(key)
        if entry is not None and (ids or entry.state is not State.SUBMITTED):
            ids = tuple(dict.fromkeys((*entry.task_ids, *ids)))
            self._entries[key] = entry._replace(state=state, reason=reason, task_ids=ids)
            if key in self._unnamed:
                self._unnamed[key] = None

    def _entry(self, key: str) -> Entry | None:
        sent = self._unnamed.get(key)
        if sent is None:
            return self._entries.get(key)
        kind, body, at = sent
        return Entry(key, kind, State.SENDING, body.decode(), at, "", ())

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Do nothing."""

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add ids from callbacks to a create, and return its earlier entry; None if it has none."""
        entry = self._read(key)
        if entry is not None and not set(task_ids) <= set(entry.task_ids):
            ids = tuple(dict.fromkeys((*entry.task_ids, *task_ids)))
            state, reason = State.SUBMITTED, ""
            if entry.state is not State.SUBMITTED and len(ids) < count:
                state, reason = State.UNCERTAIN, partial_reason(len(ids), count)
            self._change(key, state, reason, ids)
        return entry

    async def mark_ended(self, task: Task) -> None:
        """Do nothing."""

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Do nothing."""

    async def find(self, key: str) -> Entry | None:
        """Return a key's entry, or None if the key is not remembered."""
        return self._read(key)

    def _read(self, key: str, *, is_held: bool | None = None) -> Entry | None:
        entry = self._entry(key)
        if entry is None or entry.state is not State.SENDING:
            return entry
        if is_held is None:
            is_held = key in self._unnamed or self._claims.holds(key)
        if is_held:
            return entry
        # Its event loop stopped before the response arrived.
        return entry._replace(state=State.UNCERTAIN, reason=DIED_WHILE_SENDING)

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return None."""
        return None

    async def find_owner(self, task_id: str) -> str | None:
        """Return None."""
        return None

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield nothing, because this journal does not list its entries."""
        empty: tuple[Entry, ...] = ()
        for entry in empty:
            yield entry

    async def set_note(self, name: str, value: str) -> None:
        """Do nothing."""

    async def get_note(self, name: str) -> str | None:
        """Return None."""
        return None
