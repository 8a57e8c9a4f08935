"""A fleet worker, which submits creates and polls tasks until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Self

from docket import Worker

from ..client.keevx import Keevx
from .client import WorkerClient, current_client, open_client, worker_stop
from .monitor import Monitor
from .queue import KeevxDocket
from .rate_limit import Stop
from .settings import WorkerSettings, worker_settings
from .tasks import create

REDELIVERY = timedelta(seconds=10)
"""The time after which another worker takes over a dead worker's creates and polls."""

RECONNECTION_DELAY = timedelta(seconds=0.5)
"""The pause before a worker tries again to connect to Redis."""
MIN_CHECK, MAX_CHECK = timedelta(milliseconds=20), timedelta(milliseconds=250)
"""The minimum and maximum pause between checks for work. Each check fills the free slots."""
FILLS_PER_SECOND = 800


def check_interval(concurrency: int) -> timedelta:
    """Return Docket's ``minimum_check_interval`` for a worker with this many slots.

    Free slots are filled at the next check, so fewer slots need more frequent checks. With
    Docket's default of 250 ms, a worker with 16 slots makes only 63 creates per second.
    """
    return max(MIN_CHECK, min(MAX_CHECK, timedelta(seconds=concurrency / FILLS_PER_SECOND)))


class KeevxWorker:
    """Submits a KeevxDocket's requests and polls their tasks. Run one worker per machine or core.

    Use it as ``async with KeevxWorker(docket) as worker:``. If a worker is cancelled, creates that
    have not started go back to the docket, and the responses to creates in flight are recorded.

    Args:
        docket: the docket whose requests the worker submits; it must be open.
        settings: the worker's settings.
        name: the worker's name, which is passed to Docket's ``Worker``.
        redelivery_timeout: the time after which another worker takes over a dead worker's work.

    Raises:
        AuthenticationError: Keevx refused the API key, on entry or later.
        InsufficientFunds: the account has no funds.
        KeevxError: ``RetryPolicy.fuse`` creates in a row got the same refusal.
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
        # Check the key before taking any work: with a wrong key, every create would fail.
        settings = self._settings
        async with Keevx(
            settings.api_key, base_url=settings.base_url, timeout=settings.timeout
        ) as keevx:
            await keevx.ping()
        self._docket.creates.register(create)

        self._creating = await self._stack.enter_async_context(
            Worker(
                self._docket.creates,
                self._name,
                concurrency=settings.concurrency,
                redelivery_timeout=self._redelivery,
                reconnection_delay=RECONNECTION_DELAY,
                minimum_check_interval=check_interval(settings.concurrency),
            )
        )
        # Docket keeps shared values in context variables, which the next worker would overwrite.
        self._context = copy_context()
        self._context.run(worker_settings.set, settings)
        self._context.run(worker_stop.set, self._stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run_forever(self) -> None:
        """Work until cancelled.

        Raises:
            KeevxError: the worker stopped because its key was refused, the account has no funds, or
                several creates in a row got the same refusal.
        """

        async def work(client: WorkerClient) -> None:
            monitor = Monitor(self._docket.journal, self._docket.creates, self._docket.name)
            async with asyncio.TaskGroup() as group:
                group.create_task(_run(self._creating.run_forever()))
                group.create_task(client.poller.run())
                group.create_task(monitor.run())

        await self._run_in_context(self._with_client(work))

    async def run_until_finished(self) -> None:
        """Work until every create is submitted and every task has ended.

        Raises:
            KeevxError: see ``run_forever``.
        """

        async def work(client: WorkerClient) -> None:
            polling = asyncio.ensure_future(client.poller.run())
            try:
                await _run(self._creating.run_until_finished())
            finally:
                polling.cancel()
                await asyncio.wait({polling})
            await client.poller.run(until_empty=True)

        await self._run_in_context(self._with_client(work))

    async def _with_client(self, work: Callable[[WorkerClient], Awaitable[None]]) -> None:
        redelivery = self._redelivery.total_seconds()
        async with open_client(self._docket.creates, self._creating.name, redelivery) as client:
            current_client.set(client)
            await work(client)

    async def _run_in_context(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in this worker's context, even if other workers were entered later."""
        # The end of the work, a cancellation or a task that stops the worker ends this, whichever
        # comes first. In each case the stop is called, which ends the waits for the rate limit.
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


async def _run(work: Awaitable[None]) -> None:
    """Run Docket's worker, but raise if cancelled; Docket's worker itself would return normally."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.wait({working})
        raise
    working.result()
