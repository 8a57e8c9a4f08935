"""Ends exchanges whose time is up, with one timer for all of them.

``asyncio.timeout`` and aiohttp's ``total`` set and cancel a timer per exchange, which takes a
tenth of the exchange's time. All exchanges of a client have the same number of seconds, so they
end in the order in which they began, and a timer for the first is enough.

The event loop may have been blocked: the program computed, or its input blocked. Time is then up
for exchanges whose answers lie unread in their sockets, so a timer that fires late gives each of
them some more time, once.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

import aiohttp

MAX_CONNECT = 10.0
"""Seconds. Half of the timeout, if that is less."""
MAX_DELAY = 0.05
"""Seconds by which the timer may fire late before the event loop counts as blocked."""
MIN_GRACE = 0.25
"""Seconds, at least, that an exchange then has to read what has arrived."""


def exchange_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return the timeout of one exchange of so many seconds.

    Connecting has its own, shorter limit: a connect that times out has certainly sent nothing,
    while an exchange that times out may have.
    """
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(MAX_CONNECT, seconds / 2))


class ExchangeTimer:
    """The timer of all exchanges on the running event loop.

    Args:
        seconds: for each exchange; None or 0 for no limit, as in aiohttp.

    Attributes:
        under_way: when the time of each is up, in the loop's time, first to end first.
        due: those whose time is up and that are about to be ended.
    """

    def __init__(self, seconds: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds = seconds if seconds and seconds > 0 else None
        self.under_way: dict[Deadline, float] = {}
        self.due: set[Deadline] = set()
        self.handle: asyncio.TimerHandle | None = None

    def start(self, when: float) -> None:
        """Set the timer to fire at ``when``, in the loop's time.

        Called only while no timer is set; one that is set fires earlier.
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
        # 1. The timer is on time: what is due ends in the loop's next round, so that an answer
        #    which arrived at the same moment still counts.
        # 2. It is late, for the loop was blocked: due exchanges get back as long as it was late,
        #    but never more than they have anyway, or a machine that slept for an hour would
        #    wait for another.
        assert self.seconds is not None  # noqa: S101 - for type checkers
        grace = min(max(late, MIN_GRACE), self.seconds) if late > MAX_DELAY else 0.0
        self.due |= due
        self.loop.call_later(grace, self._expire, due)

    def _expire(self, due: set[Deadline]) -> None:
        for deadline in due & self.due:
            deadline.expire()


class Deadline:
    """Ends what its block awaits with ``TimeoutError``, as ``asyncio.timeout`` does.

    A cancellation from elsewhere stays one, even at the same moment. It is entered once.

    Args:
        timer: says how many seconds the block has.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "_timer")

    def __init__(self, timer: ExchangeTimer) -> None:
        self._timer = timer
        self._expired = False

    def __enter__(self) -> None:
        timer = self._timer
        if timer.seconds is None:
            return
        task = asyncio.current_task(timer.loop)
        assert task is not None, "only a task can be cancelled"  # noqa: S101 - for type checkers
        self._task, self._cancelling = task, task.cancelling()
        timer.under_way[self] = when = timer.loop.time() + timer.seconds
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
        # Ends as the block did unless it was cancelled here, and by nobody else as well.
        if not self._expired or self._task.uncancel() > self._cancelling:
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error
