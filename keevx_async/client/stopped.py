"""What a person reads who stops a cell of a notebook, and what an error's note says of task ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ..models.outcomes import Counts

MAX_NOTED_IDS = 100
"""Ids that an error's note lists: a note is for reading, and all of them are in ``task_ids``."""


@contextmanager
def brief_if_stopped(describe: Callable[[], str]) -> Generator[None]:
    """Have a notebook show one line in place of a traceback where the block is cancelled.

    A person who stops a cell knows where it was stopped. What they need is what was kept, and how
    to go on; a traceback through asyncio buries that. ``CancelledError`` itself passes unchanged:
    the line is an attribute that only IPython looks for (``_render_traceback_``).

    Args:
        describe: returns what follows "Stopped:"; called when the line is shown, once everything
            that was under way has ended.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        cast(Any, error)._render_traceback_ = lambda: [f"Stopped: {describe()}"]
        raise


def describe_fan_out(counts: Counts) -> str:
    """Return how far a fan-out came, and how to go on with it."""
    total = "" if counts.total is None else f", of {counts.total:,}"
    return (
        f"{counts}{total}. Await the fan-out again to go on; its outcomes and task_ids hold what "
        "has come."
    )


def describe_waits(task_ids: Sequence[str]) -> str:
    """Return which tasks were still waited for: Keevx goes on with them."""
    number = "1 task goes on" if len(task_ids) == 1 else f"{len(task_ids):,} tasks go on"
    return f"{number} at Keevx. Wait again to go on, free of charge: {_some(task_ids)}"


def note_ids(error: BaseException, task_ids: Sequence[str]) -> None:
    """Add the task ids that were received to an error, unless it has a note already.

    Whoever catches it may have no other way to them: a fan-out that has no name is gone.
    """
    if not task_ids or getattr(error, "__notes__", None):
        return
    rest = "; all are in the fan-out's task_ids" if len(task_ids) > MAX_NOTED_IDS else ""
    listed = _some(task_ids, MAX_NOTED_IDS)
    error.add_note(f"{len(task_ids):,} task ids were received by then: {listed}{rest}")


def _some(task_ids: Sequence[str], most: int = 3) -> str:
    more = f" and {len(task_ids) - most:,} more" if len(task_ids) > most else ""
    return ", ".join(task_ids[:most]) + more
