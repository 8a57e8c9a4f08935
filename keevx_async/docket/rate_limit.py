"""One rate limit for the whole fleet, in Redis, and a hold that any worker's 429 sets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ..client.options import check_positive
from ..errors import ConfigurationError, JournalError
from ..journal.redis.connection import Connection
from ..journal.redis.scripts import ACQUIRE, HOLD, Script

log = logging.getLogger("keevx_async.docket")

BURST = 0.2
"""The share of the rate that may go at once after a pause (measured, design.md)."""
MIN_RATE, MAX_RATE = 0.001, 10_000.0
"""Creates per second. A fleet of a hundred million jobs a day needs 1,160; more is a typo."""
HOLD_CHECK = 0.05
"""Seconds between two checks whether a hold has ended, and for which no hold is assumed after one
that found none."""
AHEAD = 50
"""Milliseconds within which a turn is due that is taken at once and waited for, so that a create
costs one round trip. A hold that comes meanwhile is noticed no later than by HOLD_CHECK."""
MAX_SLEEP = 1.0
"""Seconds after which a wait looks again: the rate may have been changed."""


def check_rate(rate: float) -> float:
    """Return a rate that a fleet can keep.

    Raises:
        ConfigurationError: it is not a number from MIN_RATE to MAX_RATE.
    """
    if not MIN_RATE <= check_positive("rate", rate) <= MAX_RATE:
        bounds = f"from {MIN_RATE:g} to {MAX_RATE:,.0f} creates per second"
        raise ConfigurationError(f"rate must be {bounds} (got {rate!r})")
    return float(rate)


class Stopping(Exception):
    """A create has not begun and must not: its worker is stopping."""


class Stop:
    """Whether a worker is to stop.

    Attributes:
        event: set when it is to stop: creates that have not begun are left to other workers.
        error: the error that stopped it; None if it was asked to stop.
    """

    def __init__(self) -> None:
        self.event: asyncio.Event = asyncio.Event()
        self.error: Exception | None = None

    def call(self, error: Exception | None = None) -> None:
        """Stop the worker; a second call keeps the first error."""
        self.error = self.error or error
        self.event.set()


class SharedRateLimiter:
    """Decides when the fleet may send one more create.

    The rate is the journal's note ``rate``, read with every turn: whoever set it last set it for
    all workers. A limiter library would hold the rate in each process, and take a round trip of
    its own beside that for the hold.

    Args:
        connection: runs the journal's scripts, and waits for a Redis that is unavailable.
        stop: ends all waits when its worker is to stop.
        sleep: waits for so many seconds.
        clock: seconds since the epoch; used only where Redis has no clock, in ``memory://``.
    """

    def __init__(
        self,
        connection: Connection,
        stop: Stop | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._stopping = (stop or Stop()).event
        self._sleep = sleep
        self._clock = clock
        self._holds: set[asyncio.Task[None]] = set()
        self._rate: str | None = None
        self._free_until = 0.0

    async def acquire(self) -> None:
        """Wait until one more create may be sent: no hold is in force, and the rate allows it.

        Raises:
            Stopping: the worker is to stop; nothing may be sent any more.
            JournalError: Redis cannot be used, and waiting does not help.
        """
        # Without a rate, only a hold can keep a create back: one answer counts for a while.
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set() and loop.time() >= self._free_until:
            try:
                milliseconds, rate, held, is_taken = await self._run(ACQUIRE, BURST, AHEAD)
            except JournalError:
                if self._stopping.is_set():
                    raise Stopping from None
                raise
            self.observe_rate(rate.decode())
            if not rate and is_taken:
                self._free_until = loop.time() + HOLD_CHECK
            if milliseconds:
                await self._sleep(min(HOLD_CHECK if held else MAX_SLEEP, milliseconds / 1000))
            if is_taken:
                break
        if self._stopping.is_set():
            raise Stopping

    def observe_rate(self, rate: str) -> None:
        """Log the fleet's rate if it is another than before."""
        if rate != self._rate:
            if self._rate is not None:
                new, old = _rate_text(rate), _rate_text(self._rate)
                log.warning("the fleet's rate is now %s; it was %s", new, old)
            self._rate = rate

    def throttled(self, seconds: float) -> None:
        """Hold the creates of all workers for some seconds, unless they are held for longer.

        Returns at once. If Redis cannot be reached, only this worker's creates are held.
        """

        async def hold() -> None:
            milliseconds = max(1, round(seconds * 1000))
            try:
                if await self._run(HOLD, milliseconds):
                    log.warning("Keevx answered 429; the fleet's creates wait %.1f s", seconds)
            except JournalError as error:
                log.warning("%s", error)

        self._free_until = 0.0
        holding = asyncio.ensure_future(hold())
        self._holds.add(holding)
        holding.add_done_callback(self._holds.discard)

    async def _run(self, script: Script, *values: float) -> Any:
        clock = round(1000 * self._clock())
        return await self._connection.run(
            "the fleet's rate could not be read", script, "", clock, *values
        )


def _rate_text(rate: str) -> str:
    return f"{float(rate):g} creates per second" if rate else "as many as Keevx accepts"
