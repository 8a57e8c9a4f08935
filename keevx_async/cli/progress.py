"""What moves while a run goes on: two live lines on a terminal, a plain one now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .tally import Tally, pace, span

REFRESH = 0.25
"""Seconds between two looks of a live screen."""
BEAT = 10.0
"""Seconds between two plain lines."""
NARROW, WIDE = 10, 40
"""Columns of the bar."""


@contextmanager
def progress(console: Console, tally: Tally, clock: Callable[[], float]) -> Generator[None]:
    """Show progress while the block runs: live where the console can, else line by line."""
    if not console.is_interactive:
        with _every(BEAT, lambda: console.print(beat(tally, clock()), soft_wrap=True)):
            yield
        return
    live = Live(console=console, auto_refresh=False, transient=True)

    def look() -> None:
        live.update(screen(tally, clock(), console.width), refresh=True)

    with live, _every(REFRESH, look):
        yield


@contextmanager
def _every(seconds: float, do: Callable[[], object]) -> Generator[None]:
    """Do something now and then, on the running loop, while the block runs."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(seconds)
            do()

    ticking = asyncio.ensure_future(tick())
    try:
        yield
    finally:
        ticking.cancel()


def beat(tally: Tally, now: float) -> str:
    """Return progress as one line."""
    parts = [text for text, _ in tally.words()]
    left = f"{span(tally.left(now))} left"
    return ", ".join(
        [f"keevx: {tally.ended.total():,}/{tally.total:,}", *parts, pace(tally.rate(now)), left]
    )


def screen(tally: Tally, now: float, width: int) -> Group:
    """Return progress as two lines: a bar, and the counts."""
    ended, total = tally.ended.total(), tally.total
    bar = ProgressBar(total, ended, width=max(NARROW, min(WIDE, width - 40)))
    row = Table.grid(padding=(0, 1))
    shown = (f"{ended:,}/{total:,}", bar, f"{ended * 100 // total}%", pace(tally.rate(now)))
    row.add_row(*shown, f"{span(tally.left(now))} left")
    counts = [Text(text.replace(" ", "\N{NO-BREAK SPACE}"), style) for text, style in tally.words()]
    if (held := tally.held_until - now) > 0:
        counts.append(Text(f"held by Keevx for {held:.0f} s", "yellow"))
    return Group(row, Text(" · ").join(counts))
