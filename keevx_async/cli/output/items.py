"""Formats an item as a line: for people on a terminal, or tab-separated for programs."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from .console import printable
from .counters import Status

MARKS = {
    Status.DONE: ("✓", "+", "green"),
    Status.FAILED: ("✗", "x", "red"),
    Status.UNCERTAIN: ("?", "?", "yellow"),
    Status.UNFINISHED: ("~", "~", "yellow"),
}
"""For each status: its mark, its mark on ASCII-only terminals, and its color."""
COLUMNS = ("task_ids", "status", "index", "line", "seconds", "paths", "prompt", "error")
"""The columns of a tab-separated line."""
MAX_PATH_WIDTH = 72
MAX_PROMPT_WIDTH = 80
ELAPSED_WIDTH = 6
MIN_TIMED_WIDTH = 24
"""The minimum width for a file and a time, in cells; in less space, the time is omitted."""
GAP = "  "


@frozen
class Item:
    """The contents of an item's line.

    Attributes:
        status: the item's final status.
        index: the item's position in the input, from 0.
        line: the item's line number in the input.
        prompt: the prompt.
        task_ids: the task ids.
        paths: the result files.
        seconds: the time from its create to its end; None if an earlier run made the item.
        reason: the reason the item has no result; empty if it has a result.
    """

    status: Status
    index: int
    line: int
    prompt: str
    task_ids: Sequence[str] = ()
    paths: Sequence[str] = ()
    seconds: float | None = None
    reason: str = ""


def terminal_line(item: Item, width: int, index_width: int, *, ascii_only: bool = False) -> Text:
    """Return an item as a line that fits a terminal.

    ``✓  7  A golden retriever running …   videos/0007-a-golden-….mp4   1m42s``

    Args:
        item: the item.
        width: the width of the terminal, in cells. A line is never wider, unless ``width`` is
            below 20.
        index_width: the width of the longest index, so that all lines are aligned.
        ascii_only: whether the terminal can only show ASCII.
    """
    mark, ascii_mark, style = MARKS[item.status]
    more = "..." if ascii_only else "…"
    head = f"{ascii_mark if ascii_only else mark}{GAP}{item.index:>{index_width}}{GAP}"
    # The rest is shared: the result gets slightly more than half, and the prompt gets whatever the
    # result cannot use. A reason replaces the file and the time.
    room = max(12, width - cell_len(head) - len(GAP))
    result_width = min(room * 55 // 100, MAX_PATH_WIDTH + len(GAP) + ELAPSED_WIDTH)
    prompt_width = min(room - result_width, MAX_PROMPT_WIDTH)
    prompt = _fit(_collapse(item.prompt, ascii_only), prompt_width, more)
    if item.reason:
        result = _fit(_collapse(item.reason, ascii_only), room - prompt_width, more).rstrip()
        return Text.assemble((head, style), prompt, GAP, (result, style), no_wrap=True)
    has_time = result_width >= MIN_TIMED_WIDTH
    path_width = result_width - (len(GAP) + ELAPSED_WIDTH if has_time else 0)
    extra = f" +{len(item.paths) - 1}" if len(item.paths) > 1 else ""
    path = printable(item.paths[0]) if item.paths else ", ".join(item.task_ids)
    path = _fit_path(path, path_width - len(extra), more) + extra
    elapsed = format_elapsed(item.seconds) if has_time and item.seconds is not None else ""
    result = f"{_fit(path, path_width, more)}{GAP}{elapsed:>{ELAPSED_WIDTH}}".rstrip()
    return Text.assemble((head, style), prompt, GAP, result, no_wrap=True)


def tab_line(item: Item) -> str:
    """Return an item as a line with the ``COLUMNS`` separated by tabs.

    Several ids or paths in a column are separated by spaces. Unprintable characters are escaped,
    including tabs and line breaks.
    """
    seconds = "" if item.seconds is None else f"{item.seconds:.1f}"
    columns = (
        " ".join(item.task_ids),
        item.status.value,
        str(item.index),
        str(item.line),
        seconds,
        " ".join(item.paths),
        item.prompt,
        item.reason,
    )
    return "\t".join(map(printable, columns))


def format_elapsed(seconds: float) -> str:
    """Format a duration: ``8s``, ``1m42s``, ``1h02m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _collapse(text: str, ascii_only: bool) -> str:
    line = printable(" ".join(text.split()))
    return line.encode("ascii", "replace").decode() if ascii_only else line


def _fit(text: str, width: int, more: str) -> str:
    """Pad or cut text to an exact width in cells."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - len(more))) + more


def _fit_path(path: str, width: int, more: str) -> str:
    """Cut a path to a maximum width in cells, keeping its start and its suffix."""
    if cell_len(path) <= width:
        return path
    stem, dot, suffix = path.rpartition(".")
    tail = more + dot + suffix if dot and "/" not in suffix and len(suffix) < 6 else more
    return set_cell_size(stem or path, max(0, width - len(tail))).rstrip() + tail
