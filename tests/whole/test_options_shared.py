"""Clients of with_options share what is paid: creates under way, the budget, and the close."""

import asyncio

import pytest

from keevx_async import (
    Budget,
    BudgetExceeded,
    ConfigurationError,
    RetryPolicy,
    SubmissionPending,
)
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of, some_requests

CREATE = "POST /v1/image_to_video"


@pytest.mark.parametrize("other_first", [False, True])
async def test_a_key_joins_the_create_that_is_under_way_in_the_other(other_first: bool) -> None:
    async with Emulator() as emulator:
        emulator.faults.latency = 0.3
        async with keevx_of(emulator) as keevx:
            pair = [keevx, keevx.with_options(timeout=20, headers={"X-Team": "b"})]
            first, second = reversed(pair) if other_first else pair
            with pytest.raises(SubmissionPending):
                await first.submit(a_request(), key="order-1", timeout=0.05)
            submissions = await asyncio.gather(
                second.submit(a_request(), key="order-1"), first.submit(a_request(), key="order-1")
            )
            assert {each.task_ids for each in submissions} == {tuple(emulator.tasks)}
            # Nor is it sent again once it has ended, though there is no journal.
            third = await keevx.with_options(timeout=10).submit(a_request(), key="order-1")
            assert third.task_ids == tuple(emulator.tasks)
        assert emulator.requests[CREATE] == 1


async def test_they_spend_from_one_budget() -> None:
    async with Emulator() as emulator, keevx_of(emulator, budget=Budget(videos=3)) as keevx:
        other = keevx.with_options(retry=RetryPolicy(attempts=1))
        await other.submit_many(some_requests(2))
        await keevx.submit(a_request("a third"))
        for client in (keevx, other):
            with pytest.raises(BudgetExceeded):
                await client.submit(a_request("a fourth"))
        assert emulator.requests[CREATE] == 3


async def test_the_close_waits_for_the_answer_to_the_other_ones_create() -> None:
    async with Emulator() as emulator:
        emulator.faults.latency = 0.3
        async with keevx_of(emulator) as keevx:
            other = keevx.with_options(timeout=20)
            with pytest.raises(SubmissionPending):
                await other.submit(a_request(), key="order-1", timeout=0.05)
            create = asyncio.ensure_future(other.submit(a_request(), key="order-1"))
            await asyncio.sleep(0)
        assert (await create).task_ids == tuple(emulator.tasks)
        with pytest.raises(ConfigurationError):
            await other.submit(a_request(), key="order-2")
        assert emulator.requests[CREATE] == 1
