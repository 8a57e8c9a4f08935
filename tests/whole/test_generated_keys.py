"""Without a journal, the generated key of a create may be named, and nothing is charged twice."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from keevx_async import (
    APIError,
    Budget,
    ConnectionFailed,
    JournalError,
    Keevx,
    KeevxError,
    RetryPolicy,
    SubmissionPending,
    SubmissionUncertain,
)
from keevx_async.events import Retrying
from keevx_async.journal.null import NullJournal
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, awaited, keevx_of, some_requests, speaking
from tests.support.ports import refusing
from tests.support.settling import until

CREATE = "POST /v1/image_to_video"


def journal_of(keevx: Keevx) -> NullJournal:
    journal = keevx._config.journal
    assert isinstance(journal, NullJournal)
    return journal


def keys_in_use(keevx: Keevx) -> list[str]:
    return list(journal_of(keevx)._unnamed)


async def test_a_create_that_waits_for_its_next_attempt_is_not_sent_by_another_call() -> None:
    key: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(event: object) -> None:
        if isinstance(event, Retrying) and not key.done():
            key.set_result(event.key)

    faults = Faults(refuse=1.0, refuse_status=503)
    async with speaking(faults=faults) as (emulator, _):
        async with keevx_of(emulator, on_event=hear) as keevx:
            first = asyncio.create_task(keevx.submit(a_request()))
            with pytest.raises(JournalError, match="belongs to a create in progress"):
                await keevx.submit(a_request(), key=await key)
            assert (await first).task_ids == tuple(emulator.tasks)
            assert (await first).key == await key
            # Its ids are with its caller, so the key is of no more use.
            with pytest.raises(JournalError, match="its ids were returned to its caller"):
                await keevx.submit(a_request(), key=await key)
        assert emulator.creates == {"a dog runs": 1}


async def test_a_create_in_flight_is_not_sent_by_another_call() -> None:
    async with speaking(faults=Faults(latency=0.3)) as (emulator, keevx):
        first = asyncio.create_task(keevx.submit(a_request()))
        await until(lambda: emulator.requests[CREATE] == 1)
        (key,) = keys_in_use(keevx)
        with pytest.raises(JournalError, match="belongs to a create in progress"):
            await keevx.submit(a_request(), key=key)
        with pytest.raises(JournalError, match="belongs to another request"):
            await keevx.submit(a_request("a cat"), key=key)
        assert (await first).key == key
        assert emulator.requests[CREATE] == 1


async def test_after_it_failed_its_key_tells_what_happened() -> None:
    async with speaking(faults=Faults(drop_after_create={"lost"})) as (emulator, keevx):
        with pytest.raises(SubmissionUncertain) as uncertain:
            await keevx.submit(a_request("lost"))
        for _ in range(2):
            with pytest.raises(SubmissionUncertain):
                await keevx.submit(a_request("lost"), key=uncertain.value.key)
        assert emulator.creates == {"lost": 1}

        emulator.faults.refuse, emulator.faults.refuse_status = {"refused"}, 401
        fan = await keevx.submit_many([a_request("refused")])
        (outcome,) = fan.outcomes
        assert isinstance(outcome.error, APIError)
        sent = await keevx.submit(a_request("refused"), key=outcome.key)
        assert emulator.creates["refused"] == 1
        again = await keevx.submit(a_request("refused"), key=outcome.key)
        assert again.task_ids == sent.task_ids


# --- Every key is given up, however its call ends


async def submit_pending(keevx: Keevx) -> None:
    """The create goes on in the background until the client closes."""
    with pytest.raises(SubmissionPending):
        await keevx.submit(a_request(), timeout=0)


FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "busy": {"refuse": 1.0, "refuse_status": 503},
    "refused": {"refuse": 1.0, "refuse_status": 401},
    "lost": {"drop_after_create": 1.0},
}
CALLS: dict[str, Callable[[Keevx], Awaitable[object]]] = {
    "submit": lambda keevx: keevx.submit(a_request()),
    "submit that ends in time": lambda keevx: keevx.submit(a_request(), timeout=60),
    "submit that does not": submit_pending,
    "submit_many": lambda keevx: awaited(keevx.submit_many(some_requests(20), concurrency=4)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_key_stays_in_use_after_a_call(call: str, fault: str) -> None:
    retry = RetryPolicy(attempts=2, first_delay=0.01, grace=5)
    async with Emulator(0.02, faults=Faults(**FAULTS[fault])) as emulator:
        async with keevx_of(emulator, retry=retry, budget=Budget(videos=10)) as keevx:
            with suppress(KeevxError):
                await CALLS[call](keevx)
        assert not keys_in_use(keevx)


@pytest.mark.parametrize("call", [each for each in CALLS if each != "submit that does not"])
@pytest.mark.parametrize("when", ["at once", "in flight"])
async def test_no_key_stays_in_use_after_a_cancellation(call: str, when: str) -> None:
    retry = RetryPolicy(attempts=2, first_delay=0.01, grace=0.05)
    async with (
        Emulator(0.02, faults=Faults(silent_after_create=1.0)) as emulator,
        keevx_of(emulator, retry=retry) as keevx,
    ):
        running = asyncio.ensure_future(CALLS[call](keevx))
        if when == "in flight":
            await until(lambda: bool(emulator.tasks))
            assert keys_in_use(keevx)
        else:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not keys_in_use(keevx)


async def test_no_key_stays_in_use_where_no_connection_is_made() -> None:
    with refusing() as url:
        async with Keevx("test-key", base_url=url, retry=RetryPolicy(attempts=1)) as keevx:
            with pytest.raises(ConnectionFailed):
                await keevx.submit(a_request())
            assert not keys_in_use(keevx)
