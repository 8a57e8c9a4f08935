"""One timer for all exchanges: each ends when its time is up, and no other cancellation is lost."""

import asyncio

import pytest

from keevx_async.http.timeouts import Deadline, ExchangeTimer
from tests.support.simulated import hops, simulated


async def spend(deadlines: ExchangeTimer, seconds: float) -> float:
    """Sleep under a deadline; return when it ended, of the loop's clock."""
    with Deadline(deadlines):
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


@simulated
async def test_each_ends_when_its_own_time_is_up() -> None:
    deadlines, loop = ExchangeTimer(10.0), asyncio.get_running_loop()
    began, ended = loop.time(), dict[int, float]()

    async def one(number: int) -> None:
        await asyncio.sleep(number)
        try:
            await spend(deadlines, 60)
        except TimeoutError:
            ended[number] = loop.time() - began

    await asyncio.gather(*(one(number) for number in range(7)))
    assert ended == {number: number + 10.0 for number in range(7)}


@simulated
async def test_what_ends_in_time_is_left_alone() -> None:
    deadlines = ExchangeTimer(10.0)
    await asyncio.gather(*(spend(deadlines, 9.9) for _ in range(5)))
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    await asyncio.sleep(60)  # the timer rings for nobody


@simulated
async def test_it_can_be_used_again_after_a_silence() -> None:
    deadlines = ExchangeTimer(10.0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await spend(deadlines, 11)
        await asyncio.sleep(100)


@simulated
async def test_without_seconds_nothing_is_cut() -> None:
    for none in (None, 0, -1.0):  # aiohttp takes them all for no limit
        await spend(ExchangeTimer(none), 1e6)


@simulated
async def test_a_cancellation_from_outside_stays_one() -> None:
    task = asyncio.ensure_future(spend(ExchangeTimer(10.0), 60))
    await hops(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@simulated
async def test_a_cancellation_at_the_same_moment_is_not_swallowed() -> None:
    task = asyncio.ensure_future(spend(ExchangeTimer(10.0), 60))
    asyncio.get_running_loop().call_later(10.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@simulated
async def test_a_timeout_leaves_the_task_fit_for_asyncio_timeout() -> None:
    """A count of cancellations that is not taken back would break every timeout after it."""
    with pytest.raises(TimeoutError):
        await spend(ExchangeTimer(10.0), 60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(60)


@simulated
async def test_one_that_was_being_cancelled_before_is_cut_all_the_same() -> None:
    """So is what a fan-out gives a last grace to."""

    async def one() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            with pytest.raises(TimeoutError):
                await spend(ExchangeTimer(10.0), 60)
            raise

    task = asyncio.ensure_future(one())
    await hops(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@simulated
async def test_what_ends_by_itself_as_it_is_cut_ends_as_it_did() -> None:
    deadlines, ended = ExchangeTimer(10.0), list[str]()

    async def one(how: Exception | None) -> None:
        with Deadline(deadlines):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if how is not None:
                    raise how from None
        ended.append("answered")

    with pytest.raises(ValueError, match="of its own"):
        await one(ValueError("of its own"))
    await one(None)
    assert ended == ["answered"]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@simulated
async def test_a_loop_that_stood_still_looks_once_more() -> None:
    """What had arrived while it stood still is read before anything is cut."""
    deadlines, loop = ExchangeTimer(10.0), asyncio.get_running_loop()
    arrived: asyncio.Future[str] = loop.create_future()

    async def answered() -> str:
        with Deadline(deadlines):
            return await arrived

    waiting, silent = asyncio.ensure_future(answered()), asyncio.ensure_future(spend(deadlines, 99))
    await hops(2)
    began = loop.time()
    loop._jump.now += 14.0  # type: ignore[attr-defined] # 4 s late
    loop.call_later(0.1, arrived.set_result, "answer")
    assert await waiting == "answer"
    with pytest.raises(TimeoutError):
        await silent
    assert loop.time() - began == pytest.approx(18.0), "given back: the 4 s that it rang late"
    assert not deadlines.due


@simulated
async def test_a_machine_that_slept_is_not_waited_for_as_long_again() -> None:
    deadlines, loop = ExchangeTimer(10.0), asyncio.get_running_loop()
    silent = asyncio.ensure_future(spend(deadlines, 99_999))
    await hops(2)
    loop._jump.now += 3_600.0  # type: ignore[attr-defined]
    began = loop.time()
    with pytest.raises(TimeoutError):
        await silent
    assert loop.time() - began == pytest.approx(10.0)


@simulated
async def test_what_arrives_as_the_timer_rings_counts() -> None:
    deadlines, loop = ExchangeTimer(10.0), asyncio.get_running_loop()
    arrived: asyncio.Future[str] = loop.create_future()
    loop.call_later(10.0, arrived.set_result, "answer")
    with Deadline(deadlines):
        assert await arrived == "answer"
