"""Whose key is whose, within one run."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from struct import unpack

from ..errors import JournalError
from .protocol import Claim, Entry, State

Find = Callable[[str], tuple[int, Entry] | None]
Take = Callable[[str], Awaitable[Claim | None]]


class SeenFilter:
    """Tells bodies that are certainly new; of one size, however many there are (Bloom, 1970).

    With a million in it one in forty that is new passes for one that perhaps is not.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << 20)

    def add(self, digest: bytes) -> bool:
        """Remember a digest of 16 bytes; tell whether it perhaps was there before."""
        bits, there = self._bits, True
        for word in unpack("<4I", digest):
            at, bit = word >> 3 & 0xFFFFF, 1 << (word & 7)
            if not bits[at] & bit:
                bits[at] |= bit
                there = False
        return there


_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def forks() -> int:
    """Return how many forks lie behind this process: it differs from what its parent had."""
    return _forks


RESTARTABLE = (State.PLANNED, State.REFUSED)
"""States that are certain to have cost nothing: whoever asks again takes them up."""


class Claims:
    """Gives keys out, each to one caller at a time.

    The same program run again asks for the same bodies: the n-th of equal ones finds the n-th
    entry. Which entries of earlier runs were found is a byte each, so that a stream of any
    length stays small.

    Args:
        old: the last row of earlier runs.
    """

    def __init__(self, old: int) -> None:
        self._old = old
        self._seen = None if old else SeenFilter()
        self._matched = bytearray(old + 1)
        self._held: dict[str, asyncio.Future[None] | None] = {}
        self._repeats: dict[str, int] = {}
        self.intents: dict[str, float] = {}  # of keys held: when the last intent was written
        self._forks = _forks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._switch = threading.Lock()

    def enter(self) -> None:
        """See that keys are given out here: in one process, on one event loop at a time.

        1. A forked process has neither the thread that writes nor a lock of its own.
        2. Two loops that run at once, each in a thread of its own, would both be given a key.
        3. A loop that runs no more leaves its keys behind. They are free for the next one.

        Raises:
            JournalError: this is a forked process, or another loop is running.
        """
        loop = asyncio.get_running_loop()
        if self._forks != _forks:
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
            self._abandon()

    def _abandon(self) -> None:
        """Free the keys of a loop that runs no more, and wake what waits there for its next run."""
        waiting = [one for one in self._held.values() if one is not None]
        self._held.clear()
        self.intents.clear()
        for one in waiting:
            with suppress(RuntimeError):  # that loop is closed
                if not one.done():
                    one.set_result(None)

    def holds(self, key: str) -> bool:
        """Tell whether someone in this run has the key."""
        return key in self._held

    def is_old(self, row: int) -> bool:
        """Tell whether a row is of an earlier run."""
        return row <= self._old

    def number(self, body: bytes, find: Find) -> Claim:
        """Take the first key of a body that no equal one in this run had."""
        raw = sha256(body).digest()[:16]
        digest = raw.hex()
        if self._seen is not None and not self._seen.add(raw):
            return self._first(f"{digest}-1")
        number = self._repeats.get(digest, 0) + 1
        while (claim := self._free(f"{digest}-{number}", find)) is None:
            number += 1
        if number > 1:
            self._repeats[digest] = number
        return claim

    def _first(self, key: str) -> Claim:
        """Take a key that cannot be in the file: nothing was, and its body is a new one."""
        self._held[key] = None
        return Claim(key, None)

    def _free(self, key: str, find: Find) -> Claim | None:
        """Take a key that nobody in this run has had."""
        if key in self._held:
            return None
        found = find(key)
        if found is not None:
            is_new = self._is_new(found[0])  # asked first: it also notes that it was found
            if not is_new and found[1].state not in RESTARTABLE:
                return None
        self._held[key] = None
        return Claim(key, found[1] if found else None)

    def _is_new(self, row: int) -> bool:
        """Tell whether an entry of an earlier run is found for the first time."""
        if row > self._old or self._matched[row]:
            return False
        self._matched[row] = 1
        return True

    async def take(self, key: str, find: Find) -> Entry | None:
        """Take a key by name, when nobody else has it; return what is known of it."""
        self._seen = None  # the name may be one that a number would give
        while key in self._held:
            await self._released(key)
        found = find(key)
        self._held[key] = None
        return found[1] if found else None

    async def hold(self, key: str) -> None:
        """Take a key by name, when nobody else has it, where looking it up takes a while."""
        while key in self._held:
            await self._released(key)
        self._held[key] = None

    async def number_held(self, stem: str, take: Take) -> Claim:
        """Take the first key of a stem that take() gives; held first, for it takes a while.

        Where take() fails, the key is released by whoever knows what came of it.
        """
        number = self._repeats.get(stem, 0) + 1
        while (claim := await self._taken(f"{stem}-{number}", take)) is None:
            number += 1
        if number > 1:
            self._repeats[stem] = number
        return claim

    async def _taken(self, key: str, take: Take) -> Claim | None:
        if key in self._held:
            return None
        self._held[key] = None
        claim = await take(key)
        if claim is None:
            self.release(key, made=True)
        return claim

    async def _released(self, key: str) -> None:
        waiting = self._held[key]
        if waiting is None:
            waiting = self._held[key] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiting)

    def release(self, key: str, *, made: bool) -> None:
        """Let others have the key; of one that was not made, an equal body may try again."""
        self.intents.pop(key, None)
        digest, _, number = key.rpartition("-")
        if not made and digest in self._repeats and number.isdecimal():
            self._repeats[digest] = min(self._repeats[digest], int(number) - 1)
        waiting = self._held.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
