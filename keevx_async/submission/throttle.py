"""Lets creates through as the pacer says: the waiting to its decisions."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import RateLimitError
from ..events import Emit, Paused
from .adaptive_rate import Pacer


class Turn:
    """One create's turn: when it went, and whether the pacer knows how it ended."""

    __slots__ = ("at", "told")

    def __init__(self, at: float) -> None:
        self.at: float = at
        self.told: bool = False


class Gate(Protocol):
    """What lanes of other processes, which share a limit, have to say about ours."""

    async def enter(self) -> None:
        """Wait until one more create may go."""
        ...

    def refused(self, seconds: float) -> None:
        """Hold all lanes: Keevx said 429."""
        ...


class Lane:
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
        pacer: Pacer,
        width: int,
        patience: float,
        emit: Emit | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._pacer = pacer
        self._gate = gate
        self._free = width
        self._patience = patience
        self._emit = emit
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def try_enter(self) -> Turn | None:
        """Take a turn if there is nothing to wait for."""
        if self._turn.locked() or self._free <= 0 or self._gate is not None:
            return None
        now = self._loop.time()
        return self._go(now) if self._pacer.delay(now) <= 0 else None

    async def enter(self) -> Turn:
        """Take a turn, once a create may go.

        Raises:
            RateLimitError: that would take longer than patience.
        """
        async with self._turn:
            await self._open()
            if self._gate is not None:
                await self._gate.enter()
                await self._open()  # a 429 may have come meanwhile
            return self._go(self._loop.time())

    async def _open(self) -> None:
        """Wait until the pacer lets a create go, and there is room for it."""
        while True:
            now = self._loop.time()
            wait = self._pacer.delay(now)
            if wait <= 0 and self._free > 0:
                return
            if wait > self._patience:
                raise RateLimitError(429, None, f"asked to wait for {wait:.0f} s")
            await self._until(now + wait if wait > 0 else None)

    def _go(self, now: float) -> Turn:
        self._free -= 1
        self._pacer.take(now)
        return Turn(now)

    async def _until(self, when: float | None) -> None:
        """Wait until then, or until a create has left, which may open the way earlier."""
        self._left.clear()
        try:
            async with asyncio.timeout_at(when):
                await self._left.wait()
        except TimeoutError:
            return

    def leave(self, turn: Turn) -> None:
        """End a turn, however its create did."""
        if not turn.told:
            self._pacer.lost()
        self._free += 1
        self._left.set()

    def accepted(self, turn: Turn) -> None:
        """Note that Keevx took a create."""
        turn.told = True
        self._pacer.accepted(self._loop.time(), turn.at)

    def refused(self, turn: Turn, retry_after: float | None) -> None:
        """Note that Keevx said 429: everyone is held."""
        turn.told, now = True, self._loop.time()
        self._pacer.refused(now, turn.at, retry_after)
        wait = self._pacer.delay(now)
        if self._gate is not None:
            self._gate.refused(wait)
        if self._emit is not None:
            self._emit(Paused(wait))
