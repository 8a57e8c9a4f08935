"""Wait for creates to complete, checking many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError

T = TypeVar("T")

WINDOW = 1_000
"""Maximum number of creates checked in one round trip."""
MIN_PAUSE, MAX_PAUSE = 0.1, 2.0
"""Minimum and maximum seconds between checks of all creates. The pause grows until one is done."""
GATHERING = 0.02
"""Seconds spent collecting new keys before their first check. New keys do not wait for the next
check of all creates, so waiting for completed creates one by one is fast."""
MAX_RATE = 2_000
"""Maximum number of creates checked per second, so that Redis has time for other work."""


class CompletionWaiter(Generic[T]):
    """Waits for creates to complete, checking them periodically while anyone is waiting.

    Args:
        check: given some keys, returns those whose creates are complete, each with its result or
            with the error to raise for its waiters.
        sleep: waits for the given number of seconds.
    """

    def __init__(
        self,
        check: Callable[[Sequence[str]], Awaitable[Mapping[str, T | Exception]]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._check = check
        self._sleep = sleep
        self._waiters: dict[str, set[asyncio.Future[T]]] = {}
        self._checking: asyncio.Task[None] | None = None
        self._new: set[str] = set()
        self._arrived = asyncio.Event()

    async def wait(self, key: str) -> T:
        """Wait until a create is complete, and return its result.

        If cancelled, the key is no longer checked unless another caller is waiting for it.

        Raises:
            Exception: the error that ``check`` returned for the key or raised.
            ConfigurationError: the waiter was closed in the meantime.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        if key not in self._waiters:
            self._waiters[key] = set()
            self._new.add(key)
            self._arrived.set()
        self._waiters[key].add(waiter)
        if self._checking is None or self._checking.done():
            self._checking = loop.create_task(self._check_until_done())
        try:
            return await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                others = self._waiters.get(key, set())
                others.discard(waiter)
                if not others:
                    self._waiters.pop(key, None)

    async def close(self) -> None:
        """Stop checking. Waits in progress raise ConfigurationError."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait({self._checking})
        closed = ConfigurationError("the docket was closed while this was waiting")
        for key in list(self._waiters):
            self._resolve(key, closed)

    async def _check_until_done(self) -> None:
        pause = MIN_PAUSE
        while self._waiters:
            keys = list(self._waiters)
            has_news = await self._check_all(keys)
            pause = MIN_PAUSE if has_news else min(MAX_PAUSE, 1.5 * pause)
            sleeping = asyncio.ensure_future(self._sleep(max(pause, len(keys) / MAX_RATE)))
            try:
                while not sleeping.done():
                    await self._check_new(sleeping)
            finally:
                sleeping.cancel()

    async def _check_all(self, keys: Sequence[str]) -> bool:
        """Check some keys, and return whether any create is complete."""
        self._new.difference_update(keys)
        has_news = False
        # One window at a time, because a single script for all keys would block other clients.
        for first in range(0, len(keys), WINDOW):
            window = keys[first : first + WINDOW]
            results: Mapping[str, T | Exception]
            try:
                results = await self._check(window)
            except Exception as error:  # noqa: BLE001 - it must end the waits, not hang them
                results = dict.fromkeys(window, error)
            for key, result in results.items():
                self._resolve(key, result)
            has_news = has_news or bool(results)
        return has_news

    async def _check_new(self, sleeping: asyncio.Future[None]) -> None:
        """Check keys that arrive during a pause. Return when the pause ends, or after one check."""
        if not self._new:
            self._arrived.clear()
            arriving = asyncio.ensure_future(self._arrived.wait())
            try:
                ends: set[asyncio.Future[Any]] = {sleeping, arriving}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                arriving.cancel()
        if self._new and not sleeping.done():
            await asyncio.wait({sleeping}, timeout=GATHERING)
            new, self._new = self._new, set()
            await self._check_all([key for key in new if key in self._waiters])

    def _resolve(self, key: str, result: T | Exception) -> None:
        for waiter in self._waiters.pop(key, set()):
            if waiter.done():  # it was cancelled just now
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)
