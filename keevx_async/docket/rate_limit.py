"""One limit for the whole fleet: GCRA over Redis, and a hold that any worker's 429 puts on all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

from redis.exceptions import RedisError
from throttled.asyncio import Quota, RedisStore, Throttled, per_duration

from ..client.options import check_positive
from ..errors import ConfigurationError

log = logging.getLogger("keevx_async")

BURST = 0.2
"""Of the rate: so many creates may go at once after a pause (measured, design.md)."""
HOLD_CHECK = 0.05
"""Seconds between two looks whether a hold has ended."""


def quota(rate: float) -> Quota:
    """Return what lets ``rate`` creates go a second, and a burst of a fifth of it."""
    exact = Fraction(check_positive("rate", rate)).limit_denominator(
        1_000
    )  # throttled-py's periods are whole seconds
    if not exact:
        raise ConfigurationError(f"rate is {rate!r} a second; it must be 0.001 or more")
    period = timedelta(seconds=exact.denominator)
    return per_duration(period, exact.numerator, max(1, int(rate * BURST)))


class Stopping(Exception):
    """A create has not begun, and is not to: its worker stops."""


class Stop:
    """Whether a worker is to stop.

    Attributes:
        event: set when it is: creates that have not begun are then left to others.
        error: what it stops for, where nobody told it to.
    """

    def __init__(self) -> None:
        self.event: asyncio.Event = asyncio.Event()
        self.error: Exception | None = None

    def call(self, error: Exception | None = None) -> None:
        """Have the worker stop."""
        self.error = self.error or error
        self.event.set()


class SharedRateLimiter:
    """Says when one more create of the fleet may go.

    Args:
        redis: an asynchronous client.
        name: the fleet's.
        rate: creates per second of all workers together; None: holds are shared, no rate is.
        url: of the same Redis; a ``memory://`` fleet shares its rate within the process.
        stop: tells when no more creates are to begin here.
        sleep: waits for the given seconds; tests pass their own.
    """

    def __init__(
        self,
        redis: Any,
        name: str,
        rate: float | None,
        url: str,
        stop: Stop | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._redis = redis
        self._stopping = (stop or Stop()).event
        self._held = f"{{{name}}}:held"
        self._sleep = sleep
        self._holding: set[asyncio.Task[None]] = set()
        self._limiter = None if rate is None else _limiter(name, rate, url)

    async def acquire(self) -> None:
        """Wait until one more create may go.

        Raises:
            Stopping: none may any more.
        """
        await self._wait()
        if self._stopping.is_set():
            raise Stopping

    async def _wait(self) -> None:
        while not self._stopping.is_set() and await self._redis.exists(self._held):
            await self._sleep(HOLD_CHECK)
        if self._limiter is None:
            return
        while not self._stopping.is_set() and (found := await self._limiter.limit()).limited:
            await self._sleep(found.state.retry_after)

    def throttled(self, seconds: float) -> None:
        """Hold the creates of all workers, unless they are held for longer already."""
        holding = asyncio.ensure_future(self._hold(seconds))
        self._holding.add(holding)
        holding.add_done_callback(self._holding.discard)

    async def _hold(self, seconds: float) -> None:
        milliseconds = max(1, round(seconds * 1000))
        try:
            if await self._redis.ttl(self._held) < seconds:  # in whole seconds, or negative
                await self._redis.set(self._held, b"429", px=milliseconds)
        except RedisError as error:
            log.warning("the fleet could not be told of a 429: %s", error)


def _limiter(name: str, rate: float, url: str) -> Throttled:
    store = None if url.startswith("memory:") else RedisStore(server=url)
    # Not its token bucket, which lets everything through when the burst is small.
    return Throttled(key=name, using="gcra", quota=quota(rate), store=store, key_prefix="keevx")
