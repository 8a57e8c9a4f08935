"""Repeating an attempt, as the verdict allows. tenacity lives here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, TypeVarTuple, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ..errors import KeevxError
from ..events import Emit, Retrying
from ..settings import RetryPolicy

log = logging.getLogger("keevx_async")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Retryable(Exception):
    """Raised by an attempt that may be repeated.

    Attributes:
        error: what to raise if it is not.
        delay: seconds that the server asked for, 0 where something else does the pacing,
            None to leave it to the policy.
    """

    def __init__(self, error: KeevxError, delay: float | None = None) -> None:
        super().__init__(error, delay)
        self.error = error
        self.delay = delay


class Retrier:
    """Repeats attempts under one policy.

    Args:
        policy: how often and for how long.
        sleep: waits for the given seconds; tests pass their own.
        clock: tells the time in seconds; likewise.
        uniform: returns a number in [0, 1) for the jitter.
        emit: told of each repetition.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
        emit: Emit | None = None,
    ) -> None:
        self.policy = policy
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform
        self._emit = emit

    async def __call__(self, attempt: Callable[[*Ts], Awaitable[T]], *given: *Ts) -> T:
        """Return what attempt returns, repeating it while it raises Again and the policy allows.

        Args:
            attempt: what to do.
            given: what to do it with.

        Raises:
            KeevxError: the last ``Again.error``, or whatever else attempt raised.
        """
        began = self._clock()
        try:
            return await attempt(*given)
        except Retryable as again:
            first = again
        return await self._repeat(partial(attempt, *given), first, began + self.policy.deadline)

    async def _repeat(
        self, attempt: Callable[[], Awaitable[T]], first: Retryable, deadline: float
    ) -> T:
        """Go on after a first failure: only then is tenacity's machinery paid for."""
        pending: list[Retryable] = [first]

        async def next_attempt() -> T:
            if pending:
                raise pending.pop()
            return await attempt()

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=self._wait,
            stop=lambda state: self._is_last(state, deadline),
            retry=retry_if_exception_type(Retryable),
            before_sleep=self._report,
            reraise=True,
        )
        try:
            return await retrying(next_attempt)
        except Retryable as again:
            raise again.error from again.__cause__

    def _wait(self, state: RetryCallState) -> float:
        again = _failure(state)
        if again.delay is not None:
            return again.delay
        return self.policy.delay(state.attempt_number, self._uniform)

    def _is_last(self, state: RetryCallState, deadline: float) -> bool:
        late = self._clock() + state.upcoming_sleep > deadline
        return late or state.attempt_number >= self.policy.attempts

    def _report(self, state: RetryCallState) -> None:
        attempt, delay, error = state.attempt_number, state.upcoming_sleep, _failure(state).error
        log.info("attempt %d: %s; again in %.1f s", attempt, error, delay)
        if self._emit is not None:
            self._emit(Retrying(attempt, delay, error))


def _failure(state: RetryCallState) -> Retryable:
    return cast(Retryable, state.outcome and state.outcome.exception())
