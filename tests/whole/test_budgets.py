"""Budgets over real sockets; the Emulator's book is the judge of what was made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from keevx_async import (
    APIError,
    Budget,
    BudgetExceeded,
    ImageToVideo,
    NotStarted,
    SubmissionUncertain,
)
from keevx_async.testing import Emulator, Faults
from tests.support.budgeted import LIMIT, submit_all
from tests.support.client import a_request, keevx_of, some_requests

FAULTY = Faults(
    latency=(0.0, 0.02),
    drop_after_create=0.2,
    refuse=0.1,
    refuse_status=400,
    refuse_code=100001,
    refuse_message="unsuitable",
)
"""A fifth of the answers are lost after the task was made; a tenth of the creates are refused."""


async def test_never_beyond_it_and_as_many_as_fit_whatever_goes_wrong(tmp_path: Path) -> None:
    async with Emulator(faults=FAULTY) as emulator:
        fan = await submit_all(emulator.url, tmp_path / "run.db")
        made = len(emulator.tasks)
        assert made <= LIMIT
        kinds = {type(error) for error in fan.errors}
        assert {APIError, BudgetExceeded, SubmissionUncertain} <= kinds
        assert kinds <= {APIError, BudgetExceeded, SubmissionUncertain, NotStarted}
        # The creates whose answers were lost count in full, as they were all made.
        left = LIMIT - made
        unsent = [one.request.count for one in fan.outcomes if one.not_started]
        assert not unsent or left < min(unsent)
        assert fan.counts.not_started == 300 - emulator.creates.total() - fan.counts.failed
        # A second run finds the budget as it was left.
        await submit_all(emulator.url, tmp_path / "run.db")
        assert made <= len(emulator.tasks) <= LIMIT


async def test_without_a_journal_it_holds_for_the_client() -> None:
    async with Emulator(faults=Faults(latency=(0.0, 0.02))) as emulator:
        fan = await submit_all(emulator.url, None)
        assert len(emulator.tasks) == LIMIT
        assert isinstance(fan.stopped_by, BudgetExceeded)
        assert len(fan.outcomes) <= 300
        assert fan.counts.not_started == 300 - fan.counts.ok


async def test_an_endless_feed_ends() -> None:
    async def endless() -> AsyncIterator[ImageToVideo]:
        while True:
            yield a_request("prompt 0")
            await asyncio.sleep(0)

    async with (
        Emulator() as emulator,
        keevx_of(emulator, budget=Budget(videos=10)) as keevx,
    ):
        fan = await keevx.submit_many(endless(), concurrency=4)
        assert len(emulator.tasks) == fan.counts.ok == 10


async def test_what_the_journal_has_costs_nothing_and_is_still_delivered(tmp_path: Path) -> None:
    async with Emulator(seconds=0.01) as emulator:
        few = some_requests(6)
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            await keevx.submit_many(few[1::2])  # three of six, without a budget
        budget = Budget(videos=4)
        async with keevx_of(emulator, journal=tmp_path / "run.db", budget=budget) as keevx:
            fan = await keevx.generate_many(few, concurrency=1, download=tmp_path)
        assert len(emulator.tasks) == 4
        assert [outcome.ok for outcome in fan.outcomes] == [True, True, False, True, False, True]
        assert [outcome.not_started for outcome in fan.outcomes].count(True) == 2


async def test_submit_raises_and_sends_and_uploads_nothing(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    async with (
        Emulator() as emulator,
        keevx_of(emulator, budget=Budget(videos=1)) as keevx,
    ):
        await keevx.submit(a_request("prompt 0"))
        before = emulator.requests.total()
        with pytest.raises(BudgetExceeded) as caught:
            await keevx.submit(evolve(a_request("prompt 1"), image_url=image))
        assert emulator.requests.total() == before
        assert caught.value.spent == {"videos": 1}
        assert "Raise the budget" in str(caught.value)


async def test_a_refused_create_gives_its_share_back(tmp_path: Path) -> None:
    faults = Faults(refuse=1, refuse_status=400, refuse_code=100001)
    async with (
        Emulator(faults=faults) as emulator,
        keevx_of(emulator, budget=Budget(videos=1)) as keevx,
    ):
        for number in range(3):
            with pytest.raises(APIError):
                await keevx.submit(a_request(f"prompt {number}"))
        faults.refuse = 0
        await keevx.submit(a_request("prompt 0"))


async def test_a_cancelled_create_that_was_sent_keeps_its_share() -> None:
    async with (
        Emulator(faults=Faults(latency=0.2)) as emulator,
        keevx_of(emulator, budget=Budget(videos=1)) as keevx,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await keevx.submit(a_request("prompt 0"))
        with pytest.raises(BudgetExceeded):
            await keevx.submit(a_request("prompt 1"))
        assert len(emulator.tasks) == 1


@pytest.mark.parametrize(
    ("budget", "made"),
    [
        (Budget(seconds=20), 3),  # of six seconds each
        (Budget(cost=2, prices={"V/1080p": 0.1}), 3),  # of 0.60 each
        (Budget(videos=5, seconds=600, cost=0.6, prices={"image_to_video": 0.1}), 1),
    ],
)
async def test_seconds_and_cost_are_limited_too(budget: Budget, made: int) -> None:
    async with (
        Emulator() as emulator,
        keevx_of(emulator, budget=budget) as keevx,
    ):
        await keevx.submit_many(some_requests(9))
        assert len(emulator.tasks) == made
