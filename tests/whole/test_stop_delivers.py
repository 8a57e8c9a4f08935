"""A run that can make nothing more still delivers what earlier runs made, and sends nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from keevx_async import Budget, ImageToVideo, InsufficientFunds
from keevx_async.testing import Emulator
from tests.support.client import RETRY, a_request, keevx_of, some_requests

CREATE = "POST /v1/image_to_video"


async def made_earlier(emulator: Emulator, journal: Path, requests: list[ImageToVideo]) -> None:
    async with keevx_of(emulator, journal=journal) as keevx:
        await keevx.submit_many(requests)
    emulator.faults.no_funds_after = len(requests)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_an_empty_account_keeps_nothing_that_is_paid_from_arriving(
    tmp_path: Path, concurrency: int
) -> None:
    journal, requests = tmp_path / "run.db", some_requests(60)
    async with Emulator(0.02) as emulator:
        await made_earlier(emulator, journal, requests[1::3])
        before = emulator.requests[CREATE]
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = await keevx.generate_many(requests, concurrency=concurrency, download=tmp_path)
            assert [outcome.index for outcome in fan.outcomes if outcome.ok] == [*range(1, 60, 3)]
            assert all(outcome.paths for outcome in fan.outcomes if outcome.ok)
            assert emulator.requests[CREATE] - before <= concurrency
            assert isinstance(fan.stopped_by, InsufficientFunds)
            assert (fan.counts.ok, fan.counts.failed, fan.counts.not_started) == (20, 1, 39)
            # With funds, awaiting it again makes the others, and only those.
            emulator.faults.no_funds_after = None
            await fan
        assert fan.counts.ok == 60
        assert set(emulator.creates.values()) == {1}


async def test_equal_refusals_in_a_row_do_not_either(tmp_path: Path) -> None:
    journal, requests = tmp_path / "run.db", some_requests(40)
    async with Emulator(0.02) as emulator:
        await made_earlier(emulator, journal, requests[30:])
        faults = emulator.faults
        faults.no_funds_after, faults.refuse, faults.once = None, 1.0, False
        faults.refuse_status, faults.refuse_code = 400, 100006
        async with keevx_of(emulator, journal=journal, retry=evolve(RETRY, fuse=3)) as keevx:
            fan = await keevx.generate_many(requests, concurrency=2, download=tmp_path)
    assert [outcome.index for outcome in fan.outcomes if outcome.ok] == [*range(30, 40)]
    assert fan.counts.failed <= 4


async def test_nothing_is_uploaded_for_what_is_not_made(tmp_path: Path) -> None:
    requests = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"%064d" % number)
        requests.append(a_request(f"prompt {number}", image_url=path))
    journal = tmp_path / "run.db"
    async with Emulator(0.02) as emulator:
        await made_earlier(emulator, journal, requests[-5:])
        before = len(emulator.uploads)
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = await keevx.generate_many(requests, concurrency=4, download=tmp_path / "out")
        assert fan.counts.ok == 5
        assert len(emulator.uploads) - before <= 2 * 4


@pytest.mark.parametrize("budget", [None, Budget(videos=3)])
async def test_an_endless_input_ends_once_all_that_was_made_has_been_met(
    tmp_path: Path, budget: Budget | None
) -> None:
    journal, first = tmp_path / "run.db", some_requests(6)

    def endless() -> Iterator[ImageToVideo]:
        yield from first
        number = 0
        while True:
            yield a_request(f"more {(number := number + 1)}")

    async with Emulator(0.02) as emulator:
        await made_earlier(emulator, journal, first[1::2])
        if budget is not None:
            emulator.faults.no_funds_after = None
        async with keevx_of(emulator, journal=journal, budget=budget) as keevx:
            fan = await keevx.generate_many(endless(), concurrency=2, download=tmp_path)
        assert fan.counts.ok == len(emulator.tasks) == 3
        assert fan.stopped_by is not None


async def test_an_input_that_has_to_wait_for_its_items_is_not_cut_off(tmp_path: Path) -> None:
    journal, requests = tmp_path / "run.db", some_requests(12)

    async def slowly() -> AsyncIterator[ImageToVideo]:
        for request in requests:
            await asyncio.sleep(0.01)
            yield request

    async with Emulator(0.02) as emulator:
        await made_earlier(emulator, journal, requests[9:])
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = keevx.generate_many(slowly(), concurrency=4, download=tmp_path)
            indices = {outcome.index async for outcome in fan if outcome.ok}
    assert indices == {9, 10, 11}
    assert fan.counts.not_started >= 8


async def test_stopped_and_cancelled_it_goes_on_where_it_stood(tmp_path: Path) -> None:
    journal, requests = tmp_path / "run.db", some_requests(30)
    async with Emulator(0.3) as emulator:
        await made_earlier(emulator, journal, requests[20:])
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = keevx.generate_many(requests, concurrency=4, download=tmp_path)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await fan
            emulator.faults.no_funds_after = None
            await fan
        assert fan.counts.ok == 30
        assert set(emulator.creates.values()) == {1}
