"""The text shown when a notebook cell is stopped, and the note that lists an error's task ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ..models.outcomes import Counts

MAX_NOTED_IDS = 100
"""The maximum number of ids that an error's note lists; all of them are in ``task_ids``."""


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
    continue, and a traceback through asyncio buries that. ``CancelledError`` itself is still
    raised: the line is an attribute that only IPython looks for (``_render_traceback_``).

    Args:
        error: the cancellation.
        describe: returns the text after "Stopped:"; called when the line is shown, once everything
            under way has ended.
    """
    cast(Any, error)._render_traceback_ = lambda: [f"Stopped: {describe()}"]


def describe_fan_out(counts: Counts) -> str:
    """Return how far a fan-out got, and how to resume it."""
    total = "" if counts.total is None else f", of {counts.total:,}"
    return (
        f"{counts}{total}. Await the fan-out again to resume; its outcomes and task_ids have "
        "everything so far."
    )


def describe_waits(task_ids: Sequence[str]) -> str:
    """Return which tasks were still pending; they keep running at Keevx."""
    number = "1 task keeps" if len(task_ids) == 1 else f"{len(task_ids):,} tasks keep"
    return f"{number} running at Keevx. Wait again to continue, free of charge: {_some(task_ids)}"


def note_ids(error: BaseException, task_ids: Sequence[str]) -> None:
    """Add a note with the task ids received so far to an error, unless it already has a note.

    The caller may have no other way to get them: a fan-out without a name is gone.
    """
    if not task_ids or getattr(error, "__notes__", None):
        return
    rest = "; all are in the fan-out's task_ids" if len(task_ids) > MAX_NOTED_IDS else ""
    listed = _some(task_ids, MAX_NOTED_IDS)
    error.add_note(f"{len(task_ids):,} task ids had been received: {listed}{rest}")


def _some(task_ids: Sequence[str], most: int = 3) -> str:
    more = f" and {len(task_ids) - most:,} more" if len(task_ids) > most else ""
    return ", ".join(task_ids[:most]) + more
