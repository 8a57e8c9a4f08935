"""Whatever a client without a budget makes on a journal counts for the journal's budget."""

import asyncio
from pathlib import Path

import pytest

from keevx_async import APIError, Budget, BudgetExceeded
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, keevx_of, some_requests
from tests.support.emulator import until


async def test_what_another_client_of_the_process_makes_meanwhile_counts(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with (
        Emulator() as emulator,
        keevx_of(emulator, journal=journal, budget=Budget(videos=4)) as limited,
        keevx_of(emulator, journal=journal) as free,
    ):
        await free.submit(a_request("prompt 0"))  # before the first of the other
        await limited.submit(a_request("prompt 1"))
        await free.submit(a_request("prompt 2"))
        await free.submit(a_request("prompt 3"))
        with pytest.raises(BudgetExceeded):
            await limited.submit(a_request("prompt 4"))
        await free.submit(a_request("prompt 5"))  # a client without a limit is held back by none
        assert len(emulator.tasks) == 5


async def test_what_it_did_not_make_is_given_back(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    refusing = Faults(refuse=1.0, refuse_status=400)
    async with (
        Emulator() as emulator,
        keevx_of(emulator, journal=journal, budget=Budget(videos=2)) as limited,
        keevx_of(emulator, journal=journal) as free,
    ):
        await limited.submit(a_request("prompt 0"))
        emulator.faults = refusing
        for number in (1, 2, 3):
            with pytest.raises(APIError):
                await free.submit(a_request(f"prompt {number}"))
        emulator.faults = Faults()
        await limited.submit(a_request("prompt 4"))
        with pytest.raises(BudgetExceeded):
            await limited.submit(a_request("prompt 5"))
        assert len(emulator.tasks) == 2


async def test_a_create_in_flight_is_waited_for_where_it_decides(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with (
        Emulator() as emulator,
        keevx_of(emulator, journal=journal, budget=Budget(videos=2)) as limited,
        keevx_of(emulator, journal=journal) as free,
    ):
        await limited.submit(a_request("prompt 0"))
        emulator.faults = Faults(latency=0.2)
        slow = asyncio.create_task(free.submit(a_request("prompt 1")))
        await until(lambda: emulator.creates.total() >= 2)
        with pytest.raises(BudgetExceeded):
            await limited.submit(a_request("prompt 2"))
        assert (await slow).task_ids
        assert len(emulator.tasks) == 2


async def test_a_later_client_counts_what_was_made_without_a_budget(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with Emulator() as emulator:
        async with keevx_of(emulator, journal=journal) as free:
            await free.submit_many(some_requests(3))
        budget = Budget(videos=4)
        async with keevx_of(emulator, journal=journal, budget=budget) as limited:
            await limited.submit(a_request("prompt 3"))
            with pytest.raises(BudgetExceeded):
                await limited.submit(a_request("prompt 4"))
        assert len(emulator.tasks) == 4
