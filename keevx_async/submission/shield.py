"""Keeps a paid step from being cut in the middle, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


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
