"""Makes each create wait until `AdaptiveRate` allows it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from attrs import define, field

from ..errors import RateLimitError
from ..events import Emit, Paused
from .adaptive_rate import AdaptiveRate


class Permit:
    """Permission to send one create.

    Attributes:
        at: the time at which the permit was granted, from the event loop's clock.
        reported: whether the create's outcome was reported.
        released: whether the permit was released.
    """

    __slots__ = ("at", "released", "reported")

    def __init__(self, at: float) -> None:
        self.at: float = at
        self.reported: bool = False
        self.released: bool = False


class SharedLimit(Protocol):
    """A rate limit shared with other processes."""

    async def acquire(self) -> None:
        """Wait until the shared limit allows one more create."""
        ...

    def throttled(self, seconds: float) -> None:
        """Pause creates in all processes for a number of seconds."""
        ...


class ThrottleStatistics(NamedTuple):
    """A throttle's state.

    Attributes:
        in_flight: the number of creates that hold a permit.
        rate: the creates per second currently allowed; see ``AdaptiveRate.rate``.
    """

    in_flight: int
    rate: float


@define(eq=False)
class Throttle:
    """Grants permits to a client's creates one by one, in the order of their calls.

    A permit's holder must report how the create ended, and must always release the permit.

    Args:
        rate: decides when the next create may be sent.
        max_in_flight: the maximum number of permits held at a time.
        max_wait: the longest wait in seconds; a create that would wait longer fails at once.
        emit: receives a Paused event for each hold.
        shared: a rate limit shared with other processes, acquired last; None if there is none.
    """

    _rate: AdaptiveRate
    _max_in_flight: int
    _max_wait: float
    _emit: Emit | None = None
    _shared: SharedLimit | None = None
    _in_flight: int = field(default=0, init=False)
    _held_until: float = field(default=0.0, init=False)
    _queue: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _released: asyncio.Event = field(factory=asyncio.Event, init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)

    def statistics(self) -> ThrottleStatistics:
        """Return the throttle's current state."""
        return ThrottleStatistics(self._in_flight, self._rate.rate)

    def try_acquire(self) -> Permit | None:
        """Return a permit if no wait is needed, otherwise None."""
        if (
            self._queue.locked()
            or self._in_flight >= self._max_in_flight
            or self._shared is not None
        ):
            return None
        now = self._loop.time()
        return self._grant(now) if self._delay(now) <= 0 else None

    def age(self, permit: Permit) -> float:
        """Return the seconds since a permit was granted."""
        return self._loop.time() - permit.at

    async def acquire(self) -> Permit:
        """Wait for a permit.

        A cancelled call takes no permit, and the calls behind it move up.

        Raises:
            RateLimitError: the wait would be longer than max_wait.
        """
        async with self._queue:
            await self._wait_until_open()
            if self._shared is not None:
                await self._shared.acquire()
                await self._wait_until_open()  # a 429 may have arrived in the meantime
            return self._grant(self._loop.time())

    async def _wait_until_open(self) -> None:
        """Wait until the rate allows a create and a permit is free."""
        # Two things end a wait: the rate's delay, or the release of a permit, which may open the
        # rate's window earlier.
        while True:
            now = self._loop.time()
            delay = self._delay(now)
            if delay <= 0 and self._in_flight < self._max_in_flight:
                return
            if delay > self._max_wait:
                raise RateLimitError(429, None, f"asked to wait {delay:.0f} s")
            self._released.clear()
            try:
                async with asyncio.timeout_at(now + delay if delay > 0 else None):
                    await self._released.wait()
            except TimeoutError:
                continue

    def _delay(self, now: float) -> float:
        return max(self._rate.delay(now), self._held_until - now)

    def _grant(self, now: float) -> Permit:
        self._in_flight += 1
        self._rate.take(now)
        return Permit(now)

    def release(self, permit: Permit) -> None:
        """Release a permit. If no outcome was reported, the create counts as lost.

        Releasing it again has no effect.
        """
        if permit.released:
            return
        permit.released = True
        if not permit.reported:
            self._rate.lost()
        self._in_flight -= 1
        self._released.set()

    def accepted(self, permit: Permit) -> None:
        """Report that Keevx accepted a create."""
        permit.reported = True
        self._rate.accepted(self._loop.time(), permit.at)

    def refused(self, permit: Permit, retry_after: float | None) -> float:
        """Report a 429, which pauses creates here and in other processes.

        Return the length of the pause in seconds.

        Args:
            permit: the refused create's permit.
            retry_after: the response's Retry-After in seconds; None to let the rate decide.
        """
        permit.reported, now = True, self._loop.time()
        self._rate.refused(now, permit.at, retry_after)
        delay = self._rate.delay(now)
        if self._shared is not None:
            self._shared.throttled(delay)
        if self._emit is not None:
            self._emit(Paused(delay))
        return delay

    def hold(self, seconds: float) -> float:
        """Pause creates here and in other processes, without changing the rate.

        Return the length of the pause in seconds. If ``seconds`` exceeds ``max_wait``, return 0
        without pausing, because the retry policy gives up before then.
        """
        if seconds > self._max_wait:
            return 0.0
        self._held_until = max(self._held_until, self._loop.time() + seconds)
        if self._shared is not None:
            self._shared.throttled(seconds)
        if self._emit is not None:
            self._emit(Paused(seconds))
        return seconds
