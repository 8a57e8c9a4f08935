"""Paid steps that a cancellation must not cut: they get a bounded grace to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Guard(Protocol):
    """Carries a paid step to its end, whatever is cancelled around it, for a bounded time."""

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run step."""
        ...


async def run_shielded(step: Awaitable[T], grace: float, late: Callable[[Any], None]) -> T:
    """Await step; when cancelled, give it grace seconds to end before the cancellation goes on.

    Args:
        step: what must not be cut in the middle.
        grace: seconds; a second cancellation ends them.
        late: told what step returned, or raised, after the caller was cancelled.
    """
    task = asyncio.ensure_future(step)

    def tell(_: object) -> None:
        if not task.cancelled():
            late(task.exception() or task.result())

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(tell)  # told whenever it ends, however often we are cancelled
        await end_within({task}, grace)
        raise


async def end_within(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    """Wait for tasks for at most seconds, then cancel those left and wait for their end."""
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        left = {task for task in tasks if not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
