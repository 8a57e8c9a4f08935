"""Lets creates through as the pacer says: the waiting to its decisions."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import RateLimitError
from ..events import Emit, Paused
from .adaptive_rate import AdaptiveRate


class Permit:
    """One create's turn: when it went, and whether the pacer knows how it ended."""

    __slots__ = ("at", "reported")

    def __init__(self, at: float) -> None:
        self.at: float = at
        self.reported: bool = False


class SharedLimit(Protocol):
    """What lanes of other processes, which share a limit, have to say about ours."""

    async def acquire(self) -> None:
        """Wait until one more create may go."""
        ...

    def throttled(self, seconds: float) -> None:
        """Hold all lanes: Keevx said 429."""
        ...


class Throttle:
    """The way that every create of a client goes, one by one.

    Args:
        pacer: says when the next may go.
        width: most creates in flight.
        patience: seconds; a longer wait fails at once.
        emit: told of each pause.
        gate: asked last of all, right before a create goes; None: this lane is the only one.
    """

    def __init__(
        self,
        rate: AdaptiveRate,
        max_in_flight: int,
        max_wait: float,
        emit: Emit | None = None,
        shared: SharedLimit | None = None,
    ) -> None:
        self._rate = rate
        self._shared = shared
        self._free = max_in_flight
        self._max_wait = max_wait
        self._emit = emit
        self._queue = asyncio.Lock()
        self._released = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def try_acquire(self) -> Permit | None:
        """Take a turn if there is nothing to wait for."""
        if self._queue.locked() or self._free <= 0 or self._shared is not None:
            return None
        now = self._loop.time()
        return self._grant(now) if self._rate.delay(now) <= 0 else None

    async def acquire(self) -> Permit:
        """Take a turn, once a create may go.

        Raises:
            RateLimitError: that would take longer than patience.
        """
        async with self._queue:
            await self._wait_until_open()
            if self._shared is not None:
                await self._shared.acquire()
                await self._wait_until_open()  # a 429 may have come meanwhile
            return self._grant(self._loop.time())

    async def _wait_until_open(self) -> None:
        """Wait until the pacer lets a create go, and there is room for it."""
        while True:
            now = self._loop.time()
            wait = self._rate.delay(now)
            if wait <= 0 and self._free > 0:
                return
            if wait > self._max_wait:
                raise RateLimitError(429, None, f"asked to wait for {wait:.0f} s")
            await self._wait_for_release(now + wait if wait > 0 else None)

    def _grant(self, now: float) -> Permit:
        self._free -= 1
        self._rate.take(now)
        return Permit(now)

    async def _wait_for_release(self, when: float | None) -> None:
        """Wait until then, or until a create has left, which may open the way earlier."""
        self._released.clear()
        try:
            async with asyncio.timeout_at(when):
                await self._released.wait()
        except TimeoutError:
            return

    def release(self, turn: Permit) -> None:
        """End a turn, however its create did."""
        if not turn.reported:
            self._rate.lost()
        self._free += 1
        self._released.set()

    def accepted(self, turn: Permit) -> None:
        """Note that Keevx took a create."""
        turn.reported = True
        self._rate.accepted(self._loop.time(), turn.at)

    def refused(self, turn: Permit, retry_after: float | None) -> None:
        """Note that Keevx said 429: everyone is held."""
        turn.reported, now = True, self._loop.time()
        self._rate.refused(now, turn.at, retry_after)
        wait = self._rate.delay(now)
        if self._shared is not None:
            self._shared.throttled(wait)
        if self._emit is not None:
            self._emit(Paused(wait))
