"""Ends exchanges whose time is up: one timer for them all, since all have as many seconds.

``asyncio.timeout`` and aiohttp's ``total`` set and cancel a timer for each, which is a tenth of
what an exchange takes.

The event loop may have stood still: the program computed, or its input blocked. Then time is up
for exchanges whose answers lie unread in their sockets, so whatever is due gets some more time
when the timer rings late, once.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

LATE = 0.05
"""Seconds by which a timer may ring late before the loop counts as having stood still."""
SECOND_LOOK = 0.25
"""Seconds, at the least, that an exchange is then given to read what has arrived."""


class ExchangeTimer:
    """What is under way on the running event loop, that which must end first in front.

    Args:
        seconds: for each; None or 0 for no limit, as aiohttp has it.
    """

    def __init__(self, seconds: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds = seconds if seconds and seconds > 0 else None
        self.under_way: dict[Deadline, float] = {}
        self.due: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, when: float) -> None:
        """See to it that there is a timer: the first to be due, as long as any is under way."""
        if self._timer is None:
            self._timer = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        """Set aside what is due and end it a moment later, so that what was just read counts.

        A loop that stood still gives back as long as the timer rang late, but no more than an
        exchange has anyway: a machine that slept for an hour must not wait for another.
        """
        self._timer, now = None, self.loop.time()
        late, due = 0.0, set[Deadline]()
        while self.under_way:
            deadline, when = next(iter(self.under_way.items()))
            if when > now:
                self.watch(when)
                break
            del self.under_way[deadline]
            due.add(deadline)
            late = max(late, now - when)
        assert self.seconds is not None  # noqa: S101 - for type checkers
        more = min(max(late, SECOND_LOOK), self.seconds) if late > LATE else 0.0
        if due:
            self.due |= due
            self.loop.call_later(more, self._end, due)

    def _end(self, due: set[Deadline]) -> None:
        for deadline in due & self.due:
            deadline.expire()


class Deadline:
    """Ends what is awaited ``with`` it by TimeoutError, as ``asyncio.timeout`` does."""

    __slots__ = ("_all", "_cancelling", "_expired", "_task")

    def __init__(self, deadlines: ExchangeTimer) -> None:
        self._all = deadlines
        self._expired = False

    def __enter__(self) -> None:
        every = self._all
        if every.seconds is None:
            return
        task = asyncio.current_task(every.loop)
        assert task is not None, "only a task can be cancelled"  # noqa: S101 - for type checkers
        self._task, self._cancelling = task, task.cancelling()
        every.under_way[self] = when = every.loop.time() + every.seconds
        every.watch(when)

    def expire(self) -> None:
        """Cancel the task out of what it awaits."""
        self._all.due.discard(self)
        self._expired = self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._all.under_way.pop(self, None) is None:
            self._all.due.discard(self)
        if not self._expired or self._task.uncancel() > self._cancelling:
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error
