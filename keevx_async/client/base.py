"""A client's life: opened on each event loop that it is used on, closed once, never pickled."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from weakref import WeakSet

from ..errors import ConfigurationError
from ..http.retry import Retryable
from ..http.transport import CLIENT_CLOSED
from ..submission.shield import run_shielded
from .fanout import FanOut
from .runtime import ClientConfig, Components, DurationStore

log = logging.getLogger("keevx_async")

T = TypeVar("T")


class ClientBase:
    """What a client is apart from its verbs.

    Args:
        setup: what outlives an event loop.
    """

    def __init__(self, setup: ClientConfig) -> None:
        self._closed = False
        self._runtime: Components | None = None
        self._opening = threading.Lock()
        self._fans: WeakSet[FanOut[Any]] = WeakSet()
        self._paying: set[asyncio.Task[Any]] = set()
        self._setup = setup

    def __repr__(self) -> str:
        return f"<Keevx {self._setup.transport.host}{' closed' if self._closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Keevx holds the API key and cannot be pickled; make one where it is used"
        )

    async def __aenter__(self) -> Self:
        if self._setup.callbacks is not None:
            self._components()  # callbacks of earlier runs may come before the first verb
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_runtime", None) is not None and not self._closed:
            warnings.warn(
                f"{self!r} was never closed: use 'async with Keevx()' or 'await keevx.close()'",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    async def close(self) -> None:
        """Close the connections, once what is being created has been answered.

        Cancelled on the way it still closes everything, though creates that are under way are
        not waited for any longer. The second time nothing happens.
        """
        self._closed = True
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._detach)
            last_first.push_async_callback(self._setup.transport.close)
            last_first.push_async_callback(self._leave)
            for fan in list(self._fans):
                await fan.aclose()
            if self._paying:
                await asyncio.wait(self._paying, timeout=self._setup.retry.grace)

    async def _leave(self) -> None:
        runtime = self._runtime
        if runtime is not None:
            runtime.detach()
            if runtime.loop is asyncio.get_running_loop():
                await runtime.close()

    async def _detach(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await self._setup.journal.detach()

    def _components(self) -> Components:
        if self._closed:
            raise ConfigurationError(CLIENT_CLOSED)
        runtime = self._runtime
        if runtime is None or runtime.loop is not asyncio.get_running_loop():
            with self._opening:
                runtime = self._opened(self._runtime)
        return runtime

    def _opened(self, before: Components | None) -> Components:
        """Return the rooms of the running event loop, now that the one before has stopped."""
        if before is None:
            self._setup.journal.attach()
            self._lessons = DurationStore(self._setup.journal)
        elif before.loop.is_running() and before.process == os.getpid():
            raise ConfigurationError(
                "this client is in use on another event loop, which is still running, as in "
                "another thread; make one Keevx for each, or use this one on one loop"
            )
        else:
            before.detach()
        self._runtime = Components(self._setup, self._lessons)
        return self._runtime

    async def _guard(self, step: Coroutine[Any, Any, T]) -> T:
        """Carry a single create to its end; closing waits for those that it finds."""
        if self._closed:  # no other may begin
            step.close()
            raise ConfigurationError(CLIENT_CLOSED)
        paying = asyncio.create_task(step)
        self._paying.add(paying)
        paying.add_done_callback(self._paying.discard)
        return await run_shielded(paying, self._setup.retry.grace, _late)


def _late(ended: object) -> None:
    if not isinstance(ended, Retryable):
        log.warning("a create ended after it was cancelled: %s", ended)
