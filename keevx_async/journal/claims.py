"""Which caller has which key, within one process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256

from ..errors import JournalError
from .protocol import Claim, Entry, State

Find = Callable[[str], tuple[int, Entry] | None]
Take = Callable[[str], Awaitable[Claim | None]]

RESTARTABLE = (State.PLANNED, State.REFUSED)
"""States in which it is certain that nothing was paid: the next claim may send again."""


_fork_count = 0


def fork_count() -> int:
    """Return how many forks led to this process: one more than in its parent."""
    return _fork_count


def _count_fork() -> None:
    global _fork_count
    _fork_count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Claims:
    """Hands out keys, each to one caller at a time.

    The same program run again asks for the same bodies in some order: the n-th of equal bodies
    meets the n-th entry. One byte per entry of earlier runs records whether it has been met, so
    memory stays small for a stream of any length.

    Args:
        last_row: the last row that earlier runs wrote; 0 for a new journal.

    Attributes:
        intents: for each claimed key, when its last intent was written, in seconds since the
            epoch.
    """

    def __init__(self, last_row: int) -> None:
        self.intents: dict[str, float] = {}
        self._last_row = last_row
        self._matched = bytearray(last_row + 1)
        self._held: dict[str, asyncio.Future[None] | None] = {}
        self._repeats: dict[str, int] = {}
        self._fork_count = _fork_count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._switch = threading.Lock()

    def enter(self) -> None:
        """Check that the journal may be used here: in one process, on one loop at a time.

        Raises:
            JournalError: this is a forked process, or another event loop is using the journal.
        """
        # 1. A forked process has neither the writing thread nor a lock of its own.
        # 2. Two loops that run at once, in two threads, could both be given the same key.
        # 3. A loop that has stopped leaves its keys behind. They are free for the next loop, and
        #    what waits for them on the old one is woken, in case it runs again.
        loop = asyncio.get_running_loop()
        if self._fork_count != _fork_count:
            raise JournalError(
                "this journal was opened before a fork; open a Journal, and a Keevx, of its own "
                "in the process that uses it"
            )
        if loop is self._loop:
            return
        with self._switch:
            before, self._loop = self._loop, self._loop or loop
            if before is None or before is loop:
                return
            if before.is_running():
                raise JournalError(
                    "this journal is in use on another event loop, which is still running, as in "
                    "another thread; use one Keevx, on one loop, for all that share a journal"
                )
            self._loop = loop
            waiters = [waiter for waiter in self._held.values() if waiter is not None]
            self._held.clear()
            self.intents.clear()
            for waiter in waiters:
                with suppress(RuntimeError):  # its loop is closed
                    if not waiter.done():
                        waiter.set_result(None)

    def holds(self, key: str) -> bool:
        """Return whether a caller in this process has the key."""
        return key in self._held

    def is_old(self, row: int) -> bool:
        """Return whether a row was written by an earlier run."""
        return row <= self._last_row

    def number(self, body: bytes, find: Find) -> Claim:
        """Claim the first key of a body that no equal body of this run has had.

        Args:
            body: what the key is a digest of.
            find: returns the row and the entry of a key.
        """
        # Looked up even if the body is new to this run: an earlier one, or a key that was named,
        # may have it. A Bloom filter of new bodies saved 3 µs of the 200 that a create takes.
        digest = sha256(body).hexdigest()[:32]
        number = self._repeats.get(digest, 0) + 1
        while (claim := self._claim_unmet(f"{digest}-{number}", find)) is None:
            number += 1
        if number > 1:  # a million different bodies need no memory
            self._repeats[digest] = number
        return claim

    def _claim_unmet(self, key: str, find: Find) -> Claim | None:
        # 1. Another caller has the key: taken.
        # 2. No entry: free.
        # 3. An entry of an earlier run that was not met yet: this is the one to meet.
        # 4. Any other entry is free only if nothing was paid for it.
        if key in self._held:
            return None
        row_and_entry = find(key)
        if row_and_entry is not None:
            row, entry = row_and_entry
            if row <= self._last_row and not self._matched[row]:
                self._matched[row] = 1
            elif entry.state not in RESTARTABLE:
                return None
        self._held[key] = None
        return Claim(key, row_and_entry[1] if row_and_entry else None)

    async def take(self, key: str, find: Find) -> Entry | None:
        """Claim a key by name, waiting while another caller has it.

        Args:
            key: the key.
            find: returns the row and the entry of a key.
        """
        await self._wait_until_free(key)
        # Looked up before it is held: ``sending`` then reads as what it is, a dead run's.
        row_and_entry = find(key)
        self._held[key] = None
        return row_and_entry[1] if row_and_entry else None

    async def hold(self, key: str) -> None:
        """Claim a key by name without looking it up, waiting while another caller has it.

        If cancelled while waiting, the key is not claimed.
        """
        await self._wait_until_free(key)
        self._held[key] = None

    async def _wait_until_free(self, key: str) -> None:
        while key in self._held:
            released = self._held[key]
            if released is None:
                released = self._held[key] = asyncio.get_running_loop().create_future()
            await asyncio.shield(released)

    async def number_held(self, stem: str, take: Take) -> Claim:
        """Claim the first key of a stem that ``take`` gives.

        The key is held while ``take`` runs, so that no other caller tries it meanwhile. If
        ``take`` raises, the key stays held: its owner knows what came of it and releases it.

        Args:
            stem: what keys of equal bodies begin with.
            take: returns the claim, or None if the key is not to be had.
        """
        claim: Claim | None = None
        number = self._repeats.get(stem, 0)
        while claim is None:
            number += 1
            key = f"{stem}-{number}"
            if key in self._held:
                continue
            self._held[key] = None
            claim = await take(key)
            if claim is None:  # not for this caller; one that names the key may still have it
                self.release(key, made=True)
        if number > 1:
            self._repeats[stem] = number
        return claim

    def release(self, key: str, *, made: bool) -> None:
        """Give up a key, and wake who waits for it; releasing twice is harmless.

        Args:
            key: the key.
            made: whether its create was made; if not, the next equal body gets the same key.
        """
        self.intents.pop(key, None)
        # The numbers of this body go back to before this one, so that an equal body which is
        # submitted next meets the same entry. Bodies seen once have no number to go back to.
        digest, _, number = key.rpartition("-")
        if not made and digest in self._repeats and number.isdecimal():
            self._repeats[digest] = min(self._repeats[digest], int(number) - 1)
        released = self._held.pop(key, None)
        if released is not None and not released.done():
            released.set_result(None)
