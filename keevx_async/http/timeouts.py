"""Ends exchanges that have timed out, using one timer for all of them.

``asyncio.timeout`` and aiohttp's ``total`` set and cancel a timer per exchange, which takes a
tenth of the exchange's time. All of a client's exchanges have the same timeout, so they expire in
the order in which they started, and a single timer, set for the earliest, is enough.

If a computation or the reading of input blocks the event loop, exchanges time out while their
responses are still unread in their sockets. So if the timer fires late, each expired exchange gets
some extra time, once.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

import aiohttp

MAX_CONNECT = 10.0
"""The maximum time to connect, in seconds; half of the timeout if that is less."""
MAX_DELAY = 0.05
"""Seconds by which the timer may fire late before the event loop counts as blocked."""
MIN_GRACE = 0.25
"""The minimum extra time, in seconds, that an expired exchange then gets to read its response."""


def exchange_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return the aiohttp timeout for one exchange.

    Connecting has its own, shorter limit, because a connect timeout proves that nothing was sent,
    and an exchange timeout does not.
    """
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(MAX_CONNECT, seconds / 2))


class ExchangeTimer:
    """The timer for all exchanges on the running event loop.

    Args:
        seconds: the timeout of each exchange; None or 0 for no limit, as in aiohttp.

    Attributes:
        under_way: the expiry time of each exchange in progress, on the loop's clock, earliest
            first.
        due: exchanges that have expired and are about to be ended.
    """

    def __init__(self, seconds: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds = seconds if seconds and seconds > 0 else None
        self.under_way: dict[Deadline, float] = {}
        self.due: set[Deadline] = set()
        self.handle: asyncio.TimerHandle | None = None

    def start(self, when: float) -> None:
        """Set the timer to fire at ``when``, on the loop's clock.

        Call this only if no timer is set: an existing timer fires earlier.
        """
        self.handle = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self.handle, now = None, self.loop.time()
        late, due = 0.0, set[Deadline]()
        while self.under_way:
            deadline, when = next(iter(self.under_way.items()))
            if when > now:
                self.start(when)
                break
            del self.under_way[deadline]
            due.add(deadline)
            late = max(late, now - when)
        if not due:
            return
        # 1. The timer is on time: end the due exchanges in the loop's next iteration, so that a
        #    response which arrived at the same moment still counts.
        # 2. It is late, since the loop was blocked: give due exchanges as much time as it was late,
        #    but at most their timeout. Otherwise a machine that slept for an hour would wait for
        #    another hour.
        assert self.seconds is not None  # noqa: S101 - for type checkers
        grace = min(max(late, MIN_GRACE), self.seconds) if late > MAX_DELAY else 0.0
        self.due |= due
        self.loop.call_later(grace, self._expire, due)

    def _expire(self, due: set[Deadline]) -> None:
        for deadline in due & self.due:
            deadline.expire()


class Deadline:
    """Times out its block with ``TimeoutError``, as ``asyncio.timeout`` does.

    A cancellation from elsewhere is still raised as ``CancelledError``, even if it coincides with
    the timeout. A Deadline can be entered only once.

    Args:
        timer: the timer, which determines the block's timeout.

    Attributes:
        began: when the block was entered, on the loop's clock.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "_timer", "began")

    def __init__(self, timer: ExchangeTimer) -> None:
        self._timer = timer
        self._expired = False

    def __enter__(self) -> None:
        timer = self._timer
        self.began = timer.loop.time()
        if timer.seconds is None:
            return
        task = asyncio.current_task(timer.loop)
        assert task is not None, "only a task can be cancelled"  # noqa: S101 - for type checkers
        self._task, self._cancelling = task, task.cancelling()
        timer.under_way[self] = when = self.began + timer.seconds
        if timer.handle is None:
            timer.start(when)

    def expire(self) -> None:
        """Cancel the task, so that the block raises ``TimeoutError``."""
        self._timer.due.discard(self)
        self._expired = self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer.under_way.pop(self, None) is None:
            self._timer.due.discard(self)
        # Leave the block's own outcome alone, unless only this deadline cancelled it.
        if not self._expired or self._task.uncancel() > self._cancelling:
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error
