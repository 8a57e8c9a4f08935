"""A run that could not pay for the rest, or whose key is refused, stops; the next one goes on."""

from pathlib import Path

import pytest

from keevx_async import (
    AuthenticationError,
    InsufficientFunds,
    NotStarted,
    RateLimitError,
)
from keevx_async.events import Event, Paused
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of, some_requests

CREATE = "POST /v1/image_to_video"


@pytest.mark.parametrize("journaled", [False, True])
async def test_funds_run_out(tmp_path: Path, journaled: bool) -> None:
    journal = tmp_path / "run.db" if journaled else None
    async with Emulator(0.01) as emulator:
        emulator.faults.no_funds_after = 20
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = await keevx.submit_many(some_requests(300), concurrency=8)
            posts = emulator.requests[CREATE]
            assert posts <= 21 + 8
            assert (fan.counts.ok, fan.counts.failed, fan.counts.not_started) == (20, 1, 279)
            assert isinstance(fan.stopped_by, InsufficientFunds)
            kinds = [type(error) for error in fan.errors]
            assert kinds.count(InsufficientFunds) == 1
            assert {*kinds} == {InsufficientFunds, NotStarted}
            if not journaled:
                return
        # The next run, with funds, makes the rest and nothing else.
        emulator.faults.no_funds_after = None
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = await keevx.submit_many(some_requests(300), concurrency=8)
        assert fan.counts.ok == 300
        assert set(emulator.creates.values()) == {1}
        assert emulator.requests[CREATE] == posts + 280


async def test_a_refused_key_stops_after_what_was_in_flight() -> None:
    async with Emulator(0.01, api_key="right") as emulator:
        async with keevx_of(emulator, api_key="wrong") as keevx:
            fan = await keevx.submit_many(some_requests(300), concurrency=8)
        assert emulator.requests[CREATE] <= 8
    assert isinstance(fan.stopped_by, AuthenticationError)
    assert (fan.counts.failed, fan.counts.not_started) == (1, 299)


async def test_equal_refusals_in_a_row_stop_it_and_the_next_run_sends_them_again(
    tmp_path: Path,
) -> None:
    async with Emulator(0.01) as emulator:
        faults = emulator.faults
        faults.refuse, faults.once = 1.0, False
        faults.refuse_status, faults.refuse_code = 400, 100006
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            fan = await keevx.submit_many(some_requests(100), concurrency=4)
            assert 10 <= emulator.requests[CREATE] <= 14
            assert fan.counts.failed == emulator.requests[CREATE]
            faults.refuse = 0.0
            fan = await keevx.submit_many(some_requests(100), concurrency=4)
        assert fan.counts.ok == 100
        assert set(emulator.creates.values()) == {1}


async def test_a_single_submit_has_no_fuse() -> None:
    async with Emulator(0.01) as emulator:
        emulator.faults.no_funds_after = 0
        async with keevx_of(emulator) as keevx:
            for _ in range(3):
                with pytest.raises(InsufficientFunds, match="insufficient balance"):
                    await keevx.submit(a_request())
            emulator.faults.no_funds_after = None
            await keevx.submit(a_request())
        assert emulator.requests[CREATE] == 4


@pytest.mark.parametrize("funds", [None, 5])
async def test_funds_that_are_to_come_are_waited_for_once(funds: int | None) -> None:
    pauses: list[Event] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Paused):
            pauses.append(event)
            emulator.faults.no_funds_after = funds

    async with Emulator(0.01) as emulator:
        emulator.faults.no_funds_after, emulator.faults.retry_after = 5, 1
        async with keevx_of(emulator, on_event=on_event) as keevx:
            fan = await keevx.submit_many(some_requests(20), concurrency=2)
        assert pauses
        assert isinstance(fan.stopped_by, InsufficientFunds) is (funds is not None)
        assert fan.counts.ok == (funds or 20)
        assert emulator.refused["funds"] <= (4 if funds else 2)


async def test_a_wait_for_funds_beyond_the_deadline_is_not_waited_for() -> None:
    async with Emulator(0.01) as emulator:
        emulator.faults.no_funds_after, emulator.faults.retry_after = 0, 3600
        async with keevx_of(emulator) as keevx:
            with pytest.raises(InsufficientFunds):
                await keevx.submit(a_request())
            emulator.faults.no_funds_after = None
            try:
                await keevx.submit(a_request())  # and nothing is held for an hour
            except RateLimitError as error:
                pytest.fail(str(error))
