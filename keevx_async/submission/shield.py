"""Keeps a paid step, and the record of it, from being cut in the middle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar, TypeVarTuple

from ..errors import JournalError
from ..http.retry import correlation

log = logging.getLogger("keevx_async.submission")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Guard(Protocol):
    """Keeps a paid step from being cut in the middle, for a bounded time.

    A fan-out guards its own workers; every other create has the submitter's guard.
    """

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run step to its end and return what it returns, or raise what it raises."""
        ...


async def run_shielded(step: Awaitable[T], grace: float, late: Callable[[Any], None]) -> T:
    """Await step; when cancelled, give it grace seconds to end before the cancellation goes on.

    Args:
        step: what must not be cut in the middle.
        grace: a second cancellation cuts it short.
        late: receives what step returned, or raised, after the caller was cancelled, whenever that
            is; never called if step itself was cancelled.
    """
    task = asyncio.ensure_future(step)

    def report(_: object) -> None:
        if not task.cancelled():
            late(task.exception() or task.result())

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(report)
        await end_within({task}, grace)
        raise


async def end_within(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    """Wait for tasks to end, then cancel those that are left and wait for these too.

    Args:
        tasks: their results and errors stay with them; nothing is raised.
        seconds: how long they may take; a cancellation of the caller ends this early.
    """
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        left = {task for task in tasks if not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def write_through(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Write to the end, whatever is cancelled: what is known of paid work must not be lost."""
    try:
        await write(*what)
    except asyncio.CancelledError:
        again = asyncio.ensure_future(write(*what))  # the same row; done when it is durable
        while not again.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({again})
        again.result()


async def write_quietly(write: Callable[[str, *Ts], Awaitable[None]], key: str, *what: *Ts) -> None:
    """Write about the create with a key beside an error, which is what the caller must see.

    A journal that cannot be written stops later creates, and ``sending`` reads as uncertain.
    """
    try:
        with suppress(JournalError):
            await write_through(write, key, *what)
    except Exception:
        what_failed = "create %s: the journal could not be written"
        log.exception(what_failed, key, extra=correlation(key))
