"""Shows a run's progress on standard error: live on a terminal, otherwise as periodic lines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .counters import Counters, format_duration, format_rate

REFRESH_INTERVAL = 0.25
"""Seconds between updates of the live display."""
LINE_INTERVAL = 10.0
"""Seconds between progress lines if standard error is not a terminal."""
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 10, 40
"""The bar's width in columns. A terminal too narrow for the minimum width shows no bar."""
BESIDE_BAR = 46
"""The columns needed for the text beside the bar if a run has a million items."""
SEPARATOR = " · "


@contextmanager
def progress(console: Console, counters: Counters, clock: Callable[[], float]) -> Generator[None]:
    """Show progress while the block runs: live on a terminal, otherwise a line every 10 seconds.

    A running event loop is required, since it updates the display. On exit, even after an
    exception or a cancellation, the live display is erased and the cursor is restored.
    """
    if not console.is_interactive:
        with _every(LINE_INTERVAL, lambda: console.print(progress_line(counters, clock()))):
            yield
        return
    # The event loop refreshes the display instead of one of rich's threads, so the run's output and
    # the display's never interleave.
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def update() -> None:
        live.update(progress_display(counters, clock(), console.width), refresh=True)

    with live, _every(REFRESH_INTERVAL, update):
        yield


@contextmanager
def _every(seconds: float, do: Callable[[], object]) -> Generator[None]:
    """Call ``do`` repeatedly on the running loop while the block runs."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            do()

    repeating = asyncio.ensure_future(repeat())
    try:
        yield
    finally:
        repeating.cancel()


def progress_line(counters: Counters, now: float) -> str:
    """Return the progress as a plain line.

    ``keevx: 20/100, 40 submitted, 20 waiting, 20 done, 0 failed, 0 uncertain, 2.0/s, 0:40 left``
    """
    texts = [text for text, _ in counters.parts()]
    rate = format_rate(counters.rate(now))
    head = f"keevx: {counters.ended.total():,}/{counters.total:,}"
    return ", ".join([head, *texts, rate, _time(counters, now)])


def _time(counters: Counters, now: float) -> str:
    """Return the time left or, until it can be estimated, the elapsed time."""
    left = counters.remaining(now)
    if left is None:
        return f"{format_duration(now - counters.started_at)} elapsed"
    return f"{format_duration(left)} left"


def progress_display(counters: Counters, now: float, width: int) -> Group:
    """Return the progress for a terminal: a bar, then the counts on as few lines as possible.

    Counts are not split across lines. A line is wider than ``width`` columns only if a single count
    does not fit.
    """
    ended, total = counters.ended.total(), counters.total
    columns: list[RenderableType] = [f"{ended:,}/{total:,}"]
    if (room := width - BESIDE_BAR) >= MIN_BAR_WIDTH:
        columns.append(ProgressBar(total, ended, width=min(MAX_BAR_WIDTH, room)))
    row = Table.grid(padding=(0, 1))
    rate = format_rate(counters.rate(now))
    row.add_row(*columns, f"{ended * 100 // total}%", rate, _time(counters, now))
    parts = counters.parts()
    if (held := counters.held_until - now) > 0:
        parts.append((f"rate limited for {math.ceil(held)} s", "yellow"))
    lines = [Text()]
    for text, style in parts:
        if lines[-1] and len(lines[-1]) + len(SEPARATOR) + len(text) > width:
            lines.append(Text())
        lines[-1].append(SEPARATOR if lines[-1] else "").append(text, style)
    return Group(row, *lines)
