"""Repeating: scripted attempts, a clock set by hand, no real wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.errors import APIError, ConnectionFailed, RateLimitError, ServerError
from keevx_async.http import retry
from keevx_async.http.retry import Retrier, Retryable
from keevx_async.settings import RetryPolicy
from tests.conftest import FakeClock

BUSY = ServerError(500, None, "busy")
SLOW = RateLimitError(429, None, "slow down")


class Script:
    """Attempts that end as written, each after so many seconds; then "done"."""

    def __init__(self, clock: FakeClock, *ends: Exception, lasting: float = 0.0) -> None:
        self.clock = clock
        self.ends = [*ends]
        self.lasting = lasting
        self.began: list[float] = []

    async def __call__(self) -> str:
        self.began.append(self.clock())
        self.clock.advance(self.lasting)
        if self.ends:
            raise self.ends.pop(0)
        return "done"


def retrier(clock: FakeClock, uniform: float = 0.5, **policy: Any) -> Retrier:
    return Retrier(RetryPolicy(**policy), sleep=clock.sleep, clock=clock, uniform=lambda: uniform)


async def test_a_first_success_pays_for_no_machinery(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*_: Any, **__: Any) -> None:
        raise AssertionError("tenacity was built for a first attempt that went well")

    monkeypatch.setattr(retry, "AsyncRetrying", built)
    script = Script(clock)
    assert await retrier(clock).run(script) == "done"
    assert len(script.began) == 1
    with pytest.raises(AssertionError, match="tenacity was built"):
        await retrier(clock).run(Script(clock, Retryable(BUSY)))  # the trap works


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=6))
def test_each_wait_is_the_policys(chances: list[float]) -> None:
    clock, drawn = FakeClock(), iter(chances)
    policy = RetryPolicy(first_delay=0.3, max_delay=2.0)
    made = Retrier(policy, sleep=clock.sleep, clock=clock, uniform=lambda: next(drawn))
    asyncio.run(_done(made, Script(clock, *[Retryable(BUSY)] * len(chances))))
    wanted = [policy.delay(n, lambda c=c: c) for n, c in enumerate(chances, 1)]  # type: ignore[misc]
    assert clock.sleeps == wanted


async def _done(made: Retrier, attempt: Callable[[], Awaitable[str]]) -> None:
    assert await made.run(attempt) == "done"


@pytest.mark.parametrize("asked", [0.0, 7.0, 90.0])
async def test_what_the_server_asked_for_is_waited_exactly(clock: FakeClock, asked: float) -> None:
    script = Script(clock, Retryable(SLOW, asked), Retryable(BUSY))
    made = retrier(clock, uniform=1.0, first_delay=0.5, max_delay=1.0)
    assert await made.run(script) == "done"
    assert clock.sleeps == [asked, 1.0], "no cap and no jitter on the first, the policy's then"


async def test_a_wait_past_the_deadline_fails_at_once(clock: FakeClock) -> None:
    script = Script(clock, Retryable(SLOW, 61.0))
    with pytest.raises(RateLimitError) as raised:
        await retrier(clock, deadline=60.0).run(script)
    assert raised.value is SLOW
    assert clock.sleeps == []
    assert len(script.began) == 1


async def test_a_wait_up_to_the_deadline_is_waited(clock: FakeClock) -> None:
    assert await retrier(clock, deadline=60.0).run(Script(clock, Retryable(SLOW, 59.0))) == "done"
    assert clock.sleeps == [59.0]


async def test_the_deadline_counts_from_the_first_attempt(clock: FakeClock) -> None:
    script = Script(clock, *[Retryable(BUSY, 10.0)] * 9, lasting=25.0)
    with pytest.raises(ServerError):
        await retrier(clock, deadline=100.0, attempts=99).run(script)
    begun_after = [when - script.began[0] for when in script.began]
    assert begun_after == [0.0, 35.0, 70.0], "a fourth would begin at 105"


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=12),
    st.floats(1, 200),
    st.integers(1, 10),
)
def test_no_attempt_begins_late_or_too_often(
    ends: list[tuple[float | None, float]], deadline: float, attempts: int
) -> None:
    clock = FakeClock()
    began: list[float] = []
    script = iter(ends)

    async def attempt() -> str:
        began.append(clock())
        end = next(script, None)
        if end is None:
            return "done"
        clock.advance(end[1])
        raise Retryable(BUSY, end[0])

    async def run() -> None:
        try:
            await retrier(clock, deadline=deadline, attempts=attempts).run(attempt)
        except ServerError:
            assert len(began) <= len(ends), "it gave up though the next would go well"
        else:
            assert len(began) == len(ends) + 1

    asyncio.run(run())
    assert len(began) <= attempts
    assert began[-1] - began[0] <= deadline + 1e-6


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_exhausted_it_raises_the_last_error_with_its_cause(
    clock: FakeClock, attempts: int
) -> None:
    errors = [ConnectionFailed("api.example", str(number)) for number in range(attempts)]
    cause = OSError("refused")
    ends = [Retryable(error) for error in errors]
    for end in ends:
        end.__cause__ = cause
    script = Script(clock, *ends)
    with pytest.raises(ConnectionFailed) as raised:
        await retrier(clock, attempts=attempts).run(script)
    assert raised.value is errors[-1]
    assert raised.value.__cause__ is cause
    assert len(script.began) == attempts
    assert len(clock.sleeps) == attempts - 1


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [APIError(400, 100001, "no"), RuntimeError("bug"), asyncio.CancelledError()]
)
async def test_what_is_not_to_be_repeated_passes_through(
    clock: FakeClock, before: int, error: Exception
) -> None:
    script = Script(clock, *[Retryable(BUSY)] * before, error)
    with pytest.raises(type(error)) as raised:
        await retrier(clock).run(script)
    assert raised.value is error
    assert len(script.began) == before + 1


async def test_a_cancelled_wait_ends_it() -> None:
    clock = FakeClock()
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    script = Script(clock, Retryable(BUSY))
    task = asyncio.ensure_future(Retrier(RetryPolicy(), sleep=sleep).run(script))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(script.began) == 1


async def test_one_retrier_serves_many_at_once(clock: FakeClock) -> None:
    made = retrier(clock, attempts=3)
    scripts = [Script(clock, *[Retryable(BUSY)] * (number % 3)) for number in range(20)]
    assert await asyncio.gather(*map(made.run, scripts)) == ["done"] * 20
    assert [len(script.began) for script in scripts] == [number % 3 + 1 for number in range(20)]


async def test_a_retry_is_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "keevx_async")
    await retrier(clock).run(Script(clock, Retryable(SLOW, 7.0)))
    assert "slow down" in caplog.text
    assert "7.0 s" in caplog.text
