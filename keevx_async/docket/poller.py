"""A worker's poller, which takes due polls and writes their outcomes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..journal.redis.polls import Polled, PollQueue

log = logging.getLogger("keevx_async.docket")

TICK = 0.05
"""Seconds spent collecting outcomes before one script writes them."""
IDLE = 0.5
"""Maximum seconds between checks for due polls, since another worker may have added some."""
DELAY_AFTER_ERROR = 30.0
"""Seconds until a task is polled again after an unexpected error."""


class FleetPoller:
    """Polls a fleet's tasks, several at a time, until cancelled.

    Args:
        queue: the fleet's polls.
        poll: polls one task once, given the task's id and the poll's state.
        concurrency: the maximum number of polls in flight.
        hold: seconds after which another worker takes over a dead worker's polls. A poll that
            takes longer is repeated, which costs nothing.
    """

    def __init__(
        self,
        queue: PollQueue,
        poll: Callable[[str, str], Awaitable[Polled]],
        concurrency: int,
        hold: float,
    ) -> None:
        self._queue = queue
        self._poll = poll
        self._concurrency = concurrency
        self._hold = hold
        self._active: dict[str, asyncio.Task[None]] = {}
        self._done: list[Polled] = []
        self._changed = asyncio.Event()

    async def run(self, *, until_empty: bool = False) -> None:
        """Poll tasks until cancelled.

        On cancellation, known outcomes are written, and other workers poll the remaining tasks.

        Args:
            until_empty: whether to return once no poll is scheduled.
        """
        try:
            while True:
                next_in = await self._exchange(self._concurrency - len(self._active))
                if until_empty and not (self._active or self._done) and next_in == float("inf"):
                    return
                # An outcome or a due poll ends the wait. Outcomes are then collected for a tick.
                has_room = len(self._active) < self._concurrency
                try:
                    async with asyncio.timeout(min(IDLE, next_in) if has_room else IDLE):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                await asyncio.sleep(TICK)
        finally:
            polling = set(self._active.values())
            for task in polling:
                task.cancel()
            if polling:
                await asyncio.wait(polling)
            if self._done:
                await self._exchange(0)

    async def _exchange(self, limit: int) -> float:
        done, self._done = self._done, []
        try:
            taken = await self._queue.exchange(done, limit, self._hold)
        except BaseException:
            self._done = done + self._done
            raise
        for task_id, state in taken.polls:
            if task_id not in self._active:
                self._active[task_id] = asyncio.create_task(self._poll_task(task_id, state))
        return taken.next_in

    async def _poll_task(self, task_id: str, state: str) -> None:
        try:
            # Awaited first, since `_exchange` may replace the list in the meantime.
            polled = await self._poll(task_id, state)
            self._done.append(polled)
        except asyncio.CancelledError:
            self._done.append(Polled(task_id, 0.0, state, None))
            raise
        except Exception:
            log.exception("a poll of %s failed unexpectedly", task_id)
            self._done.append(Polled(task_id, DELAY_AFTER_ERROR, state, None))
        finally:
            del self._active[task_id]
            self._changed.set()
