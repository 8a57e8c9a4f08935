"""A fleet's budget: counted in Redis for all its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from attrs import evolve
from docket import Docket

from keevx_async import Budget, BudgetExceeded, Keevx
from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import OverLimit, State
from keevx_async.models.request import canonical_body
from keevx_async.models.usage import UsageGroup, UsageLimit
from keevx_async.testing import Emulator, Faults
from tests.support.budgeted import requests
from tests.support.crashing import request
from tests.support.fleet import RedisServer
from tests.support.fleet_processes import a_fleet, until

KIND = "image_to_video"
FULL_HD = UsageGroup(KIND, "V", "1080p", 6)
LIMIT = UsageLimit(4, None, None, {})


@asynccontextmanager
async def a_journal() -> AsyncIterator[RedisJournal]:
    async with (
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
        RedisJournal(client) as journal,
    ):
        yield journal


async def begin(journal: RedisJournal, key: str, count: int = 1) -> None:
    body = canonical_body(evolve(request(0), generate_count=count, prompt=key))
    await journal.claim(KIND, body, key)
    await journal.mark_sending(key, KIND, body)


async def test_the_usage_follows_each_state() -> None:
    async with a_journal() as journal:
        await begin(journal, "k", 3)
        assert await journal.usage() == {FULL_HD: 3}
        await journal.mark_refused("k", "no")
        assert await journal.usage() == {FULL_HD: 0}
        await journal.mark_sending("k", KIND, b"")
        await journal.mark_uncertain("k", "lost")
        assert await journal.usage() == {FULL_HD: 3}
        await journal.release("k")
        await journal.settle("k", [])
        assert await journal.usage() == {FULL_HD: 0}
        await begin(journal, "j", 2)
        await journal.mark_submitted("j", ["i2v-1"])  # fewer than asked for
        assert await journal.usage() == {FULL_HD: 2}
        await journal.add_ids("j", ["i2v-2", "i2v-3"], 2)  # and now more
        assert await journal.usage() == {FULL_HD: 3}


async def test_what_does_not_fit_is_not_recorded() -> None:
    async with a_journal() as journal:
        assert journal.limit_usage(LIMIT)
        await begin(journal, "a", 3)
        with pytest.raises(OverLimit) as caught:
            await begin(journal, "b", 2)
        assert caught.value.usage == {FULL_HD: 3}
        assert await journal.find("b") is None
        await begin(journal, "c", 1)


@pytest.mark.parametrize(
    "limit",
    [
        UsageLimit(None, 13, None, {}),
        UsageLimit(None, None, 140, {"V/1080p": 10, "V": 90, KIND: 90}),
        UsageLimit(None, None, 140, {"V": 10, KIND: 90}),
        UsageLimit(None, None, 140, {KIND: 10}),
    ],
)
async def test_seconds_and_cost(limit: UsageLimit) -> None:
    async with a_journal() as journal:
        journal.limit_usage(limit)
        await begin(journal, "a")
        await begin(journal, "b")
        with pytest.raises(OverLimit):
            await begin(journal, "c")


async def test_one_that_is_sent_again_counts_again_once_a_claim() -> None:
    async with a_journal() as journal:
        journal.limit_usage(LIMIT)
        await begin(journal, "a", 2)
        await journal.mark_uncertain("a", "lost")
        await journal.release("a")
        await begin(journal, "a", 2)
        assert await journal.usage() == {FULL_HD: 4}
        await journal.mark_uncertain("a", "refused this time")  # and tried again at once
        body = canonical_body(evolve(request(0), generate_count=2, prompt="a"))
        await journal.mark_sending("a", KIND, body)
        assert await journal.usage() == {FULL_HD: 4}


async def test_clients_of_two_journals_in_one_redis_share_the_budget() -> None:
    budget = Budget(videos=40)
    async with (
        Emulator(faults=Faults(latency=(0.0, 0.02), drop_after_create=0.2)) as emulator,
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
    ):
        each = [RedisJournal(client) for _ in range(2)]
        async with (
            Keevx("k", base_url=emulator.url, journal=each[0], budget=budget) as one,
            Keevx("k", base_url=emulator.url, journal=each[1], budget=budget) as other,
        ):
            fans = await asyncio.gather(
                one.submit_many(requests()[:60]), other.submit_many(requests()[60:120])
            )
        assert len(emulator.tasks) == 40
        assert {True, False} == {isinstance(e, BudgetExceeded) for fan in fans for e in fan.errors}


@pytest.mark.fleet
async def test_two_workers_keep_one_budget_and_lose_no_job(redis_server: RedisServer) -> None:
    async with a_fleet(redis_server, faults=Faults(latency=(0.0, 0.05))) as fleet:
        keys = [await fleet.docket.add(request(number)) for number in range(60)]
        await fleet.start_two(concurrency=8, budget={"videos": 25}, budget_delay=0.2)

        async def reached() -> bool:
            return len(fleet.emulator.tasks) == 25

        await until(reached, "the budget has been reached")
        await asyncio.sleep(0.5)
        assert len(fleet.emulator.tasks) == 25
        await fleet.stop()
        states = await fleet.states()
        assert sum(state is State.SUBMITTED for state in states.values()) == 25
        # With a larger budget the others are made, and none twice.
        await fleet.start(budget={"videos": 60})
        assert await fleet.results(keys, timeout=60) == {"ended": 60}
        assert set(fleet.emulator.creates.values()) == {1}
