"""Protects paid steps, and their records, from being interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar, TypeVarTuple

from ..errors import JournalError, SubmissionUncertain
from ..http.retry import correlation

log = logging.getLogger("keevx_async.submission")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


Guard = AbstractContextManager[None, None]
"""Protects the paid step in its block from interruption for a limited time.

A fan-out guards its own workers; any other create is shielded by the submitter.
"""
MAY_BE_CHARGED = (SubmissionUncertain, JournalError)
"""The errors of a paid step after which the create may have been charged.

Such a step is never retried. Until its outcome is recorded, it is guarded like one that succeeded.
"""


async def run_shielded(step: Awaitable[T], grace: float, late: Callable[[Any], None]) -> T:
    """Await step. If cancelled, give the step time to end before raising the cancellation.

    Args:
        step: the step that must not be interrupted.
        grace: the grace period in seconds; a second cancellation ends it.
        late: called with the step's result or error if the step ends after the caller was
            cancelled; not called if the step itself was cancelled.
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
    """Wait for tasks to end, then cancel the remaining tasks and wait for them too.

    Args:
        tasks: the tasks. Their errors are not raised.
        seconds: the time that the tasks may take; cancelling the caller cuts it short.
    """
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        left = {task for task in tasks if not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def write_again(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Repeat a write that was cancelled, so that no record of paid work is lost.

    Cancelling this call has no effect: it ends once the write has ended.
    """
    again = asyncio.ensure_future(write(*what))  # the same row; it ends once the row is durable
    while not again.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({again})
    again.result()


async def write_quietly(write: Callable[[str, *Ts], Awaitable[None]], key: str, *what: *Ts) -> None:
    """Record a create's state while handling another error; write errors are not raised.

    If the journal cannot be written, later creates fail, and a create that is recorded as
    ``sending`` counts as uncertain.
    """
    try:
        with suppress(JournalError):
            try:
                await write(key, *what)
            except asyncio.CancelledError:
                await write_again(write, key, *what)
    except Exception:
        what_failed = "create %s: could not write the journal"
        log.exception(what_failed, key, extra=correlation(key))
