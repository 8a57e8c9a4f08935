"""What moves while a run goes on: two live lines on a terminal, a plain one now and then."""

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

from .counters import Counters, pace, span

REFRESH = 0.25
"""Seconds between two looks of a live screen."""
BEAT = 10.0
"""Seconds between two plain lines."""
NARROW, WIDE = 10, 40
"""Columns of the bar; where there is not even room for a narrow one, there is none."""
BESIDE_BAR = 46
"""Columns of what stands beside it, of a million items."""
BETWEEN = " · "


@contextmanager
def progress(console: Console, tally: Counters, clock: Callable[[], float]) -> Generator[None]:
    """Show progress while the block runs: live where the console can, else line by line."""
    if not console.is_interactive:
        with _every(BEAT, lambda: console.print(beat(tally, clock()))):
            yield
        return
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

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


def beat(tally: Counters, now: float) -> str:
    """Return progress as one line."""
    parts = [text for text, _ in tally.words()]
    left = f"{span(tally.remaining(now))} left"
    return ", ".join(
        [f"keevx: {tally.ended.total():,}/{tally.total:,}", *parts, pace(tally.rate(now)), left]
    )


def screen(tally: Counters, now: float, width: int) -> Group:
    """Return progress as a person sees it: a bar, and the counts."""
    ended, total = tally.ended.total(), tally.total
    shown: list[RenderableType] = [f"{ended:,}/{total:,}"]
    if (room := width - BESIDE_BAR) >= NARROW:
        shown.append(ProgressBar(total, ended, width=min(WIDE, room)))
    row = Table.grid(padding=(0, 1))
    left = f"{span(tally.remaining(now))} left"
    row.add_row(*shown, f"{ended * 100 // total}%", pace(tally.rate(now)), left)
    words = tally.words()
    if (held := tally.held_until - now) > 0:
        words.append((f"held by Keevx for {math.ceil(held)} s", "yellow"))
    return Group(row, *_filled(words, width))


def _filled(words: list[tuple[str, str]], width: int) -> list[Text]:
    """Lay words out in as few lines as they need, breaking none."""
    lines = [Text()]
    for word, style in words:
        if lines[-1] and len(lines[-1]) + len(BETWEEN) + len(word) > width:
            lines.append(Text())
        lines[-1].append(BETWEEN if lines[-1] else "").append(word, style)
    return lines
