"""A rate limit that the whole fleet shares through Redis, and a pause after any worker's 429."""

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
"""The maximum burst after a pause, in seconds' worth of creates (measured; see design.md)."""
MIN_RATE, MAX_RATE = 0.001, 10_000.0
"""The allowed rates, in creates per second. Even a hundred million jobs a day need only 1,160, so a
rate above the maximum is probably a typo."""
HOLD_CHECK = 0.05
"""Seconds between checks for the end of a hold. Without a rate, a check that finds no hold is valid
for this long."""
AHEAD = 50
"""Milliseconds by which a turn may be taken early. The worker then waits for the turn to come, so a
create costs only one round trip."""
MAX_SLEEP = 1.0
"""Maximum seconds between attempts to take a turn, since the rate may have changed."""


def check_rate(rate: float) -> float:
    """Check a rate and return it as a float.

    Raises:
        ConfigurationError: the rate is not a number from MIN_RATE to MAX_RATE.
    """
    if not MIN_RATE <= check_positive("rate", rate) <= MAX_RATE:
        bounds = f"from {MIN_RATE:g} to {MAX_RATE:,.0f} creates per second"
        raise ConfigurationError(f"rate must be {bounds} (got {rate!r})")
    return float(rate)


class Stopping(Exception):
    """The worker is stopping, so a create that has not started must not start."""


class Stop:
    """Whether a worker should stop.

    Attributes:
        event: set once the worker should stop; creates that have not started go to other workers.
        error: the error that stopped the worker; None if it was asked to stop.
    """

    def __init__(self) -> None:
        self.event: asyncio.Event = asyncio.Event()
        self.error: Exception | None = None

    def call(self, error: Exception | None = None) -> None:
        """Stop the worker. If there are several errors, the first is kept."""
        self.error = self.error or error
        self.event.set()


class SharedRateLimiter:
    """Decides when the fleet may send another create.

    The rate is stored in the journal note ``rate``, which is read at every turn, so a new rate
    applies to all workers. A rate-limiter library would keep the rate in each process, and would
    need a second round trip to check for a hold.

    Args:
        connection: runs the journal's scripts, and waits while Redis is unavailable.
        stop: ends all waits once the worker should stop.
        sleep: waits for the given number of seconds.
        clock: returns seconds since the epoch; used only with ``memory://``, which has no clock.
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
        """Wait until another create may be sent: creates are not held, and the rate allows it.

        Raises:
            Stopping: the worker should stop, so nothing more may be sent.
            JournalError: Redis cannot be used, and waiting would not help.
        """
        # Without a rate, only a hold can delay a create, so one reply is valid for a while.
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
        """Log the fleet's rate if it has changed."""
        if rate != self._rate:
            if self._rate is not None:
                new, old = _rate_text(rate), _rate_text(self._rate)
                log.warning("the fleet's rate is now %s; it was %s", new, old)
            self._rate = rate

    def throttled(self, seconds: float) -> None:
        """Hold all workers' creates for this many seconds, unless they are already held for longer.

        Returns immediately. If Redis cannot be reached, only this worker's creates are held.
        """

        async def hold() -> None:
            milliseconds = max(1, round(seconds * 1000))
            try:
                if await self._run(HOLD, milliseconds):
                    log.warning(
                        "Keevx returned 429; pausing the fleet's creates for %.1f s", seconds
                    )
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
