"""A fan-out whose feed is stopped, or that was cancelled: what is left is reported, and goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from keevx_async.client.fanout import FanOut, FollowUp
from keevx_async.client.slot import Slot
from keevx_async.errors import (
    APIError,
    ConfigurationError,
    InsufficientFunds,
    JournalError,
    NotStarted,
    ServerError,
    SubmissionUncertain,
    WaitTimeout,
)
from keevx_async.http.retry import Retryable
from keevx_async.models.outcomes import Outcome
from tests.support.client import a_request, awaited
from tests.support.simulated import hops, simulated

NO_FUNDS = InsufficientFunds(402, 402, "insufficient balance")


class Shop:
    """Takes a second to upload and a second to pay for each item, until its funds run out."""

    def __init__(self, funds: float, *, follow: bool = False) -> None:
        self.funds = funds
        self.follows = follow
        self.pulled = 0
        self.uploads = 0
        self.sent: list[Any] = []
        self.paid: list[Any] = []
        self.followed: list[Any] = []

    def items(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.pulled += 1
            yield number

    async def job(self, outcome: Outcome, slot: Slot) -> FollowUp | None:
        if not outcome.task_ids:
            self.uploads += 1
            await asyncio.sleep(1)
            try:
                with slot:
                    outcome.task_ids = await self.pay(outcome)
            except InsufficientFunds as error:
                slot.stop(error)
                raise
        if not self.follows:
            return None
        outcome.error = WaitTimeout(outcome.task_ids)
        return self.follow

    async def pay(self, outcome: Outcome) -> tuple[str, ...]:
        item: Any = outcome.request
        self.sent.append(item)
        await asyncio.sleep(1)
        if len(self.paid) >= self.funds:
            raise InsufficientFunds(402, 402, "insufficient balance")
        self.paid.append(item)
        return (f"id-{item}",)

    async def follow(self, outcome: Outcome) -> None:
        await asyncio.sleep(10)
        self.followed.append(outcome.request)
        outcome.error = None

    def fan(self, items: Any, concurrency: int = 4) -> FanOut:
        return FanOut(items, lambda: self.job, concurrency=concurrency, grace=30)


def states(fan: FanOut) -> list[str]:
    return [outcome.state for outcome in fan.outcomes]


@simulated
async def test_a_stopped_feed_pulls_and_begins_nothing_more() -> None:
    shop = Shop(funds=6)
    fan = await shop.fan([*range(300)])
    assert isinstance(fan.stopped_by, InsufficientFunds)
    assert len(shop.sent) <= 6 + 4
    assert shop.uploads <= len(shop.sent) + 4
    assert [outcome.request for outcome in fan.outcomes if outcome.ok] == sorted(shop.paid)
    assert fan.counts.ok == 6
    assert fan.counts.failed == 1  # those in flight were refused for the same reason
    assert fan.counts.not_started == 300 - 7
    assert fan.counts.under_way == 0
    assert f"{fan.counts.not_started} not started" in str(fan.counts)


@simulated
async def test_an_input_without_a_length_is_not_consumed_further() -> None:
    shop = Shop(funds=6)
    fan = await shop.fan(shop.items(10**9))
    assert shop.pulled <= 6 + 2 * 4
    assert fan.counts.not_started == sum(outcome.not_started for outcome in fan)


@simulated
async def test_what_was_pulled_and_not_begun_says_why() -> None:
    gate, done = asyncio.Event(), list[int]()

    async def job(outcome: Outcome, slot: Slot) -> None:
        if outcome.index == 0:
            slot.stop(NO_FUNDS)
            slot.stop(ValueError("a second reason changes nothing"))
            raise NO_FUNDS
        await gate.wait()  # an upload that would take for ever
        done.append(outcome.index)

    fan = await FanOut([*range(9)], lambda: job, concurrency=3, grace=30)
    assert done == []
    assert fan.stopped_by is NO_FUNDS
    assert states(fan) == ["failed"]  # the others had not even begun to run
    assert fan.counts.not_started == 8


@simulated
async def test_items_that_wait_end_as_not_started() -> None:
    async def job(outcome: Outcome, slot: Slot) -> None:
        if outcome.index == 2:
            await asyncio.sleep(1)
            slot.stop(NO_FUNDS)
            raise NO_FUNDS
        await asyncio.Event().wait()

    fan = await FanOut([*range(9)], lambda: job, concurrency=4, grace=30)
    assert states(fan) == ["not_started", "not_started", "failed", "not_started"]
    error = fan[0].error
    assert isinstance(error, NotStarted)
    assert "insufficient balance" in str(error)
    with pytest.raises(ExceptionGroup, match=r"1 of 9 items failed, 8 were not started"):
        fan.raise_for_errors()


@simulated
async def test_a_paid_step_under_way_goes_on_to_its_end_and_so_do_waits() -> None:
    shop = Shop(funds=3, follow=True)
    fan = await shop.fan([*range(20)], concurrency=2)
    assert sorted(shop.followed) == sorted(shop.paid)
    assert len(shop.paid) == 3
    assert fan.counts.ok == 3


@simulated
async def test_a_refusal_that_would_be_retried_is_not_retried_after_the_stop() -> None:
    attempts = 0

    async def busy() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(2)
        raise Retryable(ServerError(503))

    async def job(outcome: Outcome, slot: Slot) -> None:
        if outcome.index == 0:
            await asyncio.sleep(1)
            slot.stop(NO_FUNDS)
            raise NO_FUNDS
        for _ in range(3):
            with suppress(Retryable), slot:
                await busy()
            await asyncio.sleep(3600)

    fan = await FanOut([0, 1], lambda: job, concurrency=2, grace=30)
    assert attempts == 1
    assert states(fan) == ["failed", "not_started"]


@simulated
async def test_a_final_refusal_after_the_stop_keeps_its_own_error() -> None:
    refused = APIError(400, 100001, "prompt")

    async def refuse() -> None:
        await asyncio.sleep(2)
        raise refused

    async def job(outcome: Outcome, slot: Slot) -> None:
        if outcome.index == 0:
            await asyncio.sleep(1)
            slot.stop(NO_FUNDS)
            raise NO_FUNDS
        try:
            with slot:
                await refuse()
        finally:
            await asyncio.sleep(1)  # the journal releases its key

    fan = await FanOut([0, 1], lambda: job, concurrency=2, grace=30)
    assert fan[1].error is refused


@simulated
async def test_a_stop_ends_a_pull_that_waits() -> None:
    async def items() -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()  # a queue to which nothing is ever added
        yield 1

    stops = [NO_FUNDS]

    async def job(outcome: Outcome, slot: Slot) -> None:
        await asyncio.sleep(1)
        if stops:
            slot.stop(stops[0])
            raise stops.pop()

    fan = FanOut(items(), lambda: job, concurrency=3, grace=30)
    await fan
    assert states(fan) == ["failed"]
    # The generator has ended with the pull; its rest must not go missing in silence.
    with pytest.raises(ConfigurationError, match="pass it to a new call"):
        await fan


@simulated
async def test_iterated_over_every_outcome_is_yielded_once() -> None:
    shop = Shop(funds=6)
    fan = shop.fan(shop.items(300))
    seen = [outcome async for outcome in fan]
    assert len({outcome.index for outcome in seen}) == len(seen) == shop.pulled
    assert isinstance(fan.stopped_by, InsufficientFunds)


@simulated
async def test_cancelled_after_the_stop_it_is_cancelled() -> None:
    shop = Shop(funds=2, follow=True)
    fan = shop.fan([*range(20)], concurrency=2)
    awaiting = asyncio.ensure_future(awaited(fan))
    await asyncio.sleep(6)
    assert isinstance(fan.stopped_by, InsufficientFunds)
    awaiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await awaiting
    assert "unfinished" in states(fan)


# --- Again


@simulated
@pytest.mark.parametrize("after", [1, 2.5], ids=["while it is sent", "while its key is released"])
@pytest.mark.parametrize(
    "error",
    [SubmissionUncertain(a_request(), "k", "lost"), JournalError("the disk is full", ["i2v-1"])],
    ids=["uncertain", "not recorded"],
)
async def test_cancelled_it_keeps_what_may_have_been_paid(error: Exception, after: float) -> None:
    async def lose() -> None:
        await asyncio.sleep(2)
        raise error

    async def job(outcome: Outcome, slot: Slot) -> None:
        try:
            with slot:
                await lose()
        finally:
            await asyncio.sleep(1)  # the journal releases its key

    fan = FanOut([0], lambda: job, concurrency=1, grace=30)
    running = asyncio.create_task(awaited(fan))
    await asyncio.sleep(after)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [outcome.error for outcome in fan.outcomes] == [error]


@simulated
async def test_a_stopped_one_goes_on_with_what_was_not_submitted() -> None:
    shop = Shop(funds=6)
    fan = shop.fan(shop.items(30))
    await fan
    shop.funds = 100
    assert await fan is fan
    assert fan.stopped_by is None
    assert sorted(shop.paid) == [*range(30)]  # each once
    assert [outcome.request for outcome in fan] == [*range(30)]
    assert (fan.counts.ok, fan.counts.failed, fan.counts.not_started) == (30, 0, 0)


@simulated
async def test_one_that_was_iterated_over_goes_on_too() -> None:
    shop = Shop(funds=6)
    fan = shop.fan([*range(30)])
    first = [outcome async for outcome in fan]
    shop.funds = 100
    second = [outcome async for outcome in fan]
    assert sorted(shop.paid) == [*range(30)]
    assert sorted(each.request for each in (*first, *second) if each.ok) == [*range(30)]
    assert fan.counts.ok == 30
    assert any(outcome.not_started for outcome in first)  # what was handed out stays as it was


@simulated
@pytest.mark.parametrize("after", [0.5, 1.5, 2.5, 7.5, 12.5, 14.5])
async def test_a_cancelled_one_goes_on_where_it_stood(after: float) -> None:
    shop = Shop(funds=100, follow=True)
    fan = shop.fan(shop.items(12))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await fan
    await fan
    assert sorted(shop.paid) == [*range(12)]
    assert [outcome.state for outcome in fan] == ["ok"] * 12
    assert [outcome.request for outcome in fan] == [*range(12)]
    assert fan.counts.ok == 12


@simulated
async def test_left_early_it_goes_on_with_what_was_not_yielded() -> None:
    shop = Shop(funds=100)
    fan, seen = shop.fan(shop.items(12)), list[Any]()
    async with aclosing(aiter(fan)) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome.request)
            if len(seen) == 3:
                break
    await fan
    assert sorted([*seen, *(outcome.request for outcome in fan)]) == [*range(12)]
    assert sorted(shop.paid) == [*range(12)]


@simulated
async def test_a_complete_one_is_returned_at_once() -> None:
    begun = 0

    async def job(outcome: Outcome, slot: Slot) -> None:
        raise WaitTimeout(["i2v-1"])  # it ended so: not stopped, and not begun again

    def begin() -> Callable[..., Any]:
        nonlocal begun
        begun += 1
        return job

    fan: FanOut = FanOut([1, 2], begin, concurrency=2, grace=30)
    first = [*(await fan)]
    assert [*(await fan)] == first
    assert [outcome async for outcome in fan] == first
    assert [*fan] == first  # nothing was taken out of it
    assert begun == 1


@simulated
async def test_while_it_runs_nobody_else_may_await_it() -> None:
    shop = Shop(funds=100)
    fan = shop.fan([1])
    awaiting = asyncio.ensure_future(awaited(fan))
    await hops(2)
    with pytest.raises(RuntimeError, match="already being awaited"):
        await fan
    await awaiting


@simulated
async def test_an_input_that_raised_raises_again_and_nothing_runs_twice() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the file ends here")

    shop = Shop(funds=100)
    fan = shop.fan(items())
    for _ in range(2):
        with pytest.raises(ValueError, match="the file ends here") as raised:
            await fan
        assert len(raised.value.__notes__) == 1
    assert shop.paid == [1]


def test_it_goes_on_on_another_event_loop() -> None:
    shop = Shop(funds=1)
    shop_items = [*range(6)]

    async def quick(outcome: Outcome, slot: Slot) -> None:
        await asyncio.sleep(0)
        if outcome.index > 2 and shop.funds == 1:
            slot.stop(NO_FUNDS)
            raise NO_FUNDS
        shop.paid.append(outcome.request)

    fan: FanOut = FanOut(shop_items, lambda: quick, concurrency=2, grace=30)
    asyncio.run(awaited(fan))
    shop.funds = 2
    asyncio.run(awaited(fan))
    assert sorted(shop.paid) == shop_items


# --- As a sequence


@simulated
async def test_it_is_read_like_a_sequence() -> None:
    fan: Any = await Shop(funds=100).fan([5, 6, 7])
    assert len(fan) == 3
    assert [outcome.request for outcome in fan] == [5, 6, 7]
    assert fan[0].request == 5
    assert fan[-1] is fan.outcomes[-1]
    assert fan[1:] == fan.outcomes[1:]
    with pytest.raises(IndexError):
        _ = fan[3]


def test_a_fan_out_that_has_not_begun_is_not_an_empty_sequence() -> None:
    fan = Shop(funds=100).fan([1])
    assert len(fan) == 0
    assert fan
    with pytest.raises(RuntimeError, match="async for"):
        list(fan)
