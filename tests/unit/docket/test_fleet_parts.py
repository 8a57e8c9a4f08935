"""The fleet's decisions, without Redis: its pace, its polls, its names."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import PollPolicy
from keevx_async.docket import WorkerSettings
from keevx_async.docket.completion import CompletionWaiter
from keevx_async.docket.settings import CREATES, fleet_of, with_connection_options
from keevx_async.errors import ConfigurationError, JournalError, RateLimitError
from keevx_async.polling.durations import Durations
from keevx_async.polling.fleet_schedule import PollIntervals
from keevx_async.submission.adaptive_rate import AdaptiveRate
from keevx_async.submission.throttle import Throttle
from tests.conftest import FakeClock


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 0.0), ("rate", -1.0), ("rate", float("inf")), ("rate", float("nan")),
        ("rate", 1e-6), ("rate", 1e9),
        ("concurrency", 0), ("on_uncertain", "resend"),
    ],
)  # fmt: skip
def test_an_impossible_setting_is_refused_before_a_worker_starts(name: str, value: Any) -> None:
    with pytest.raises((ConfigurationError, ValueError), match=name):
        WorkerSettings(**{name: value})


class Closed:
    """A gate that opens when told, and notes what it is told."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = 0
        self.held: list[float] = []

    async def acquire(self) -> None:
        self.entered += 1
        await self.open.wait()

    def throttled(self, seconds: float) -> None:
        self.held.append(seconds)


async def test_a_lane_asks_its_gate_last_and_one_create_at_a_time() -> None:
    gate = Closed()
    lane = Throttle(AdaptiveRate(), 8, 60, shared=gate)
    assert lane.try_acquire() is None
    waiting = [asyncio.ensure_future(lane.acquire()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert gate.entered == 1, "a crowd before the gate would all be let through late"
    gate.open.set()
    turns = await asyncio.gather(*waiting)
    assert gate.entered == 3
    lane.refused(turns[0], 0.01)
    assert gate.held == [pytest.approx(0.01, abs=0.005)]


async def test_a_hold_that_comes_while_the_gate_is_waited_for_holds() -> None:
    gate = Closed()
    lane = Throttle(AdaptiveRate(), 8, 1.0, shared=gate)
    gate.open.set()
    first = await lane.acquire()
    gate.open.clear()
    waiting = asyncio.ensure_future(lane.acquire())
    await asyncio.sleep(0)
    lane.refused(first, 30.0)
    gate.open.set()
    with pytest.raises(RateLimitError, match="asked to wait 30 s"):
        await waiting


@given(st.floats(0, 1e6), st.floats(0.01, 5), st.floats(0.01, 100), st.integers(0, 2**32))
def test_a_wait_keeps_within_the_policys_bounds(
    age: float, shortest: float, longest: float, seed: int
) -> None:
    policy = PollPolicy(shortest=shortest, longest=longest)
    waits = PollIntervals(policy, Durations(), random.Random(seed).random)
    for _ in range(3):
        assert min(shortest, longest) <= waits.next("V", age) <= longest
        waits.observe("V", age / 2, age)


def test_a_policy_that_names_no_longest_wait_still_asks() -> None:
    waits = PollIntervals(PollPolicy(longest=math.inf), Durations(), lambda: 0.5)
    for _ in range(3):
        assert 0 < waits.next("V", 60.0) < math.inf
        waits.observe("V", 30.0, 31.0)


def polled(waits: PollIntervals, lasts: float) -> tuple[int, float]:
    """How often a task is asked about, and how long after its end that is known."""
    seen = 0.0
    age = waits.next("V", 0.0)
    for polls in range(1, 1000):
        if age >= lasts:
            waits.observe("V", seen, age)
            return polls, age - lasts
        seen = age
        age += waits.next("V", age)
    pytest.fail("asked a thousand times")


def test_durations_that_were_seen_make_polls_fewer_or_sooner() -> None:
    dice = random.Random(7)
    waits = PollIntervals(PollPolicy(), Durations(), dice.random)
    found = [polled(waits, 120 * dice.lognormvariate(0, 0.1)) for _ in range(300)]
    early, late = found[:10], found[-100:]

    def mean(these: list[tuple[int, float]], of: int) -> float:
        return sum(one[of] for one in these) / len(these)

    assert mean(late, 0) * mean(late, 1) < 0.5 * mean(early, 0) * mean(early, 1)
    assert mean(late, 0) < 1.5 * PollPolicy().polls_per_task


def test_what_one_worker_learned_another_begins_with() -> None:
    taught, policy = Durations(), PollPolicy()
    waits = PollIntervals(policy, taught, lambda: 0.5)
    for _ in range(40):
        waits.observe("V", 99.0, 101.0)
    kept = Durations()
    kept.load(taught.dump())
    again = PollIntervals(policy, kept, lambda: 0.5)
    assert again.next("V", 0.0) == pytest.approx(waits.next("V", 0.0), rel=0.05)
    assert again.next("V", 0.0) > 5 * PollIntervals(policy, Durations(), lambda: 0.5).next("V", 0.0)


REPEATED = "retry_on_timeout=true"


@pytest.mark.parametrize(
    ("url", "roomier"),
    [
        ("redis://h:1/0", f"redis://h:1/0?max_connections=10000&{REPEATED}"),
        ("rediss://h/0?db=1", f"rediss://h/0?db=1&max_connections=10000&{REPEATED}"),
        ("redis://h/0?max_connections=7", f"redis://h/0?max_connections=7&{REPEATED}"),
        (
            "redis://h/0?retry_on_timeout=no",
            "redis://h/0?retry_on_timeout=no&max_connections=10000",
        ),
        ("memory://films", "memory://films"),
    ],
)
def test_a_redis_url_has_room_for_a_worker(url: str, roomier: str) -> None:
    assert with_connection_options(url) == roomier


class Book:
    """What has come to its end, and what was looked at."""

    def __init__(self) -> None:
        self.ends: dict[str, str | Exception] = {}
        self.looks: list[list[str]] = []

    async def look(self, keys: Sequence[str]) -> dict[str, str | Exception]:
        self.looks.append([*keys])
        return {key: self.ends[key] for key in keys if key in self.ends}


async def test_all_that_is_waited_for_is_looked_at_however_many_it_is(clock: FakeClock) -> None:
    book = Book()
    lookout: CompletionWaiter[str] = CompletionWaiter(book.look, sleep=clock.sleep)
    waiting = {str(n): asyncio.ensure_future(lookout.wait(str(n))) for n in range(2_500)}
    twin = asyncio.ensure_future(lookout.wait("2499"))
    await asyncio.sleep(0)
    book.ends["2499"] = "end"
    assert (await waiting["2499"], await twin) == ("end", "end")
    assert max(map(len, book.looks)) == 1_000
    for one in waiting.values():
        one.cancel()
    await asyncio.gather(*waiting.values(), return_exceptions=True)
    del book.looks[:]
    last = asyncio.ensure_future(lookout.wait("0"))
    await asyncio.sleep(0.01)
    assert {key for keys in book.looks for key in keys} == {"0"}, "those who left are looked for"
    await lookout.close()
    last.cancel()


async def test_pauses_between_looks_grow_until_there_is_news(clock: FakeClock) -> None:
    book = Book()
    lookout: CompletionWaiter[str] = CompletionWaiter(book.look, sleep=clock.sleep)
    waiting = asyncio.ensure_future(lookout.wait("key"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert clock.sleeps == sorted(clock.sleeps)
    assert (clock.sleeps[0] < 0.2, clock.sleeps[-1]) == (True, 2.0)
    book.ends["key"] = "end"
    assert await waiting == "end"


async def test_what_cannot_be_looked_at_ends_the_waits_and_no_later_ones(clock: FakeClock) -> None:
    book = Book()
    lookout: CompletionWaiter[str] = CompletionWaiter(book.look, sleep=clock.sleep)
    book.ends = {"unknown": JournalError("never added")}
    with pytest.raises(JournalError, match="never added"):
        await lookout.wait("unknown")

    async def away(keys: Sequence[str]) -> dict[str, str | Exception]:
        raise JournalError("Redis is away")

    lookout = CompletionWaiter(away, sleep=clock.sleep)
    both = await asyncio.gather(*map(lookout.wait, "ab"), return_exceptions=True)
    assert [str(one) for one in both] == ["Redis is away"] * 2


@pytest.mark.parametrize("fleet", ["films", "gallup-poll", "re-create", "poll"])
def test_a_docket_names_its_fleet_whatever_that_is_called(fleet: str) -> None:
    assert fleet_of(fleet + CREATES) == fleet
