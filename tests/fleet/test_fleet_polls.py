"""A fleet's polls: none is lost and no end undone, whoever dies or stalls, whatever the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import uuid4

import pytest
from docket import Docket, Worker

from keevx_async import Keevx, PollPolicy, Task
from keevx_async.docket import KeevxDocket, WorkerSettings, worker_settings
from keevx_async.docket.client import PollState
from keevx_async.journal.redis.journal import RedisJournal
from keevx_async.journal.redis.polls import Polled, PollQueue, Taken
from keevx_async.testing import Emulator
from tests.conftest import FakeClock
from tests.support.crashing import request

NUMBERS = count()
HOLD = 10.0
MADE = Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://example.com/v.mp4")
RESULTLESS = Task(task_id="i2v-1", status="SUCCEEDED")
GOES_ON = Polled("i2v-1", 1.0, "later", None)


class Workers:
    """Workers of one fleet, which take polls by hand, and its journal."""

    def __init__(self, journal: RedisJournal, clock: FakeClock) -> None:
        self.queue = PollQueue(journal.connection, clock)
        self.journal = journal

    async def schedule(self, *ids: str, wait: float = 1.0) -> None:
        await self.queue.schedule((task_id, wait, "first") for task_id in ids)

    async def exchange(self, *done: Polled, limit: int = 10) -> Taken:
        return await self.queue.exchange(done, limit, HOLD)

    async def take(self, limit: int = 10) -> list[str]:
        return [task_id for task_id, _ in (await self.exchange(limit=limit)).polls]


@asynccontextmanager
async def workers(clock: FakeClock) -> AsyncIterator[Workers]:
    clock.now = 1_000_000.0
    async with (
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
        RedisJournal(client) as journal,
    ):
        yield Workers(journal, clock)


async def test_a_poll_is_one_workers_at_a_time(clock: FakeClock) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1", "i2v-2", "i2v-3")
        assert await fleet.take() == []
        clock.now += 1.0
        first, second = await fleet.take(2), await fleet.take(2)
        assert (len(first), len(second)) == (2, 1)
        assert {*first, *second} == {"i2v-1", "i2v-2", "i2v-3"}
        assert await fleet.take() == []


async def test_what_a_dead_worker_had_taken_goes_to_another(clock: FakeClock) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1")
        clock.now += 1.0
        assert await fleet.take() == ["i2v-1"]  # and it dies, before it has written anything
        clock.now += HOLD - 0.1
        assert await fleet.take() == []
        clock.now += 0.2
        assert await fleet.take() == ["i2v-1"]


@pytest.mark.parametrize("late", [GOES_ON, Polled("i2v-1", None, "", RESULTLESS)])
async def test_what_a_stalled_worker_writes_late_undoes_no_end(
    clock: FakeClock, late: Polled
) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1")
        clock.now += 1.0
        await fleet.take()  # by one that stalls
        clock.now += HOLD
        await fleet.take()
        await fleet.exchange(Polled("i2v-1", None, "", MADE))
        await fleet.exchange(late)
        record = await fleet.journal.find_task("i2v-1")
        assert record is not None
        assert record.task == MADE
        assert (await fleet.journal.counts())["succeeded"] == 1
        clock.now += 1000
        assert await fleet.take() == []


async def test_an_end_that_is_written_twice_counts_once(clock: FakeClock) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1")
        for _ in range(2):  # by two workers, or because the answer was lost
            await fleet.exchange(Polled("i2v-1", None, "", MADE))
        assert (await fleet.journal.counts())["succeeded"] == 1


async def test_an_abandoned_task_that_has_a_result_after_all_has_it(clock: FakeClock) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1")
        await fleet.exchange(Polled("i2v-1", None, "", RESULTLESS))
        await fleet.schedule("i2v-1", wait=0.0)
        assert await fleet.take() == ["i2v-1"]
        await fleet.exchange(Polled("i2v-1", None, "", MADE))
        record = await fleet.journal.find_task("i2v-1")
        assert record is not None
        assert record.task == MADE


async def test_what_has_ended_is_not_polled_again_by_a_redelivered_create(
    clock: FakeClock,
) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1")
        await fleet.exchange(Polled("i2v-1", None, "", MADE))
        await fleet.schedule("i2v-1", wait=0.0)
        assert await fleet.take() == []


@pytest.mark.parametrize("jump", [-86_400.0, -60.0, 86_400.0])
async def test_a_clock_that_jumps_keeps_no_poll_back(clock: FakeClock, jump: float) -> None:
    async with workers(clock) as fleet:
        await fleet.schedule("i2v-1", "i2v-2", wait=5.0)
        await fleet.exchange()
        clock.now += jump
        taken, waited = set(await fleet.take()), 0.0
        while len(taken) < 2 and waited < 20.0:
            clock.now += 1.0
            waited += 1.0
            taken |= {*await fleet.take()}
        assert taken == {"i2v-1", "i2v-2"}
        assert waited <= 5.0


async def test_a_worker_of_dockets_own_polls_without_any_create() -> None:
    url = f"memory://polls-{next(NUMBERS)}"
    async with Emulator(seconds=0.05) as emulator, KeevxDocket("films", url) as docket:
        async with Keevx("test-key", base_url=emulator.url, journal=docket.journal) as keevx:
            (task_id,) = (await keevx.submit(request(0), key="k")).task_ids
        now = time.time()
        state = PollState(task_id, "image_to_video", request(0).group, now, now)
        await PollQueue(docket.journal.connection).schedule([(task_id, 0.0, state.dump())])
        polling = PollPolicy(shortest=0.02, longest=0.2)
        settings = WorkerSettings(api_key="test-key", base_url=emulator.url, polling=polling)
        reset = worker_settings.set(settings)
        try:
            docket.creates.register_collection("keevx_async.docket:create_tasks")
            async with Worker(docket.creates) as worker:
                working = asyncio.create_task(worker.run_forever())
                (task,) = await docket.get_result("k", timeout=20)
                working.cancel()
                await asyncio.wait({working})
        finally:
            worker_settings.reset(reset)
        assert task.succeeded
