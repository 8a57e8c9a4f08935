"""Retries transient failures, as the policy allows. Only this file imports tenacity."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ..errors import APIError, KeevxError
from ..events import Emit, Retrying
from ..settings import RetryPolicy
from .api_key import KeySource

log = logging.getLogger("keevx_async.http")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ATTEMPT_NUMBER: ContextVar[int] = ContextVar("keevx_async_attempt_number", default=1)
"""The running asyncio task's attempt number. It is set from the second attempt on, so the first
attempt costs nothing."""


def correlation(
    key: str, seconds: float | None = None, status: int | None = None, request_id: str = ""
) -> dict[str, Any]:
    """Return a log record's ``extra``, which makes it possible to find all of a create's records.

    Args:
        key: the create's key; empty for a free request.
        seconds: seconds since the logged operation started; None if it was not timed.
        status: the HTTP status; None if there is no response.
        request_id: the request id in the response's headers.
    """
    return {
        "key": key,
        "attempt": ATTEMPT_NUMBER.get(),
        "elapsed_ms": None if seconds is None else round(1000 * seconds, 1),
        "status": status,
        "request_id": request_id,
    }


def error_correlation(key: str, error: object, seconds: float | None = None) -> dict[str, Any]:
    """Return the ``extra`` for a log record about an error, with its HTTP status and request id."""
    status, request_id = getattr(error, "status", None), getattr(error, "request_id", "")
    return correlation(key, seconds, status, request_id)


class Retryable(Exception):
    """Raised by an attempt that may be repeated.

    Attributes:
        error: the error to raise if the attempt is not repeated.
        delay: the server's requested delay before the next attempt, in seconds; 0 if something else
            paces the attempts; None to use the policy's delay.
    """

    def __init__(self, error: KeevxError, delay: float | None = None) -> None:
        super().__init__(error, delay)
        self.error = error
        self.delay = delay


class Retrier:
    """Retries attempts under one policy. One instance serves any number of concurrent calls.

    Args:
        policy: the limits on the number of attempts and on their total time.
        sleep: waits for a number of seconds; tests pass their own function.
        clock: returns the time in seconds; tests pass their own function.
        uniform: returns a random number in [0, 1) for the jitter.
        emit: receives a ``Retrying`` event before each retry.
        key: renews a refused API key; None if the key is fixed.

    Attributes:
        policy: the retry policy.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
        emit: Emit | None = None,
        key: KeySource | None = None,
    ) -> None:
        self.policy = policy
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform
        self._emit = emit
        self._key = key

    async def run(self, attempt: Callable[[*Ts], Awaitable[T]], *args: *Ts, key: str = "") -> T:
        """Return attempt's result; retry while it raises Retryable and the policy allows.

        A cancellation takes effect at once, even between attempts.

        Args:
            attempt: called with args each time.
            args: the attempt's arguments.
            key: the create's key; empty for a free request.

        Raises:
            KeevxError: the last ``Retryable.error``, or any other error that attempt raised.
        """
        began = self._clock()
        call = attempt if self._key is None else partial(self._key.retry_refused, attempt)
        try:
            return await call(*args)
        except Retryable as retryable:
            first = retryable
        return await self._repeat(partial(call, *args), first, began, key)

    async def _repeat(
        self, attempt: Callable[[], Awaitable[T]], first: Retryable, began: float, key: str
    ) -> T:
        # Entered only after a failure, so that tenacity costs nothing if the first attempt
        # succeeds. The failure counts as tenacity's first attempt. Another attempt follows unless
        # 1. the policy's number of attempts has been made, or
        # 2. the wait before it would end after the deadline.
        # The wait is the server's requested delay, if any; otherwise it is the policy's.
        pending: list[Retryable] = [first]
        number, before = 0, ATTEMPT_NUMBER.set(1)

        async def next_attempt() -> T:
            nonlocal number
            number += 1
            if pending:
                raise pending.pop()
            ATTEMPT_NUMBER.set(number)
            return await attempt()

        def counted(error: KeevxError) -> KeevxError:
            if isinstance(error, APIError):
                error.attempts = number
            return error

        def wait(state: RetryCallState) -> float:
            delay = _failure(state).delay
            policy = self.policy
            return policy.delay(state.attempt_number, self._uniform) if delay is None else delay

        deadline = began + self.policy.deadline

        def stop(state: RetryCallState) -> bool:
            late = self._clock() + state.upcoming_sleep > deadline
            return late or state.attempt_number >= self.policy.attempts

        def before_sleep(state: RetryCallState) -> None:
            delay, error = state.upcoming_sleep, _failure(state).error
            log.info(
                "%sattempt %d failed: %s; next attempt in %.1f s",
                f"create {key}: " if key else "",
                number,
                error,
                delay,
                extra=error_correlation(key, error, self._clock() - began),
            )
            if self._emit is not None:
                self._emit(Retrying(key, number, delay, error))

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=wait,
            stop=stop,
            retry=retry_if_exception_type(Retryable),
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            return await retrying(next_attempt)
        except Retryable as retryable:
            raise counted(retryable.error) from retryable.__cause__
        except APIError as error:
            raise counted(error) from error.__cause__
        finally:
            ATTEMPT_NUMBER.reset(before)


def _failure(state: RetryCallState) -> Retryable:
    return cast(Retryable, state.outcome and state.outcome.exception())


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the delay that a response asks for, in seconds; None if ``Retry-After`` is not valid.

    A date is compared with the response's own ``Date``, so a wrong clock on either side does not
    change the delay. Without a ``Date``, it is compared with ``now``. A date in the past counts as
    0.

    Args:
        headers: the response's headers; ``Retry-After`` (RFC 9110, 10.2.3) is seconds or a date.
        now: seconds since the epoch, by our own clock.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    when = _http_date(text)
    if when is None:
        return None
    sent = _http_date(headers.get("Date", ""))
    return max(0.0, (when - (sent or datetime.fromtimestamp(now, UTC))).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
