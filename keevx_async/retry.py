"""Repeating an attempt, as the verdict allows. tenacity lives here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from .errors import KeevxError
from .verdict import RetryPolicy

log = logging.getLogger("keevx_async")
T = TypeVar("T")


class Again(Exception):
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
        uniform: returns a number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self._sleep = sleep
        self._uniform = uniform

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what attempt returns, repeating it while it raises Again and the policy allows.

        Raises:
            KeevxError: the last ``Again.error``, or whatever else attempt raised.
        """
        try:
            return await attempt()
        except Again as again:
            first = again
        return await self._repeat(attempt, first)

    async def _repeat(self, attempt: Callable[[], Awaitable[T]], first: Again) -> T:
        """Go on after a first failure: only then is tenacity's machinery paid for."""
        pending: list[Again] = [first]

        async def next_attempt() -> T:
            if pending:
                raise pending.pop()
            return await attempt()

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=self._wait,
            stop=self._stop,
            retry=retry_if_exception_type(Again),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return await retrying(next_attempt)
        except Again as again:
            raise again.error from again.error.__cause__

    def _wait(self, state: RetryCallState) -> float:
        again = _failure(state)
        if again.delay is not None:
            return again.delay
        return self.policy.delay(state.attempt_number, self._uniform)

    def _stop(self, state: RetryCallState) -> bool:
        spent = state.seconds_since_start or 0.0
        ahead = state.upcoming_sleep
        return state.attempt_number >= self.policy.attempts or spent + ahead > self.policy.deadline


def _failure(state: RetryCallState) -> Again:
    return cast(Again, state.outcome and state.outcome.exception())


def _log_retry(state: RetryCallState) -> None:
    log.info(
        "attempt %d: %s; again in %.1f s",
        state.attempt_number,
        _failure(state).error,
        state.upcoming_sleep,
    )
