"""Items that have already ended when their job starts, such as those that an earlier run made."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from keevx_async.client.fanout import YIELD_EVERY, FanOut
from keevx_async.client.slot import Slot
from keevx_async.errors import UploadError
from keevx_async.models.outcomes import Outcome
from tests.support.simulated import SimulatedLoop, simulated


class Rerun:
    """A run of which an earlier one has made some items. The rest take a second each."""

    def __init__(self, recorded: range) -> None:
        self.recorded = recorded
        self.pulled = 0
        self.under_way = 0

    def items(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.pulled += 1
            yield number

    def work(self, outcome: Outcome[Any], slot: Slot) -> Awaitable[None] | None:
        outcome.task_ids = (f"id-{outcome.request}",)
        return None if outcome.index in self.recorded else self.make()

    async def make(self) -> None:
        self.under_way += 1
        await asyncio.sleep(1.0)
        self.under_way -= 1

    def fan(self, items: Any, concurrency: int = 8) -> FanOut[Any]:
        return FanOut(items, lambda: self.work, concurrency=concurrency, grace=1.0)


@simulated
@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("recorded", [range(100), range(0, 100, 3), range(50), range(50, 100)])
async def test_recorded_and_new_items_each_have_one_outcome(
    iterated: bool, recorded: range
) -> None:
    fan = Rerun(recorded).fan(range(100))
    outcomes = [outcome async for outcome in fan] if iterated else (await fan).outcomes
    if iterated:
        outcomes.sort(key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == [*range(100)]
    assert [outcome.task_ids for outcome in outcomes] == [(f"id-{n}",) for n in range(100)]
    assert (fan.counts.ok, fan.counts.under_way) == (100, 0)


@simulated
@pytest.mark.parametrize("recorded", [range(10_000), range(1, 10_000)])
async def test_recorded_items_wake_one_worker_for_many(recorded: range) -> None:
    """With 64 workers that each wake for one item, it would take a step for each item."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    before = loop.steps
    count = 0
    async for _ in Rerun(recorded).fan(range(10_000), 64):
        count += 1
    assert count == 10_000
    assert loop.steps - before < 10_000 / 10


@simulated
async def test_an_endless_input_of_recorded_items_is_pulled_as_it_is_consumed() -> None:
    rerun = Rerun(range(10**9))
    fan = rerun.fan(rerun.items(10**9), 8)
    async with aclosing(aiter(fan)) as outcomes:
        count = 0
        async for _ in outcomes:
            count += 1
            await asyncio.sleep(1.0)
            assert rerun.pulled <= count + 2 * 8
            assert len(fan.outcomes) <= 2 * 8
            if count == 100:
                break
    assert fan.counts.under_way == 0


@simulated
async def test_new_items_start_while_recorded_ones_wait_for_the_consumer() -> None:
    """A slow consumer leaves no slot of a new item unused before its outcomes pile up."""
    rerun = Rerun(range(4, 100))
    fan = rerun.fan(range(100), 8)
    async with aclosing(aiter(fan)) as outcomes:
        await anext(outcomes)
        assert rerun.under_way == 4


@simulated
async def test_other_tasks_run_between_recorded_items() -> None:
    rerun = Rerun(range(10**9))
    running = asyncio.ensure_future(asyncio.wait_for(rerun.fan(rerun.items(10_000), 4), None))
    turns = [0]
    while not running.done():
        await asyncio.sleep(0)
        turns.append(rerun.pulled)
    assert turns[-1] == 10_000
    assert max(after - before for before, after in pairwise(turns)) <= 4 * YIELD_EVERY


@simulated
async def test_a_job_that_fails_at_once_fails_its_item_only() -> None:
    def work(outcome: Outcome[Any], slot: Slot) -> None:
        if outcome.index == 3:
            raise UploadError("no such file")

    fan = await FanOut(range(8), lambda: work, concurrency=2, grace=1.0)
    assert [outcome.index for outcome in fan.outcomes if not outcome.ok] == [3]
    assert (fan.counts.ok, fan.counts.failed) == (7, 1)


@simulated
async def test_a_cancellation_among_recorded_items_leaves_none_out() -> None:
    rerun = Rerun(range(1, 10**9))
    fan = rerun.fan(rerun.items(10_000), 4)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await fan
    before = len(fan)
    await fan
    assert 0 < before < 10_000
    assert [outcome.index for outcome in fan.outcomes] == [*range(10_000)]
    assert (fan.counts.ok, fan.counts.under_way) == (10_000, 0)
