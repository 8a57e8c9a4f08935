"""A client on a fleet's journal is stopped while responses are lost: it says what is uncertain.

Releasing a key waits for Redis, so a create has more steps after its response than with a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keevx_async import Keevx, RetryPolicy, SubmissionUncertain
from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, awaited, keevx_of, some_requests
from tests.support.fleet_processes import reached
from tests.support.redis_journal import Counting, memory

__all__ = ["memory"]  # a fixture


@asynccontextmanager
async def losing(journal: RedisJournal) -> AsyncIterator[tuple[Emulator, Keevx]]:
    """A client of an emulator that answers no create, and drops all of them when it stops."""
    emulator = Emulator(faults=Faults(silent_after_create=1.0))
    await emulator.start()
    async with keevx_of(emulator, journal=journal, retry=RetryPolicy(grace=20)) as keevx:
        try:
            yield emulator, keevx
        finally:
            await emulator.stop()


async def test_a_cancelled_fan_out_keeps_its_uncertain_creates(memory: Counting) -> None:
    async with RedisJournal(memory) as journal, losing(journal) as (emulator, keevx):
        fan = keevx.submit_many(some_requests(8), concurrency=4)
        running = asyncio.create_task(awaited(fan))
        await reached(emulator, 4)
        running.cancel()
        await asyncio.sleep(0)
        await emulator.stop()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [outcome.state for outcome in fan.outcomes] == ["uncertain"] * 4
        states = {entry.key: entry.state async for entry in journal.entries()}
        assert {outcome.key for outcome in fan.outcomes} == set(states)
        assert set(states.values()) == {State.UNCERTAIN}


async def test_a_create_that_is_lost_while_its_client_closes_is_uncertain(memory: Counting) -> None:
    async with RedisJournal(memory) as journal, losing(journal) as (emulator, keevx):
        call = asyncio.create_task(keevx.submit(a_request(), key="k"))
        await reached(emulator, 1)
        closing = asyncio.create_task(keevx.close())
        await asyncio.sleep(0)
        await emulator.stop()
        with pytest.raises(SubmissionUncertain):
            await call
        await closing
        entry = await journal.find("k")
        assert entry is not None
        assert entry.state is State.UNCERTAIN
