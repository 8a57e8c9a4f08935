"""Text for interrupted work: a notebook line for a stopped cell, an error note with task ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ..models.outcomes import Counts

MAX_NOTED_IDS = 100
"""The maximum number of ids in an error's note; ``FanOut.task_ids`` has all of them."""


@contextmanager
def brief_if_stopped(describe: Callable[[], str]) -> Generator[None]:
    """Make a notebook show one line when the block is cancelled; see `make_brief`."""
    try:
        yield
    except asyncio.CancelledError as error:
        make_brief(error, describe)
        raise


def make_brief(error: asyncio.CancelledError, describe: Callable[[], str]) -> None:
    """Make a notebook show one line instead of a traceback for a cancellation.

    People who stop a cell know where they stopped it. They need to know what was kept and how to
    continue, and a traceback through asyncio buries that. ``CancelledError`` is still raised: only
    IPython uses the attribute that is set here (``_render_traceback_``).

    Args:
        error: the cancellation.
        describe: returns the text after "Stopped:"; called when the line is shown, after all work
            has ended.
    """
    cast(Any, error)._render_traceback_ = lambda: [f"Stopped: {describe()}"]


def describe_fan_out(counts: Counts) -> str:
    """Describe a fan-out's progress and how to resume it."""
    total = "" if counts.total is None else f", of {counts.total:,}"
    return (
        f"{counts}{total}. Await the fan-out again to resume; its outcomes and task_ids have "
        "everything so far."
    )


def describe_waits(task_ids: Sequence[str]) -> str:
    """Describe the tasks that were still pending and keep running at Keevx."""
    number = "1 task keeps" if len(task_ids) == 1 else f"{len(task_ids):,} tasks keep"
    return f"{number} running at Keevx. Wait again to continue, free of charge: {_some(task_ids)}"


def note_ids(error: BaseException, task_ids: Sequence[str]) -> None:
    """Add a note with the task ids received so far to an error, unless the error has a note.

    The caller may have no other way to get the ids, for example if no variable holds the fan-out.
    """
    if not task_ids or getattr(error, "__notes__", None):
        return
    rest = "; all are in the fan-out's task_ids" if len(task_ids) > MAX_NOTED_IDS else ""
    listed = _some(task_ids, MAX_NOTED_IDS)
    error.add_note(f"{len(task_ids):,} task ids had been received: {listed}{rest}")


def _some(task_ids: Sequence[str], most: int = 3) -> str:
    more = f" and {len(task_ids) - most:,} more" if len(task_ids) > most else ""
    return ", ".join(task_ids[:most]) + more
