"""One rate limit for the whole fleet: GCRA over Redis, and a hold that any worker's 429 sets."""

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

log = logging.getLogger("keevx_async.docket")

BURST = 0.2
"""The share of the rate that may go at once after a pause (measured, design.md)."""
HOLD_CHECK = 0.05
"""Seconds between two checks whether a hold has ended."""


def quota(rate: float) -> Quota:
    """Return the quota of so many creates per second, with a burst of a fifth of it.

    Raises:
        ConfigurationError: the rate is not positive, or below 0.001.
    """
    # throttled-py's periods are whole seconds: a rate is so many creates in so many of them.
    exact = Fraction(check_positive("rate", rate)).limit_denominator(1_000)
    if not exact:
        raise ConfigurationError(f"rate must be 0.001 per second or more (got {rate!r})")
    period = timedelta(seconds=exact.denominator)
    return per_duration(period, exact.numerator, max(1, int(rate * BURST)))


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

    Args:
        redis: an asynchronous client.
        name: of the fleet.
        rate: creates per second of all workers together; None for no rate: then only holds are
            shared.
        url: of the same Redis; a ``memory://`` fleet shares its rate within the process.
        stop: ends all waits when its worker is to stop.
        sleep: waits for so many seconds.
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
        self._hold_key = f"{{{name}}}:held"
        self._sleep = sleep
        self._holds: set[asyncio.Task[None]] = set()
        self._limiter: Throttled | None = None
        if rate is not None:
            store = None if url.startswith("memory:") else RedisStore(server=url)
            # Not its token bucket, which lets everything through when the burst is small.
            self._limiter = Throttled(
                key=name, using="gcra", quota=quota(rate), store=store, key_prefix="keevx"
            )

    async def acquire(self) -> None:
        """Wait until one more create may be sent: no hold is in force, and the rate allows it.

        Raises:
            Stopping: the worker is to stop; nothing may be sent any more.
        """
        # The hold first: a turn of the rate that is taken before would be lost while it waits.
        while not self._stopping.is_set() and await self._redis.exists(self._hold_key):
            await self._sleep(HOLD_CHECK)
        if self._limiter is not None:
            while not self._stopping.is_set() and (result := await self._limiter.limit()).limited:
                await self._sleep(result.state.retry_after)
        if self._stopping.is_set():
            raise Stopping

    def throttled(self, seconds: float) -> None:
        """Hold the creates of all workers for some seconds, unless they are held for longer.

        Returns at once. If Redis cannot be reached, only this worker's creates are held.
        """

        async def hold() -> None:
            milliseconds = max(1, round(seconds * 1000))
            try:
                if await self._redis.ttl(self._hold_key) < seconds:  # whole seconds, or negative
                    await self._redis.set(self._hold_key, b"429", px=milliseconds)
            except RedisError as error:
                log.warning("could not share a 429 with the fleet: %s", error)

        holding = asyncio.ensure_future(hold())
        self._holds.add(holding)
        holding.add_done_callback(self._holds.discard)
