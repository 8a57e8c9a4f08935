"""Creates that cannot be made: they end, are listed, and may be added again."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from inspect import signature
from itertools import count
from typing import Any

import pytest

from keevx_async import (
    APIError,
    AuthenticationError,
    Budget,
    InsufficientFunds,
    KeevxError,
    PollPolicy,
    RetryPolicy,
)
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings, create, tasks
from keevx_async.docket.tasks import MAX_RETRY_DELAY, RETRY_DELAY, TRIES
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator, Faults
from tests.support.crashing import request

RETRY = signature(create).parameters["retry"].default
NUMBERS = count()


async def work(docket: KeevxDocket, emulator: Emulator, **more: Any) -> None:
    polling = PollPolicy(shortest=0.02, longest=0.2)
    common: dict[str, Any] = {"polling": polling, "retry": RetryPolicy(attempts=1)}
    settings = WorkerSettings(api_key="test-key", base_url=emulator.url, **common | more)
    async with KeevxWorker(docket, settings) as worker:
        await worker.run_until_finished()


def a_docket() -> KeevxDocket:
    return KeevxDocket("films", f"memory://letters-{next(NUMBERS)}")


def test_the_tries_take_about_a_day() -> None:
    delays = [min(RETRY_DELAY * 2**n, MAX_RETRY_DELAY) for n in range(TRIES - 1)]
    assert timedelta(hours=18) < sum(delays, timedelta()) < timedelta(hours=30)


async def test_what_fails_each_time_ends_with_its_last_error_and_may_be_added_again(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETRY, "delay", timedelta(seconds=0.01))
    monkeypatch.setattr(RETRY, "attempts", 3)
    emulator.faults = Faults(refuse={"prompt 0"}, refuse_status=500, refuse_code=530003, once=False)
    async with a_docket() as docket:
        bad, good = [await docket.add(request(number)) for number in range(2)]
        await work(docket, emulator)
        with pytest.raises(APIError, match=r"failed 3 times, the last time with: .*530003"):
            await docket.get_result(bad, timeout=5)
        assert await docket.get_result(good, timeout=5)
        emulator.faults = Faults()
        assert await docket.add(request(0), key=bad) == bad
        await work(docket, emulator)
        assert await docket.get_result(bad, timeout=5)
        assert emulator.creates["prompt 0"] == 1


@pytest.mark.parametrize(
    "damage",
    [("body", "no JSON"), ("kind", "opera"), ("state", "lost")],
)
async def test_a_record_that_cannot_be_read_ends_and_its_waiter_is_informed(
    emulator: Emulator, damage: tuple[str, Any]
) -> None:
    async with a_docket() as docket:
        bad, good = [await docket.add(request(number)) for number in range(2)]
        async with docket.creates.redis() as redis:
            await redis.hset(f"{{films}}:create:{bad}", *damage)
        await work(docket, emulator)
        with pytest.raises(KeevxError, match="its record cannot be read"):
            await docket.get_result(bad, timeout=5)
        assert await docket.get_result(good, timeout=5)
        entry = await docket.journal.find(bad)
        assert entry is not None
        assert entry.state is (State.UNCERTAIN if damage[0] == "state" else State.REFUSED)
        assert not emulator.creates["prompt 0"]


async def test_a_budget_that_is_used_up_costs_no_try(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETRY, "attempts", 2)
    monkeypatch.setattr(tasks, "BUDGET_DELAY", timedelta(seconds=0.01))
    async with a_docket() as docket:
        keys = [await docket.add(request(number)) for number in range(2)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await work(docket, emulator, budget=Budget(videos=1))
        states = Counter([entry.state async for entry in docket.journal.entries()])
        assert states == {State.SUBMITTED: 1, State.PLANNED: 1}
        await work(docket, emulator, budget=Budget(videos=2))
        assert [len(await docket.get_result(key, timeout=5)) for key in keys] == [1, 1]
        assert set(emulator.creates.values()) == {1}


@pytest.mark.parametrize("status", [402, 401])
async def test_workers_that_stop_cost_no_try(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(RETRY, "attempts", 2)
    monkeypatch.setattr(RETRY, "delay", timedelta(seconds=0.01))
    async with a_docket() as docket:
        key = await docket.add(request(0))
        emulator.faults = Faults(
            refuse={"prompt 0"}, refuse_status=status, refuse_code=100_000 + status, once=False
        )
        for _ in range(4):
            with pytest.raises((AuthenticationError, InsufficientFunds)):
                await work(docket, emulator)
        emulator.faults = Faults()
        await work(docket, emulator)
        assert await docket.get_result(key, timeout=5)
        assert emulator.creates["prompt 0"] == 1
