"""Waits for creates to come to their end: all that are waited for are looked at together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from ..errors import ConfigurationError

T = TypeVar("T")

WINDOW = 1_000
"""Creates that are looked at in one round trip."""
SOONEST, LATEST = 0.1, 2.0
"""Seconds between two looks at all."""
PER_SECOND = 2_000
"""Creates that are looked at in a second at most: looking must not be what Redis is busy with."""


class CompletionWaiter(Generic[T]):
    """Looks now and then, while anyone waits.

    Args:
        look: returns those of some keys that have come to their end, or what keeps one from it.
        sleep: waits for the given seconds; tests pass their own.
    """

    def __init__(
        self,
        look: Callable[[Sequence[str]], Awaitable[Mapping[str, T | Exception]]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._sleep = sleep
        self._waiting: dict[str, set[asyncio.Future[T]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, key: str) -> T:
        """Return a create that has come to its end.

        Raises:
            KeevxError: it could not be looked at.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[T] = loop.create_future()
        self._waiting.setdefault(key, set()).add(waiting)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._check_until_done())
        try:
            return await waiting
        finally:
            if not waiting.done() or waiting.cancelled():
                self._forget(key, waiting)

    def _forget(self, key: str, waiting: asyncio.Future[T]) -> None:
        others = self._waiting.get(key, set())
        others.discard(waiting)
        if not others:
            self._waiting.pop(key, None)

    async def close(self) -> None:
        """Look no more, and say so to all who wait."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        closed = ConfigurationError("the docket was closed meanwhile")
        for key in list(self._waiting):
            self._resolve(key, closed)

    async def _check_until_done(self) -> None:
        pause = SOONEST
        while self._waiting:
            keys, news = list(self._waiting), False
            for first in range(0, len(keys), WINDOW):
                news |= await self._check_window(keys[first : first + WINDOW])
            pause = SOONEST if news else min(LATEST, 1.5 * pause)
            await self._sleep(max(pause, len(keys) / PER_SECOND))

    async def _check_window(self, keys: Sequence[str]) -> bool:
        """Look once, and tell who waits."""
        found: Mapping[str, T | Exception]
        try:
            found = await self._look(keys)
        except Exception as error:  # noqa: BLE001 - a surprise must end the waits, not hang them
            found = dict.fromkeys(keys, error)
        for key, end in found.items():
            self._resolve(key, end)
        return bool(found)

    def _resolve(self, key: str, end: T | Exception) -> None:
        for waiting in self._waiting.pop(key, set()):
            if waiting.done():  # it has just left
                continue
            if isinstance(end, Exception):
                waiting.set_exception(end)
            else:
                waiting.set_result(end)
