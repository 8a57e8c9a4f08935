"""A worker of the fleet: makes creates and asks about tasks, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Self

from docket import Docket, Worker

from ..client.keevx import Keevx, check_credentials
from .client import WorkerSettings, worker_settings, worker_stop
from .queue import KeevxDocket
from .rate_limit import Stop
from .tasks import create, poll

REDELIVERY = timedelta(seconds=10)
"""After which a dead worker's creates and polls are another's; a live one renews its lease."""


class KeevxWorker:
    """Works on a KeevxDocket; run as many as there are machines, or cores.

    Args:
        docket: whose requests it makes.
        settings: what its client is set up with.
        name: as of Docket's worker.
        redelivery_timeout: after how long what a dead worker held is another's.

    Raises:
        AuthenticationError: the key is refused: before any work is taken, or later.
    """

    def __init__(
        self,
        docket: KeevxDocket,
        settings: WorkerSettings | None = None,
        *,
        name: str | None = None,
        redelivery_timeout: timedelta = REDELIVERY,
    ) -> None:
        self._docket = docket
        self._settings = settings or WorkerSettings()
        self._name = name
        self._redelivery = redelivery_timeout
        self._stack = AsyncExitStack()
        self._stop = Stop()

    async def __aenter__(self) -> Self:
        given = self._settings
        async with Keevx(given.api_key, base_url=given.base_url, timeout=given.timeout) as keevx:
            await check_credentials(keevx)
        self._docket.creates.register(create)
        self._docket.polls.register(poll)
        polls = self._settings.polling.concurrency
        async with AsyncExitStack() as stack:
            make = self._worker
            self._creating = await stack.enter_async_context(
                make(self._docket.creates, self._settings.concurrency)
            )
            self._polling = await stack.enter_async_context(make(self._docket.polls, polls))
            self._stack = stack.pop_all()
        # Docket keeps what its tasks share in context variables, which the next worker sets anew.
        self._context = copy_context()
        self._context.run(worker_settings.set, self._settings)
        self._context.run(worker_stop.set, self._stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _worker(self, docket: Docket, concurrency: int) -> Worker:
        return Worker(
            docket, self._name, concurrency=concurrency, redelivery_timeout=self._redelivery
        )

    async def run_forever(self) -> None:
        """Work until cancelled."""
        await self._apart(_both(self._creating.run_forever(), self._polling.run_forever()))

    async def run_until_finished(self) -> None:
        """Work until every create is made and every task has ended."""
        await self._apart(self._until_finished())

    async def _apart(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work as this worker, whichever others this program has entered since."""
        self._stop.event.clear()
        working = asyncio.create_task(work, context=self._context)
        stopped = asyncio.create_task(self._stop.event.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.call()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
            await stopped
        if self._stop.error is not None:
            raise self._stop.error
        working.result()

    async def _until_finished(self) -> None:
        polling = asyncio.ensure_future(self._polling.run_forever())
        try:
            await _run(self._creating.run_until_finished())
        finally:
            polling.cancel()
            await asyncio.wait({polling})
        await _run(self._polling.run_until_finished())


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in (one, other):
            group.create_task(_run(each))


async def _run(what: Awaitable[None]) -> None:
    """Run a worker of Docket's: when cancelled it ends as if it had finished, which we do not."""
    working = asyncio.ensure_future(what)
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.wait({working})
        raise
    working.result()
