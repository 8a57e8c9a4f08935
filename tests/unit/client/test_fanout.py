"""Many items at once: bounded, lazy, and no paid id lost, whenever it is cancelled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.client import fanout
from keevx_async.client.fanout import FanOut, FollowUp
from keevx_async.errors import ConfigurationError, SubmissionUncertain, UploadError
from keevx_async.models.outcomes import Outcome
from keevx_async.submission.shield import Guard, run_shielded
from tests.support.simulated import SimulatedLoop, hops, simulated


class Studio:
    """Makes creates that are paid in their middle, and remembers every one of them."""

    def __init__(self, *, step: float = 0.0, follow: bool = False) -> None:
        self.step = step  # seconds of each of a create's steps; 0: one turn of the loop
        self.follows = follow
        self.pulled = 0
        self.begun: list[Any] = []
        self.paid: list[str] = []
        self.now = 0
        self.most = 0
        self.following = 0
        self.ends: list[Any] = []

    def items(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.pulled += 1
            yield number

    async def aitems(self, count: int) -> AsyncIterator[int]:
        for number in self.items(count):
            await self.pause()
            yield number

    async def pause(self) -> None:
        await asyncio.sleep(self.step)

    async def work(self, outcome: Outcome, guard: Guard) -> FollowUp | None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.pause()  # an upload, the pacer: nothing is paid yet
            with guard:
                outcome.task_ids = (await self.create(item_of(outcome)),)
            return self.follow if self.follows else None
        finally:
            self.now -= 1

    async def create(self, item: Any) -> str:
        self.begun.append(item)
        try:
            await self.pause()
            self.paid.append(f"id-{item}")
            await self.pause()
        except asyncio.CancelledError:  # as creating.py does: nobody knows what became of it
            raise SubmissionUncertain(item, f"id-{item}", "cancelled") from None
        return f"id-{item}"

    async def follow(self, outcome: Outcome) -> None:
        self.following += 1
        try:
            await self.pause()
            self.ends.append(item_of(outcome))
        finally:
            self.following -= 1

    def fan(self, items: Any, concurrency: int = 3, grace: float = 30.0) -> FanOut:
        return FanOut(items, lambda: self.work, concurrency=concurrency, grace=grace)


def item_of(outcome: Outcome) -> Any:
    """An item; a fan-out takes any, whatever an Outcome calls it."""
    return outcome.request


def known(outcomes: Iterable[Outcome]) -> list[str]:
    """Every id that outcomes tell of, the uncertain ones included; each item is told of once."""
    outcomes = list(outcomes)
    assert len({outcome.index for outcome in outcomes}) == len(outcomes)
    uncertain = [one.error.key for one in outcomes if isinstance(one.error, SubmissionUncertain)]
    return [*(one for outcome in outcomes for one in outcome.task_ids), *uncertain]


async def collect(fan: FanOut, into: list[Outcome]) -> None:
    async for outcome in fan:
        into.append(outcome)  # noqa: PERF401 - what came before a cancellation counts


async def complete(fan: FanOut, _: list[Outcome]) -> None:
    await fan


async def cancelled(task: asyncio.Task[Any] | asyncio.Future[Any], after: float) -> float:
    """Cancel a task after so many seconds; return how many more it took to end."""
    await asyncio.sleep(after)
    began = asyncio.get_running_loop().time()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    return asyncio.get_running_loop().time() - began


MODES = pytest.mark.parametrize("consume", [complete, collect])
Consume = Callable[[FanOut, list[Outcome]], Awaitable[None]]


# --- Bounded, lazy, in order


@simulated
@MODES
@pytest.mark.parametrize("concurrency", [1, 2, 7, 50])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_never_more_at_once_than_the_concurrency(
    consume: Consume, concurrency: int, asynchronous: bool
) -> None:
    studio, seen = Studio(step=1.0), list[Outcome]()
    items = studio.aitems(20) if asynchronous else studio.items(20)
    fan = studio.fan(items, concurrency)
    await consume(fan, seen)
    assert sorted(item_of(outcome) for outcome in seen or fan.outcomes) == [*range(20)]
    if not asynchronous:
        assert studio.most == min(concurrency, 20)
    assert studio.most <= concurrency


@simulated
@MODES
async def test_the_input_is_pulled_only_when_there_is_a_slot(consume: Consume) -> None:
    studio = Studio(step=1.0)
    ahead: list[int] = []

    def items() -> Iterator[int]:
        for number in studio.items(30):
            ahead.append(studio.pulled - len(studio.paid))
            yield number

    await consume(studio.fan(items(), 4), [])
    assert max(ahead) <= 4


@simulated
async def test_an_endless_input_is_pulled_as_it_is_consumed() -> None:
    studio = Studio()
    fan = studio.fan(studio.items(10**9), 4)
    async with aclosing(aiter(fan)) as outcomes:
        count = 0
        async for _ in outcomes:
            count += 1
            assert studio.pulled <= count + 3 * 4
            if count == 200:
                break
    assert len(fan.outcomes) <= 3 * 4


@simulated
@pytest.mark.parametrize("follow", [False, True])
async def test_a_slow_consumer_holds_the_producers_back(
    follow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MAX_FOLLOW_UPS", 5)
    studio = Studio(step=0.01, follow=follow)
    fan = studio.fan(studio.items(100), 4)
    count, waiting = 0, 0
    async for _ in fan:
        count += 1
        await asyncio.sleep(10.0)
        waiting = max(waiting, len(fan.outcomes))
        assert len(studio.paid) <= count + 20
    assert count == 100
    assert waiting <= 8


@simulated
async def test_outcomes_come_the_moment_they_end_and_are_in_order_when_awaited() -> None:
    async def work(outcome: Outcome, guard: Guard) -> None:
        await asyncio.sleep(float(item_of(outcome)))
        outcome.task_ids = (str(item_of(outcome)),)

    loop = asyncio.get_running_loop()
    began, fan = loop.time(), FanOut([3, 1, 2], lambda: work, concurrency=3, grace=1.0)
    came = [(item_of(outcome), loop.time() - began) async for outcome in fan]
    assert came == [(1, 1.0), (2, 2.0), (3, 3.0)]
    fan = FanOut([3, 1, 2], lambda: work, concurrency=3, grace=1.0)
    assert await fan is fan
    assert [item_of(outcome) for outcome in fan.outcomes] == [3, 1, 2]
    assert [outcome.index for outcome in fan.outcomes] == [0, 1, 2]
    assert fan.task_ids == ["3", "1", "2"]
    assert fan.errors == []
    fan.raise_for_errors()


@simulated
@MODES
async def test_nothing_in_nothing_out(consume: Consume) -> None:
    studio, seen = Studio(), list[Outcome]()
    fan = studio.fan([], 5)
    await consume(fan, seen)
    assert (seen, fan.outcomes, fan.task_ids, fan.errors) == ([], [], [], [])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 8),
    st.booleans(),
    st.booleans(),
)
def test_every_item_has_one_outcome(
    items: list[tuple[int, bool, bool]], concurrency: int, iterated: bool, asynchronous: bool
) -> None:
    async def work(outcome: Outcome, guard: Guard) -> FollowUp | None:
        steps, fails, follows = item_of(outcome)
        await hops(steps)
        if fails:
            raise UploadError("no")
        return (lambda outcome: hops(steps)) if follows else None

    async def aitems() -> AsyncIterator[Any]:
        for item in items:
            await hops(item[0])
            yield item

    @simulated
    async def run() -> None:
        source = aitems() if asynchronous else items
        fan = FanOut(source, lambda: work, concurrency=concurrency, grace=1.0)
        seen: list[Outcome] = []
        await (collect(fan, seen) if iterated else complete(fan, seen))
        outcomes = sorted(seen or fan.outcomes, key=lambda outcome: outcome.index)
        assert [outcome.index for outcome in outcomes] == [*range(len(items))]
        assert [item_of(outcome) for outcome in outcomes] == items
        assert [not outcome.ok for outcome in outcomes] == [fails for _, fails, _ in items]

    run()


# --- What goes wrong


@simulated
@MODES
async def test_one_bad_item_leaves_the_others_alone(consume: Consume) -> None:
    studio, seen = Studio(), list[Outcome]()
    wrong = ValueError("bad item")

    async def work(outcome: Outcome, guard: Guard) -> None:
        await studio.work(outcome, guard)
        if item_of(outcome) == 3:
            raise wrong

    fan = FanOut(studio.items(8), lambda: work, concurrency=2, grace=1.0)
    await consume(fan, seen)
    outcomes = seen or fan.outcomes
    assert [(item_of(outcome), outcome.error) for outcome in outcomes if not outcome.ok] == [
        (3, wrong)
    ]
    assert sorted(known(outcomes)) == [f"id-{number}" for number in range(8)]


@simulated
async def test_errors_are_raised_together_when_asked_for() -> None:
    async def work(outcome: Outcome, guard: Guard) -> None:
        raise UploadError(str(item_of(outcome)))

    fan = await FanOut(range(3), lambda: work, concurrency=2, grace=1.0)
    with pytest.raises(ExceptionGroup, match="3 of 3") as raised:
        fan.raise_for_errors()
    assert list(raised.value.exceptions) == fan.errors
    assert [str(error) for error in fan.errors] == ["0", "1", "2"]


def breaking(studio: Studio) -> Iterator[int]:
    yield from studio.items(5)
    raise OSError("the file ends here")


async def abreaking(studio: Studio) -> AsyncIterator[int]:
    for number in breaking(studio):
        await hops(1)
        yield number


@simulated
@MODES
@pytest.mark.parametrize("source", [breaking, abreaking])
async def test_an_input_that_raises_is_raised_when_what_was_under_way_has_ended(
    consume: Consume, source: Any
) -> None:
    studio, seen = Studio(step=1.0, follow=True), list[Outcome]()
    fan = studio.fan(source(studio), 4)
    with pytest.raises(OSError, match="the file ends here"):
        await consume(fan, seen)
    assert sorted(known([*seen, *fan.outcomes])) == [f"id-{number}" for number in range(5)]
    assert sorted(studio.ends) == [*range(5)]
    assert fan.errors == []


@simulated
async def test_an_input_that_raised_and_is_not_listened_to_complains_not() -> None:
    studio = Studio(step=1.0)
    fan = studio.fan(breaking(studio), 10)
    async with aclosing(aiter(fan)) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(60.0)  # long since over
            break
    assert len(fan.outcomes) == 4


@simulated
@MODES
async def test_an_item_cancelled_from_within_does_not_pass_for_done(consume: Consume) -> None:
    """Some library cancels its own future below us: the rest of the input is not dropped."""
    studio, seen = Studio(), list[Outcome]()

    async def work(outcome: Outcome, guard: Guard) -> None:
        if item_of(outcome) == 2:
            raise asyncio.CancelledError
        await studio.work(outcome, guard)

    fan = FanOut(studio.items(10), lambda: work, concurrency=1, grace=1.0)
    with pytest.raises((ConfigurationError, asyncio.CancelledError)):
        await consume(fan, seen)
    assert known([*seen, *fan.outcomes]) == ["id-0", "id-1"]


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_concurrency_that_cannot_be_is_refused(concurrency: int) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        Studio().fan([], concurrency)


# --- Follow-ups


@simulated
@MODES
async def test_a_follow_up_takes_no_slot(consume: Consume) -> None:
    together = asyncio.Barrier(20)

    async def work(outcome: Outcome, guard: Guard) -> FollowUp:
        outcome.task_ids = (str(item_of(outcome)),)
        return follow

    async def follow(outcome: Outcome) -> None:
        await together.wait()  # all twenty, with a single slot

    fan = FanOut(range(20), lambda: work, concurrency=1, grace=1.0)
    seen: list[Outcome] = []
    async with asyncio.timeout(60):
        await consume(fan, seen)
    assert len(seen or fan.outcomes) == 20


@simulated
async def test_follow_ups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "MAX_FOLLOW_UPS", 5)
    studio = Studio(step=1.0, follow=True)
    most = 0

    async def follow(outcome: Outcome) -> None:
        nonlocal most
        most = max(most, studio.following + 1)
        await studio.follow(outcome)
        await asyncio.sleep(50.0)

    async def work(outcome: Outcome, guard: Guard) -> FollowUp:
        await studio.work(outcome, guard)
        return follow

    fan = await FanOut(studio.items(40), lambda: work, concurrency=10, grace=1.0)
    assert most <= 5
    assert len(fan.outcomes) == 40


@simulated
@MODES
async def test_a_follow_up_that_fails_is_its_items_error(consume: Consume) -> None:
    async def work(outcome: Outcome, guard: Guard) -> FollowUp:
        outcome.task_ids = (str(item_of(outcome)),)
        return follow

    async def follow(outcome: Outcome) -> None:
        if item_of(outcome) == 1:
            raise UploadError("no")

    fan = FanOut(range(3), lambda: work, concurrency=2, grace=1.0)
    seen: list[Outcome] = []
    await consume(fan, seen)
    bad = [outcome for outcome in seen or fan.outcomes if not outcome.ok]
    assert [(item_of(outcome), outcome.task_ids) for outcome in bad] == [(1, ("1",))]


# --- Cancellation


def steps_of(follow: bool, consume: Consume, asynchronous: bool) -> int:
    """How many steps the loop takes for a whole run."""
    steps = 0

    @simulated
    async def run() -> None:
        nonlocal steps
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        studio = Studio(follow=follow)
        before = loop.steps
        await consume(studio.fan(source(studio, asynchronous)), [])
        steps = loop.steps - before

    run()
    return steps


def source(studio: Studio, asynchronous: bool) -> Any:
    return studio.aitems(7) if asynchronous else studio.items(7)


@MODES
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("again", [None, 1, 2, 3, 5, 8, 13])
def test_cancelled_after_any_step_no_id_is_lost(
    consume: Consume, follow: bool, asynchronous: bool, again: int | None
) -> None:
    """After each single step that the loop takes; with a second cancellation some steps later."""
    for step in range(steps_of(follow, consume, asynchronous) + 3):
        cancelled_after(step, consume, follow, asynchronous, again)


def cancelled_after(
    step: int, consume: Consume, follow: bool, asynchronous: bool, again: int | None
) -> None:
    @simulated
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        studio, seen = Studio(follow=follow), list[Outcome]()
        fan = studio.fan(source(studio, asynchronous))
        begun: list[Any] = []

        task = asyncio.ensure_future(consume(fan, seen))

        def cancel() -> None:
            if task.cancel() and not begun:
                begun.extend(studio.begun)
                begun.append("cancelled")

        loop.interrupt(step, cancel)
        if again is not None:
            loop.interrupt(step + again, cancel)
        await asyncio.wait({task})
        told = known([*seen, *fan.outcomes])
        assert {*studio.paid} <= {*told}, f"lost after step {step}"
        assert {*told} <= {f"id-{item}" for item in studio.begun}
        if again is None:
            assert fan.errors == [], "within the grace every create under way was answered"
        if not task.cancelled():
            assert len(told) == 7
        elif begun:
            new = {*studio.begun} - {*begun}
            assert len(new) <= 3, "what had its slot at the moment may begin, nothing else"
        paid = len(studio.paid)
        await hops(50)
        assert len(studio.paid) == paid, "something went on afterwards"

    run()


@simulated
@MODES
@pytest.mark.parametrize("follow", [False, True])
async def test_paid_steps_end_within_the_grace_and_nothing_new_starts(
    consume: Consume, follow: bool
) -> None:
    studio, seen = Studio(step=10.0, follow=follow), list[Outcome]()
    fan = studio.fan(studio.items(100), 3, grace=30.0)
    task = asyncio.ensure_future(consume(fan, seen))
    await asyncio.sleep(15.0)  # three creates are under way
    assert (studio.begun, studio.paid) == ([0, 1, 2], [])
    assert await cancelled(task, 0) <= 16.0, "no longer than they take"
    assert sorted(known(fan.outcomes)) == ["id-0", "id-1", "id-2"] == sorted(fan.task_ids)
    assert studio.begun == [0, 1, 2]
    assert studio.pulled == 3, "an item that will not begin is left where it was"
    assert studio.following == 0
    assert fan.errors == []


@simulated
@MODES
@pytest.mark.parametrize("before", [0, 2])
async def test_what_is_not_paid_yet_is_cut_at_once(consume: Consume, before: int) -> None:
    """The pacer, an upload, the wait before another try: only paid steps have a grace."""
    studio = Studio(step=1.0)

    async def work(outcome: Outcome, guard: Guard) -> None:
        if item_of(outcome) >= before:
            await asyncio.sleep(1_000.0)
        await studio.work(outcome, guard)

    fan = FanOut(studio.items(100), lambda: work, concurrency=1, grace=600.0)
    task = asyncio.ensure_future(consume(fan, []))
    assert await cancelled(task, 100.0) == 0
    assert len(studio.begun) == before
    assert not any(item_of(one) >= before for one in fan.outcomes), "it had not begun"


@simulated
@MODES
async def test_a_refused_create_is_not_tried_again_when_cancelled(consume: Consume) -> None:
    tries = 0

    async def refused() -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(10.0)
        raise UploadError("busy")

    async def work(outcome: Outcome, guard: Guard) -> None:
        while True:
            try:
                with guard:
                    await refused()
            except UploadError:
                await asyncio.sleep(1.0)

    task = asyncio.ensure_future(consume(FanOut([1], lambda: work, concurrency=1, grace=600.0), []))
    await cancelled(task, 5.0)
    assert tries == 1


@simulated
@MODES
async def test_after_the_grace_what_is_still_under_way_is_uncertain(consume: Consume) -> None:
    studio = Studio(step=1_000.0)
    fan = studio.fan(studio.items(100), 3, grace=30.0)
    task = asyncio.ensure_future(consume(fan, []))
    assert await cancelled(task, 2_500.0) == pytest.approx(30.0)  # paid, not answered
    assert len(studio.paid) == 3
    assert sorted(known(fan.outcomes)) == ["id-0", "id-1", "id-2"]
    assert [type(error) for error in fan.errors] == [SubmissionUncertain] * 3


@simulated
@MODES
async def test_a_second_cancellation_ends_the_grace(consume: Consume) -> None:
    studio = Studio(step=1_000.0)
    fan = studio.fan(studio.items(100), 3, grace=600.0)
    task = asyncio.ensure_future(consume(fan, []))
    await asyncio.sleep(2_500.0)
    task.cancel()
    await asyncio.sleep(5.0)
    assert not task.done()
    assert await cancelled(task, 0) == pytest.approx(0.0)
    assert sorted(known(fan.outcomes)) == ["id-0", "id-1", "id-2"]


@simulated
@MODES
async def test_follow_ups_are_cut_short_and_their_ids_are_kept(consume: Consume) -> None:
    studio = Studio(step=1.0, follow=True)

    async def forever(outcome: Outcome) -> None:
        outcome.error = TimeoutError()
        await asyncio.Event().wait()

    async def work(outcome: Outcome, guard: Guard) -> FollowUp:
        await studio.work(outcome, guard)
        return forever

    fan = FanOut(studio.items(6), lambda: work, concurrency=2, grace=30.0)
    task = asyncio.ensure_future(consume(fan, []))
    await cancelled(task, 100.0)
    assert sorted(fan.task_ids) == [f"id-{number}" for number in range(6)]
    assert len(fan.errors) == 6


@simulated
async def test_breaking_out_ends_it() -> None:
    studio = Studio(step=10.0)
    fan = studio.fan(studio.items(100), 3)
    seen = []
    async for outcome in fan:
        seen.append(outcome)
        if len(seen) == 4:
            break
    await fan.aclose()
    paid = len(studio.paid)
    assert sorted(known([*seen, *fan.outcomes])) == sorted(studio.paid)
    await asyncio.sleep(1_000.0)
    assert len(studio.paid) == paid
    await fan.aclose()


@simulated
async def test_closing_from_elsewhere_ends_a_wait_for_all() -> None:
    studio = Studio(step=10.0)
    fan = studio.fan(studio.items(100), 3)
    waiting = asyncio.ensure_future(complete(fan, []))
    await asyncio.sleep(15.0)
    closing = asyncio.ensure_future(fan.aclose())
    await asyncio.sleep(1.0)
    await asyncio.gather(fan.aclose(), fan.aclose())
    await closing
    assert sorted(known(fan.outcomes)) == ["id-0", "id-1", "id-2"]
    assert fan.errors == [], "closing twice does not end the grace"
    with pytest.raises(ConfigurationError, match="closed"):
        await waiting


@simulated
async def test_closing_what_has_not_begun_is_nothing() -> None:
    studio = Studio()
    fan = studio.fan(studio.items(3))
    await fan.aclose()
    assert len((await fan).task_ids) == 3


@simulated
async def test_an_async_input_is_closed_by_the_cancellation() -> None:
    ended = False

    async def items() -> AsyncIterator[int]:
        nonlocal ended
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended = True

    task = asyncio.ensure_future(complete(Studio().fan(items()), []))
    await cancelled(task, 1.0)
    assert ended


# --- Fair to the loop


@simulated
@MODES
async def test_ten_thousand_items_that_never_wait_do_not_hold_the_loop(consume: Consume) -> None:
    ended, turns, most, last = 0, 0, 0, 0

    async def counting(outcome: Outcome, guard: Guard) -> None:
        nonlocal ended
        ended += 1

    async def other() -> None:
        nonlocal turns, most, last
        while True:
            turns += 1
            most, last = max(most, ended - last), ended
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    fan = FanOut(range(10_000), lambda: counting, concurrency=4, grace=1.0)
    seen: list[Outcome] = []
    await consume(fan, seen)
    beside.cancel()
    assert len(seen or fan.outcomes) == 10_000
    assert turns > 30
    assert most <= 1_000, "that many items in one turn of the loop"


@simulated
async def test_the_repr_is_short() -> None:
    studio = Studio()
    fan = await studio.fan(studio.items(500))
    assert repr(fan) == "<FanOut 500 ok>"


# --- carry


async def answer(after: float, ended: list[str] | None = None) -> str:
    try:
        await asyncio.sleep(after)
    except asyncio.CancelledError:
        if ended is not None:
            ended.append("cut")
        raise
    return "id"


@simulated
async def test_a_step_that_is_not_disturbed_is_just_awaited() -> None:
    late: list[str] = []
    assert await run_shielded(answer(1.0), 30.0, late.append) == "id"

    async def fails() -> str:
        raise UploadError("no")

    with pytest.raises(UploadError):
        await run_shielded(fails(), 30.0, late.append)
    assert late == []


@simulated
@pytest.mark.parametrize(("takes", "grace", "told"), [(10.0, 30.0, ["id"]), (10.0, 5.0, [])])
async def test_a_cancelled_step_has_its_grace(takes: float, grace: float, told: list[str]) -> None:
    late: list[str] = []
    cut: list[str] = []
    task = asyncio.ensure_future(run_shielded(answer(takes, cut), grace, late.append))
    assert await cancelled(task, 1.0) == min(takes - 1, grace)
    assert late == told
    assert cut == ([] if told else ["cut"])


@simulated
async def test_an_error_within_the_grace_is_raised_without_a_warning() -> None:
    async def fails() -> str:
        await asyncio.sleep(10.0)
        raise UploadError("no")

    late: list[object] = []
    task = asyncio.ensure_future(run_shielded(fails(), 30.0, late.append))
    await cancelled(task, 1.0)
    assert list(map(repr, late)) == ["UploadError('no')"]


@pytest.mark.parametrize("again", [None, 1, 2, 3, 4])
def test_cancelled_after_any_step_the_answer_is_still_reported(again: int | None) -> None:
    for step in range(30):
        carried_and_cancelled_after(step, again)


def carried_and_cancelled_after(step: int, again: int | None) -> None:
    @simulated
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        late: list[str] = []
        paid: list[str] = []
        answered: list[str] = []

        async def create() -> str:
            await hops(3)
            paid.append("id")
            await hops(3)
            answered.append("id")
            return "id"

        async def submit() -> str:
            return await run_shielded(create(), 30.0, late.append)

        task = asyncio.ensure_future(submit())
        loop.interrupt(step, task.cancel)
        if again is not None:
            loop.interrupt(step + again, task.cancel)
        await asyncio.wait({task})
        await hops(10)
        told = late if task.cancelled() else [task.result()]
        assert told == answered, f"what was answered is not told: step {step}"
        if again is None:
            assert told == paid

    run()
