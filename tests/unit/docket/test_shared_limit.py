"""The fleet's limit: who waits for how long, on memory:// with a clock set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, cast

import pytest
from docket import Docket

from keevx_async.docket import RedisJournal
from keevx_async.docket.client import RATE
from keevx_async.docket.rate_limit import SharedRateLimiter, Stop, Stopping
from tests.conftest import FakeClock
from tests.support.redis_journal import Counting

NUMBERS = count()


@pytest.fixture
async def journal() -> AsyncIterator[RedisJournal]:
    url = f"memory://limit-{next(NUMBERS)}"
    async with Docket(name="a", url=url) as docket, docket.redis() as redis:
        journal = RedisJournal(cast(Any, redis), "films")
        async with journal:
            yield journal


def limiter(journal: RedisJournal, clock: FakeClock, stop: Stop | None = None) -> SharedRateLimiter:
    return SharedRateLimiter(journal.connection, stop, sleep=clock.sleep, clock=clock)


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_hold_is_every_workers_and_the_longest_one_counts(
    journal: RedisJournal, clock: FakeClock
) -> None:
    one, other = limiter(journal, clock), limiter(journal, clock)
    began = clock.now
    for seconds in (0.1, 9.0, 2.0):
        one.throttled(seconds)
        await settled()
    await other.acquire()
    assert clock.now - began == pytest.approx(9.0, abs=0.1)
    await one.acquire()
    assert clock.now - began == pytest.approx(9.0, abs=0.1)


@pytest.mark.parametrize(("rate", "burst"), [(50.0, 10), (1.0, 1), (0.25, 1), (33.3, 6)])
async def test_a_rate_is_kept_exactly_and_bursts_by_a_fifth(
    journal: RedisJournal, clock: FakeClock, rate: float, burst: int
) -> None:
    await journal.set_note(RATE, str(rate))
    both = limiter(journal, clock), limiter(journal, clock)
    began = clock.now
    for number in range(burst):
        await both[number % 2].acquire()
    assert clock.now == began
    for number in range(20):
        await both[number % 2].acquire()
    assert clock.now - began == pytest.approx(20 / rate, rel=0.05)


@pytest.mark.parametrize(("old", "new"), [(0.01, 50.0), (50.0, 0.5), (5.0, 7.0)])
async def test_the_last_rate_counts_for_all_within_two_seconds(
    journal: RedisJournal,
    clock: FakeClock,
    old: float,
    new: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await journal.set_note(RATE, str(old))
    both = [limiter(journal, clock) for _ in range(2)]
    for one in both:
        await one.acquire() if old > 1 else one.observe_rate(str(old))
    await journal.set_note(RATE, str(new))
    began = clock.now
    for one in both * 5:
        await one.acquire()
    assert clock.now - began <= 10 / new + 2.0
    assert clock.now - began >= (10 - max(1, new // 5)) / new - 0.1
    lines = [record.getMessage() for record in caplog.records]
    assert (
        lines
        == [
            f"the fleet's rate is now {new:g} creates per second; it was {old:g} creates per second"
        ]
        * 2
    )


async def test_a_rate_that_is_raised_ends_a_wait_that_has_begun(
    journal: RedisJournal, clock: FakeClock
) -> None:
    await journal.set_note(RATE, "0.001")
    limit, began = limiter(journal, clock), clock.now
    await limit.acquire()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        await journal.set_note(RATE, "100")

    waiting = SharedRateLimiter(journal.connection, sleep=sleep, clock=clock)
    await waiting.acquire()
    assert clock.now - began <= 2.0


async def test_a_worker_that_stops_waits_no_more(journal: RedisJournal, clock: FakeClock) -> None:
    stop = Stop()
    stop.call()
    with pytest.raises(Stopping):
        await limiter(journal, clock, stop).acquire()


async def test_without_a_rate_one_answer_counts_for_a_while(
    journal: RedisJournal, clock: FakeClock
) -> None:
    limit = limiter(journal, clock)
    calls = 0
    real = journal.connection.run

    async def counted(*values: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        return await real(*values, **more)  # type: ignore[arg-type]

    journal.connection.run = counted  # type: ignore[method-assign]
    for _ in range(100):
        await limit.acquire()
    assert calls <= 3


async def test_a_turn_that_is_due_soon_costs_one_round_trip(clock: FakeClock) -> None:
    url = f"memory://limit-{next(NUMBERS)}"
    async with Docket(name="a", url=url) as docket, docket.redis() as redis:
        counting = Counting(redis)
        async with RedisJournal(counting, "films") as journal:
            await journal.set_note(RATE, "50.0")
            one = limiter(journal, clock)
            await one.acquire()
            before, began = len(counting.ran), clock.now
            for _ in range(60):
                await one.acquire()
            assert len(counting.ran) - before == 60
            assert clock.now - began == pytest.approx((60 - 9) / 50, abs=0.05)


async def test_turns_taken_ahead_at_one_moment_are_an_interval_apart(
    journal: RedisJournal, clock: FakeClock
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += max(0.0, seconds - 0.05)  # beside it others ask

    await journal.set_note(RATE, "50.0")
    one = SharedRateLimiter(journal.connection, None, sleep=sleep, clock=clock)
    began = clock.now
    for _ in range(60):
        await one.acquire()
    assert waits[:2] == [0.02, 0.04]
    assert clock.now - began == pytest.approx((60 - 10) / 50 - 0.05, abs=0.1)
