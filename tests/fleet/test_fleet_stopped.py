"""A fleet that has stopped says so to whoever waits for it, and no job is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    Budget,
    BudgetExceeded,
    FanOut,
    InsufficientFunds,
    KeevxError,
    NotStarted,
    PollPolicy,
    RetryPolicy,
)
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings, tasks
from keevx_async.docket.producer import Producer
from keevx_async.docket.stop_mark import SETTLING, StopWatch, dump_stop, load_stop
from keevx_async.errors import APIError, AuthenticationError, ConnectionFailed
from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, start, written
from tests.support.cli_run import takes
from tests.support.crashing import request
from tests.support.fleet import RedisServer

NUMBERS = count()
POLLING = PollPolicy(shortest=0.02, longest=0.2)
COUNT = 30


@asynccontextmanager
async def working(docket: KeevxDocket, emulator: Emulator, **more: Any) -> AsyncIterator[None]:
    """A worker that works during the block, unless it stops by itself."""
    settings = WorkerSettings(
        api_key="test-key",
        base_url=emulator.url,
        concurrency=4,
        polling=POLLING,
        retry=RetryPolicy(first_delay=0.02),
        **more,
    )
    async with KeevxWorker(docket, settings, redelivery_timeout=timedelta(seconds=4)) as worker:
        running = asyncio.create_task(worker.run_forever())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, KeevxError):
                await running


async def produced(url: str, emulator: Emulator) -> FanOut[Any]:
    """Run a producer of its own, as each run is."""
    async with (
        KeevxDocket("films", url) as docket,
        Producer(docket, api_key="test-key", base_url=emulator.url) as keevx,
        asyncio.timeout(60),
    ):
        return await keevx.generate_many([request(number) for number in range(COUNT)])


@pytest.mark.parametrize(
    "error",
    [
        InsufficientFunds(402, 100402, "no funds"),
        AuthenticationError(401, 100002, "wrong key"),
        APIError(400, 100006, "no"),
        BudgetExceeded(Budget(videos=5, prices={"V": 2.0}), {"videos": 5}, {"videos": 1}),
        ConnectionFailed("keevx.com", "no route"),
    ],
)
def test_the_mark_holds_what_stopped_the_fleet(error: KeevxError) -> None:
    loaded = load_stop(dump_stop(error, 12.5))
    assert loaded.message == error.message
    assert loaded.hint == error.hint
    if isinstance(error, (APIError, BudgetExceeded)):
        assert type(loaded) is type(error)


def test_a_fleet_has_stopped_once_a_new_mark_has_stood_for_a_while() -> None:
    old, new = (dump_stop(InsufficientFunds(402), at) for at in (1.0, 2.0))
    watch = StopWatch(old)
    assert watch.observe(old, 0.0) is None
    assert watch.observe(old, 9.0) is None, "it stood when the watch began"
    assert watch.observe(new, 10.0) is None
    assert watch.observe("", 10.1) is None, "it was cleared"
    assert watch.observe(new, 10.0 + SETTLING) is None
    assert isinstance(watch.observe(new, 10.0 + 2 * SETTLING), InsufficientFunds)


async def test_without_funds_the_rest_is_not_started_and_the_next_run_makes_it() -> None:
    url = f"memory://stopped-{next(NUMBERS)}"
    async with Emulator(seconds=0.02) as emulator, KeevxDocket("films", url) as docket:
        emulator.faults.no_funds_after = 10
        async with working(docket, emulator):
            fan = await produced(url, emulator)
        assert isinstance(fan.stopped_by, InsufficientFunds)
        assert fan.counts.not_started + fan.counts.ok + fan.counts.unfinished == COUNT
        assert fan.counts.not_started == COUNT - 10
        assert all(isinstance(one.error, NotStarted) for one in fan if one.not_started)
        assert (await docket.progress())["planned"] == COUNT - 10, "a job is lost"
        emulator.faults.no_funds_after = None
        async with working(docket, emulator):
            fan = await produced(url, emulator)
        assert (fan.counts.ok, fan.stopped_by) == (COUNT, None)
        assert set(emulator.creates.values()) == {1}


async def test_over_budget_the_rest_is_not_started_and_a_larger_one_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "BUDGET_DELAY", timedelta(seconds=1))
    url = f"memory://stopped-{next(NUMBERS)}"
    async with Emulator(seconds=0.02) as emulator, KeevxDocket("films", url) as docket:
        async with working(docket, emulator, budget=Budget(videos=10)):
            fan = await produced(url, emulator)
        assert isinstance(fan.stopped_by, BudgetExceeded)
        assert (fan.counts.ok, fan.counts.not_started) == (10, COUNT - 10)
        async with working(docket, emulator, budget=Budget(videos=COUNT)):
            (key, *_) = [one.key for one in fan if one.not_started]
            assert await docket.get_result(key, timeout=60)


@pytest.mark.fleet
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("seconds", [0.1, 4.0])
async def test_a_run_ends_with_its_fleet_and_the_next_one_goes_on(
    tmp_path: Path, redis_server: RedisServer, seconds: float
) -> None:
    written(tmp_path / "p.jsonl", takes(12))
    run = ("run", "p.jsonl", "--docket", redis_server.url, "--out", "out")
    worker = ("worker", "--docket", redis_server.url, "--concurrency", "1")
    async with Emulator(seconds=seconds) as emulator:
        emulator.faults.no_funds_after = 4
        ran, stopped = await asyncio.gather(
            keevx(*run, cwd=tmp_path, **at(emulator)), keevx(*worker, cwd=tmp_path, **at(emulator))
        )
        assert stopped.code != 0
        assert (ran.code, "stopped with 8 of 12 not started" in ran.err) == (4, True), ran.err
        assert "Add funds to your Keevx account" in ran.err
        emulator.faults.no_funds_after = None
        working = await start(*worker, cwd=tmp_path, **at(emulator))
        try:
            again = await keevx(*run, cwd=tmp_path, **at(emulator))
            assert (again.code, "12 of 12 done" in again.err) == (0, True), again.err
        finally:
            working.terminate()
            await working.communicate()
        assert set(emulator.creates.values()) == {1}
