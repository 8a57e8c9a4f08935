"""Ends exchanges whose time is up: one timer for them all, since all have as many seconds.

``asyncio.timeout`` and aiohttp's ``total`` set and cancel a timer for each, which is a tenth of
what an exchange takes.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """What is under way on the running event loop, that which must end first in front.

    Args:
        seconds: for each; None or 0 for no limit, as aiohttp has it.
    """

    def __init__(self, seconds: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.seconds = seconds if seconds and seconds > 0 else None
        self.under_way: dict[Deadline, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, when: float) -> None:
        """See to it that there is a timer: the first to be due, as long as any is under way."""
        if self._timer is None:
            self._timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, now = None, self.loop.time()
        for deadline in [one for one, when in self.under_way.items() if when <= now]:
            deadline.expire()
        first = next(iter(self.under_way.values()), None)
        if first is not None:
            self.watch(first)


class Deadline:
    """Ends what is awaited ``with`` it by TimeoutError, as ``asyncio.timeout`` does."""

    __slots__ = ("_all", "_cancelling", "_expired", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
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
        del self._all.under_way[self]
        self._expired = self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._all.under_way.pop(self, None)
        if not self._expired or self._task.uncancel() > self._cancelling:
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error
