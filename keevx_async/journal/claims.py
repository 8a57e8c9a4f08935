"""Track the keys that callers have claimed within one process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from ..errors import JournalError
from .protocol import Claim, Entry, State

Find = Callable[[str], tuple[int, Entry] | None]
Take = Callable[[str], Awaitable[Claim | None]]

RESTARTABLE = (State.PLANNED, State.REFUSED)
"""The states in which nothing can have been charged, so a new claim may send the create again."""


class Forks:
    """Counts the forks that led to this process.

    Attributes:
        count: the number of forks, which is one more than in the parent process.
    """

    count = 0

    @classmethod
    def add(cls) -> None:
        """Count a fork. This is called in the child process."""
        cls.count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Forks.add)


class Holds:
    """Tracks a journal's claimed keys and the clients in this process that claimed them.

    Args:
        name: the journal's name, for error messages.

    Attributes:
        intents: the time of each claimed key's last intent, in seconds since the epoch.
    """

    def __init__(self, name: str = "this journal") -> None:
        self._name = name
        self.intents: dict[str, float] = {}
        self._held: dict[str, Claims] = {}
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._members: list[Claims] = []
        self._fork_count = Forks.count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._switch = threading.Lock()

    def enter(self) -> None:
        """Check that this process may use the journal on the running event loop.

        Raises:
            JournalError: this is a forked process, or another event loop is using the journal.
        """
        # 1. A forked process has neither the writer thread nor its own lock.
        # 2. Two loops running at once, in two threads, could both get the same key.
        # 3. A stopped loop may still have keys. They are freed for the next loop, and waiters on
        #    the old loop are woken in case that loop runs again.
        loop = asyncio.get_running_loop()
        if self._fork_count != Forks.count:
            raise JournalError(
                "this journal was opened before a fork; open a new Journal and a new Keevx "
                "in the process that uses them"
            )
        if loop is self._loop:
            return
        with self._switch:
            before, self._loop = self._loop, self._loop or loop
            if before is None or before is loop:
                return
            if before.is_running():
                raise JournalError(
                    f"{self._name} is in use on another event loop that is still running in "
                    "this process, for example in another thread; use one Keevx, on one loop, for "
                    "everything that shares a journal"
                )
            self._loop = loop
            self._free(list(self._held))

    def check_loop(self) -> None:
        """Call ``enter`` if an event loop is running; a journal may be opened without one.

        Raises:
            JournalError: see ``enter``.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.enter()

    def join(self, last_row: int) -> Claims:
        """Add a client and return its claims.

        Args:
            last_row: the number of the journal's current last row; 0 for a new journal.
        """
        claims = Claims(self, last_row, is_shared=bool(self._members))
        for member in self._members:
            member.share(last_row)
        self._members.append(claims)
        return claims

    def leave(self, claims: Claims) -> None:
        """Give up all of a client's claims. The client must not claim keys afterwards."""
        self._members.remove(claims)
        self._free([key for key, holder in self._held.items() if holder is claims])

    def holder(self, key: str) -> Claims | None:
        """Return the client that has the key; None if it is free."""
        return self._held.get(key)

    def take(self, key: str, claims: Claims) -> None:
        """Give a free key to a client."""
        self._held[key] = claims

    async def wait_until_free(self, key: str) -> None:
        """Wait while a caller has the key."""
        while key in self._held:
            released = self._waiters.get(key)
            if released is None:
                released = self._waiters[key] = asyncio.get_running_loop().create_future()
            await asyncio.shield(released)

    def release(self, key: str) -> None:
        """Give up a key and wake its waiters. Releasing it again has no effect."""
        self._free((key,))

    def _free(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.intents.pop(key, None)
            self._held.pop(key, None)
            released = self._waiters.pop(key, None)
            if released is not None:
                with suppress(RuntimeError):  # its loop is closed
                    if not released.done():
                        released.set_result(None)


class Claims:
    """Hands out keys to one client's callers, each key to one caller at a time.

    When a program runs again, it claims keys for the same bodies in some order: the n-th of several
    equal bodies finds the n-th entry, whichever client wrote the entry. One byte per entry written
    by others records whether this client has found the entry, so even a long stream needs little
    memory.

    Args:
        holds: the keys claimed by all of the journal's clients.
        last_row: the number of the last row that others wrote before; 0 for a new journal.
        is_shared: whether other clients in this process use the journal.
    """

    def __init__(self, holds: Holds, last_row: int = 0, *, is_shared: bool = False) -> None:
        self._holds = holds
        self._last_row = last_row
        self._met = bytearray(last_row + 1)
        self._is_shared = is_shared
        self._repeats: dict[str, int] = {}

    @property
    def is_shared(self) -> bool:
        """Whether other clients in this process use or have used the journal."""
        return self._is_shared

    def share(self, last_row: int) -> None:
        """Start sharing the journal with another client in this process.

        Args:
            last_row: the number of the journal's current last row.
        """
        # A lone client has written every row after those it started with. From now on, such rows
        # may be another client's, so the client must record the rows that it has found.
        if not self._is_shared:
            self._met.extend(b"\1" * (last_row + 1 - len(self._met)))
            self._is_shared = True

    def meet(self, row: int, *, is_met: bool = True) -> None:
        """Record whether a row's entry counts as found; if not, this client may find it again."""
        if row >= len(self._met):
            self._met.extend(bytes(row + 1 - len(self._met)))
        self._met[row] = is_met

    def _has_met(self, row: int) -> bool:
        return bool(self._met[row]) if row < len(self._met) else not self._is_shared

    def enter(self) -> None:
        """Check that the journal may be used here; see ``Holds.enter``.

        Raises:
            JournalError: this is a forked process, or another event loop is using the journal.
        """
        self._holds.enter()

    def holds(self, key: str) -> bool:
        """Return whether a caller in this process has the key."""
        return self._holds.holder(key) is not None

    def leave(self) -> None:
        """Give up all keys. No keys may be claimed afterwards."""
        self._holds.leave(self)

    def is_old(self, row: int) -> bool:
        """Return whether a row was written before this client joined."""
        return row <= self._last_row

    def number(self, digest: str, find: Find) -> Claim | str:
        """Claim a body's first key that this client has not yet used for an equal body.

        If another client has that key, the key itself is returned. Wait until it is free and call
        this again, because this client should find the other client's create.

        Args:
            digest: the body's digest, with which its keys start.
            find: returns a key's row and entry.
        """
        # Looked up even if the body is new to this run: an earlier run, or a caller's own key, may
        # have used it.
        number = self._repeats.get(digest, 0) + 1
        while (claim := self._claim_unmet(f"{digest}-{number}", find)) is None:
            number += 1
        if number > 1 and isinstance(claim, Claim):  # so a million different bodies need no memory
            self._repeats[digest] = number
        return claim

    def recall(self, digest: str, find: Find) -> Entry | None:
        """Return the submitted entry that ``number`` would claim, without claiming its key.

        The entry then counts as found. If None is returned, nothing has changed, and ``number`` has
        to decide, for example because other clients use the journal.
        """
        if self._is_shared:
            return None
        number = self._repeats.get(digest, 0) + 1
        while (row_and_entry := self._find_submitted(f"{digest}-{number}", find)) is not None:
            row, entry = row_and_entry
            if not self._has_met(row):
                if number > 1:
                    self._repeats[digest] = number
                self.meet(row)
                return entry
            number += 1
        return None

    def recall_named(
        self, key: str, kind: str, encode: Callable[[], bytes | None], find: Find
    ) -> Entry | None:
        """Return a named key's submitted entry, without claiming the key.

        If None is returned, a claim has to decide, for example because the key belongs to another
        request.

        Args:
            key: the key.
            kind: the kind of job.
            encode: returns the request's canonical JSON, or None if the JSON is not available yet.
            find: returns a key's row and entry.
        """
        row_and_entry = self._find_submitted(key, find)
        if row_and_entry is None or (body := encode()) is None:
            return None
        entry = row_and_entry[1]
        return entry if (entry.kind, entry.body) == (kind, body.decode()) else None

    def _find_submitted(self, key: str, find: Find) -> tuple[int, Entry] | None:
        if self._holds.holder(key) is not None:
            return None
        row_and_entry = find(key)
        if row_and_entry is None or row_and_entry[1].state is not State.SUBMITTED:
            return None
        return row_and_entry

    def _claim_unmet(self, key: str, find: Find) -> Claim | str | None:
        # 1. Another caller of this client has the key: it is taken.
        # 2. Another client has it: wait for it, since this run should find its create.
        # 3. There is no entry: the key is free.
        # 4. The entry is another client's and has not been found yet: it is found now.
        # 5. For any other entry, the key is free only if nothing was charged.
        if (holder := self._holds.holder(key)) is not None:
            return None if holder is self else key
        row_and_entry = find(key)
        if row_and_entry is not None:
            row, entry = row_and_entry
            if not self._has_met(row):
                self.meet(row)
            elif entry.state not in RESTARTABLE:
                return None
        self._holds.take(key, self)
        return Claim(key, row_and_entry[1] if row_and_entry else None)

    async def wait_until_free(self, key: str) -> None:
        """Wait while a caller has the key."""
        await self._holds.wait_until_free(key)

    async def take(self, key: str, find: Find) -> Entry | None:
        """Claim a key by name, waiting while another caller has it.

        Args:
            key: the key.
            find: returns a key's row and entry.
        """
        await self._holds.wait_until_free(key)
        # Looked up before it is held, so that ``sending`` is recognized as a dead run's.
        row_and_entry = find(key)
        self._holds.take(key, self)
        return row_and_entry[1] if row_and_entry else None

    async def hold(self, key: str) -> None:
        """Claim a key by name without looking it up, waiting while another caller has it.

        If cancelled while waiting, the key is not claimed.
        """
        await self._holds.wait_until_free(key)
        self._holds.take(key, self)

    async def number_held(self, stem: str, take: Take) -> Claim:
        """Claim the first key of a stem for which ``take`` returns a claim.

        The key is held while ``take`` runs, so no other caller tries it in the meantime. If
        ``take`` raises, the key stays held: ``take`` knows what happened and must release it.

        Args:
            stem: the prefix shared by the keys of equal bodies.
            take: returns the claim, or None if the key is unavailable.
        """
        claim: Claim | None = None
        number = self._repeats.get(stem, 0)
        while claim is None:
            number += 1
            key = f"{stem}-{number}"
            if self._holds.holder(key) is not None:
                continue
            self._holds.take(key, self)
            claim = await take(key)
            if claim is None:  # not for this caller; a caller that names the key may still get it
                self.release(key, made=True)
        if number > 1:
            self._repeats[stem] = number
        return claim

    def release(self, key: str, *, made: bool) -> None:
        """Give up a key and wake its waiters. Releasing it again has no effect.

        Args:
            key: the key.
            made: whether its create was made; if not, the next equal body gets the same key.
        """
        # The body's last number is set back to before this one, so the next equal body finds the
        # same entry. No number is stored for a body that was seen only once.
        digest, _, number = key.rpartition("-")
        if not made and digest in self._repeats and number.isdecimal():
            self._repeats[digest] = min(self._repeats[digest], int(number) - 1)
        self._holds.release(key)
