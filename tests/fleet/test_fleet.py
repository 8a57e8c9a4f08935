"""A fleet over a real Redis: worker processes that are killed, the Emulator as the book."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from typing import Any

import pytest

from keevx_async.journal.protocol import State
from keevx_async.testing import Faults
from tests.support.crashing import request
from tests.support.fleet import RedisServer
from tests.support.fleet_processes import a_fleet, reached, until
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("on_uncertain", ["report", "resubmit"])
async def test_two_workers_of_which_one_after_the_other_is_killed(
    redis_server: RedisServer, on_uncertain: str
) -> None:
    faults, dice = Faults(latency=(0.0, 0.03)), random.Random(4)
    async with a_fleet(redis_server, seconds=0.3, faults=faults) as fleet:
        settings: dict[str, Any] = {"on_uncertain": on_uncertain, "concurrency": 8, "rate": 40.0}
        count, turns = (300, 4) if THOROUGH else (150, 2)
        keys = [await fleet.docket.add(request(number)) for number in range(count)]
        workers = await fleet.start_two(**settings)
        for turn in range(turns):
            await reached(fleet.emulator, 60 * turn + dice.randint(20, 60))
            await fleet.kill(workers[turn % 2])
            workers[turn % 2] = await fleet.start(**settings)
        came_to = await fleet.results(keys)
        assert set(came_to) <= {"ended", "uncertain"}, came_to
        twice = {prompt for prompt, made in fleet.emulator.creates.items() if made > 1}
        if on_uncertain == "report":
            assert not twice
            states = await fleet.states()
            lost = {prompt for prompt, state in states.items() if state is State.UNCERTAIN}
            assert len(lost) == came_to["uncertain"] <= turns * 8
            assert set(states) - lost <= set(fleet.emulator.creates)
        else:
            assert came_to == {"ended": count}
            assert len(twice) <= turns * 8


POINTS = [
    # where it dies, the second prompt's state then, creates of it then, and in the end
    ("before the limiter", State.PLANNED, 0, 1),
    ("after the intent", State.UNCERTAIN, 0, 0),
    ("after the POST", State.UNCERTAIN, 1, 1),
    ("before the poll is added", State.SUBMITTED, 1, 1),
]


@pytest.mark.parametrize(("point", "state", "then", "at_last"), POINTS)
async def test_killed_at_a_step_of_a_create(
    redis_server: RedisServer, point: str, state: State, then: int, at_last: int
) -> None:
    async with a_fleet(redis_server) as fleet:
        keys = [await fleet.docket.add(request(number)) for number in range(3)]
        # One worker lives at a time, so it does no harm if it misses so short a lease.
        dying = await fleet.start(point, concurrency=1, redelivery=2.0)
        assert await dying.wait() == -signal.SIGKILL
        assert fleet.emulator.creates["prompt 1"] == then

        async def at_rest() -> bool:  # the dead worker's claim holds for a while
            return (await fleet.states())["prompt 1"] is state

        await until(at_rest, f"{state}")
        await fleet.start(redelivery=2.0)
        lost = state is State.UNCERTAIN
        assert await fleet.results(keys) == Counter(ended=3 - lost, uncertain=lost)
        creates = fleet.emulator.creates
        assert [creates[f"prompt {n}"] for n in range(3)] == [1, at_last, 1]


async def test_a_create_that_takes_longer_than_the_redelivery_time_runs_once(
    redis_server: RedisServer,
) -> None:
    async with a_fleet(redis_server) as fleet:
        await fleet.start_two(redelivery=4.0)
        fleet.emulator.faults.latency = 6.0
        began = asyncio.get_running_loop().time()
        key = await fleet.docket.add(request(0))
        await reached(fleet.emulator, 1)
        await asyncio.sleep(0.1)  # until the response waits
        fleet.emulator.faults.latency = 0.0  # of what comes later
        assert await fleet.results([key]) == {"ended": 1}
        assert asyncio.get_running_loop().time() - began > 5.9, "it did not take long"
        assert fleet.emulator.creates == {"prompt 0": 1}


async def test_polls_go_on_under_a_backlog_of_creates(redis_server: RedisServer) -> None:
    async with a_fleet(redis_server) as fleet:
        first = [await fleet.docket.add(request(number)) for number in range(20)]
        await fleet.docket.add_many(request(number) for number in range(20, 3_000))
        await fleet.start(rate=50.0)
        assert await fleet.results(first, timeout=20) == {"ended": 20}
        assert fleet.emulator.creates.total() < 2_000


async def test_one_key_is_one_create_whenever_it_is_added(redis_server: RedisServer) -> None:
    async with a_fleet(redis_server) as fleet:
        keys = [await fleet.docket.add(request(0), key="mine") for _ in range(2)]
        await fleet.start()
        assert await fleet.results(keys) == {"ended": 2}
        assert await fleet.docket.add(request(0), key="mine") == "mine"
        await fleet.docket.add(request(1), key="another")  # once it ends, so has what was before
        assert await fleet.results(["another", "mine"]) == {"ended": 2}
        assert fleet.emulator.creates == {"prompt 0": 1, "prompt 1": 1}


@pytest.mark.alone
async def test_two_hundred_creates_under_way_in_one_worker(redis_server: RedisServer) -> None:
    async with a_fleet(redis_server, faults=Faults(latency=0.5)) as fleet:
        keys = await asyncio.gather(*(fleet.docket.add(request(number)) for number in range(400)))
        await fleet.start(concurrency=200)
        assert await fleet.results(keys) == {"ended": 400}
        assert set(fleet.emulator.creates.values()) == {1}


async def test_redis_is_restarted_in_the_midst_of_it(redis_server: RedisServer) -> None:
    async with a_fleet(redis_server, faults=Faults(latency=(0.0, 0.3))) as fleet:
        keys = [await fleet.docket.add(request(number)) for number in range(100)]
        await fleet.start_two(concurrency=8)
        await reached(fleet.emulator, 30)
        redis_server.stop()
        await asyncio.sleep(0.5)  # answers come meanwhile, whose ids must not be lost
        redis_server.start()
        came_to = await fleet.results(keys)
        assert set(came_to) <= {"ended", "uncertain"}, came_to
        assert set(fleet.emulator.creates.values()) == {1}
        entries = [entry async for entry in fleet.docket.journal.entries()]
        kept = {one for entry in entries for one in entry.task_ids}
        assert kept == set(fleet.emulator.tasks), "an id was lost"
