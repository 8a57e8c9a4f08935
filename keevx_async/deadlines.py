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
        seconds: for each; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._under_way: dict[Deadline, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, deadline: Deadline) -> None:
        """Let the seconds of one begin."""
        if self._seconds is None:
            return
        when = self._under_way[deadline] = self.loop.time() + self._seconds
        if self._timer is None:
            self._timer = self.loop.call_at(when, self._ring)

    def end(self, deadline: Deadline) -> None:
        """Let one go, however it ended."""
        self._under_way.pop(deadline, None)

    def _ring(self) -> None:
        now = self.loop.time()
        for deadline in [one for one, when in self._under_way.items() if when <= now]:
            deadline.expire()
        first = next(iter(self._under_way.values()), None)
        self._timer = None if first is None else self.loop.call_at(first, self._ring)

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()


class Deadline:
    """Ends what is awaited ``with`` it by TimeoutError, as ``asyncio.timeout`` does."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"  # noqa: S101
        self._task, self._cancelling = task, task.cancelling()
        self._deadlines.begin(self)

    def expire(self) -> None:
        """Cancel the task out of what it awaits."""
        self._deadlines.end(self)
        self._expired = self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.end(self)
        if self._expired and self._task.uncancel() <= self._cancelling:
            if kind is asyncio.CancelledError:
                raise TimeoutError from error
