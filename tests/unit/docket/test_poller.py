"""A worker's poller: what came of a poll is written, whenever that is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

import pytest

from keevx_async.docket.poller import DELAY_AFTER_ERROR, FleetPoller
from keevx_async.journal.redis.polls import Polled, PollQueue, Taken
from tests.support.simulated import simulated


class Queue(PollQueue):
    """Gives each poll once, and keeps what is written."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.waiting = list(ids)
        self.written: list[Polled] = []

    async def exchange(self, done: Iterable[Polled], limit: int, hold: float) -> Taken:
        self.written += done
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return Taken([(one, "[]") for one in taken], 0.0 if self.waiting else math.inf)


@simulated
async def test_a_result_that_comes_after_others_were_written_is_written_too() -> None:
    async def poll(task_id: str, state: str) -> Polled:
        await asyncio.sleep(int(task_id) * 0.3)
        return Polled(task_id, None, "", None)

    queue = Queue(str(n) for n in range(10))
    await FleetPoller(queue, poll, 4, 10.0).run(until_empty=True)
    assert sorted(one.task_id for one in queue.written) == [str(n) for n in range(10)]


@simulated
async def test_a_poll_that_fails_unexpectedly_is_made_again_later() -> None:
    async def poll(task_id: str, state: str) -> Polled:
        raise RuntimeError("a bug")

    queue = Queue(["1"])
    await FleetPoller(queue, poll, 4, 10.0).run(until_empty=True)
    assert queue.written == [Polled("1", DELAY_AFTER_ERROR, "[]", None)]


@simulated
async def test_what_is_known_is_written_when_it_is_cancelled_and_the_rest_given_back() -> None:
    async def poll(task_id: str, state: str) -> Polled:
        if task_id == "2":
            await asyncio.sleep(1e6)
        return Polled(task_id, None, "", None)

    queue = Queue(["1", "2"])
    running = asyncio.create_task(FleetPoller(queue, poll, 4, 10.0).run())
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(queue.written) == [Polled("1", None, "", None), Polled("2", 0.0, "[]", None)]
