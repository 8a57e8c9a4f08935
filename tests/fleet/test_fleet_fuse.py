"""A fleet without funds, or whose creates are all refused, stops; no job is lost."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from keevx_async import APIError, InsufficientFunds, PollPolicy, RetryPolicy
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings
from keevx_async.errors import KeevxError
from keevx_async.testing import Emulator
from tests.support.crashing import request

CREATE = "POST /v1/image_to_video"
NUMBERS = count()


def a_docket() -> KeevxDocket:
    return KeevxDocket("films", f"memory://fuse-{next(NUMBERS)}")


async def ends(docket: KeevxDocket, emulator: Emulator, *, workers: int) -> list[Any]:
    """What each of some workers ends with."""
    settings = WorkerSettings(
        api_key="test-key",
        base_url=emulator.url,
        concurrency=4,
        polling=PollPolicy(shortest=0.02, longest=0.2),
        retry=RetryPolicy(first_delay=0.02),
    )
    async with AsyncExitStack() as stack:
        runs: list[Awaitable[None]] = []
        for number in range(workers):
            worker = KeevxWorker(
                docket,
                settings,
                name=f"worker-{number}",
                redelivery_timeout=timedelta(seconds=4),  # of jobs read just as a worker stops
            )
            running = await stack.enter_async_context(worker)
            runs.append(running.run_until_finished())
        return await asyncio.gather(*runs, return_exceptions=True)


@pytest.mark.parametrize("workers", [1, 2])
async def test_without_funds_every_worker_stops_and_the_next_ones_go_on(workers: int) -> None:
    async with Emulator(seconds=0.02) as emulator, a_docket() as docket:
        keys = [await docket.add(request(number)) for number in range(60)]
        emulator.faults.no_funds_after = 20
        ended = await ends(docket, emulator, workers=workers)
        assert {type(error) for error in ended} == {InsufficientFunds}
        assert emulator.requests[CREATE] <= 20 + 4 * workers
        emulator.faults.no_funds_after = None
        assert await ends(docket, emulator, workers=workers) == [None] * workers
        assert [len(await docket.get_result(key, timeout=20)) for key in keys] == [1] * 60
        assert set(emulator.creates.values()) == {1}


async def test_equal_refusals_in_a_row_stop_a_worker() -> None:
    async with Emulator(seconds=0.02) as emulator, a_docket() as docket:
        faults = emulator.faults
        faults.refuse, faults.once = 1.0, False
        faults.refuse_status, faults.refuse_code = 400, 100006
        keys = [await docket.add(request(number)) for number in range(60)]
        (error,) = await ends(docket, emulator, workers=1)
        assert isinstance(error, APIError)
        assert 10 <= emulator.requests[CREATE] <= 10 + 4
        faults.refuse = 0.0
        refused = []
        assert await ends(docket, emulator, workers=1) == [None]
        for key in keys:
            try:
                await docket.get_result(key, timeout=20)
            except KeevxError:  # a refusal of its own: recorded, and made if it is added again
                refused.append(key)
        assert len(refused) + len(emulator.creates) == 60
        assert len(refused) <= 14
