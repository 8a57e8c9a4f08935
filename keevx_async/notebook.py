"""A progress bar for a fan-out, in a notebook or a terminal.

``fan = await progress(keevx.generate_many(requests))``, or ``async for outcome in progress(fan):``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Protocol, cast

from .client.fanout import FanOut
from .models.outcomes import Counts, Outcome

try:
    from tqdm.auto import tqdm
except ModuleNotFoundError:  # without the extra, plain lines are printed
    make_bar: type[tqdm[Any]] | None = None
else:
    make_bar = tqdm

log = logging.getLogger("keevx_async.client")


def progress(fan: FanOut, *, total: int | None = None) -> Progress:
    """Show the progress of a fan-out while it is awaited or iterated over.

    With the ``notebook`` extra (``keevx_async[notebook]``), this shows a tqdm bar, which is a
    widget in notebooks. When the fan-out ends, a line of text below the widget reports the outcome;
    the line remains even if the widget is not saved (GitHub, nbconvert, a reopened notebook).
    Without the extra, the counts are written to stderr every ten seconds if they have changed. The
    display never delays or fails the fan-out.

    Awaiting the returned object again after the fan-out stopped shows a new bar and continues with
    the unfinished items.

    Args:
        fan: the fan-out that ``submit_many`` or ``generate_many`` returned.
        total: the expected number of items; by default the length of the input, if known.

    Raises:
        TypeError: ``fan`` is not a fan-out.
    """
    if not isinstance(cast(object, fan), FanOut):
        kind = type(fan).__name__
        raise TypeError(
            f"progress() needs the fan-out that submit_many or generate_many returns (got a {kind})"
        )
    return Progress(fan, fan.counts.total if total is None else total)


class Progress:
    """A fan-out with a progress display: awaitable and iterable like the fan-out itself.

    Cancelling it cancels the fan-out.

    Attributes:
        fan: the fan-out; its lists remain readable after cancellation.
    """

    def __init__(self, fan: FanOut, total: int | None) -> None:
        self.fan = fan
        self._total = total

    def __await__(self) -> Generator[Any, None, FanOut]:
        with _Display(self.fan.counts, self._total):
            return (yield from self.fan.__await__())

    async def __aiter__(self) -> AsyncGenerator[Outcome]:
        with _Display(self.fan.counts, self._total):
            async with aclosing(aiter(self.fan)) as outcomes:
                async for outcome in outcomes:
                    yield outcome


class _View(Protocol):
    """Displays counts every ``interval`` seconds."""

    interval: float

    def show(self, counts: Counts) -> None: ...

    def close(self, counts: Counts) -> None: ...


def _describe(counts: Counts, total: int | None) -> str:
    of = "" if total is None else f" of {total}"
    return f"keevx: {counts.ended}{of} ended: {counts}"


class _Bar:
    interval = 0.25

    def __init__(self, bar: tqdm[Any], total: int | None) -> None:
        self._bar = bar
        self._total = total
        self._text = ""

    def show(self, counts: Counts) -> None:
        # tqdm redraws at each call, so an unchanged bar is skipped.
        if self._text != (text := str(counts)):
            self._text, self._bar.n = text, counts.ended
            self._bar.set_postfix_str(text)

    def close(self, counts: Counts) -> None:
        self._bar.close()
        # A notebook stores a widget's state outside its output, or not at all; a terminal keeps the
        # bar itself. Not printed to stderr, which notebooks show in red.
        if hasattr(self._bar, "container"):
            print(_describe(counts, self._total))


class _Lines:
    interval = 10.0

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._text = ""

    def show(self, counts: Counts) -> None:
        if self._text != (text := _describe(counts, self._total)):
            self._text = text
            print(text, file=sys.stderr)

    def close(self, counts: Counts) -> None:
        """Do nothing, because the last line already shows the outcome."""


class _Display:
    """Shows the counts periodically. It never delays an outcome; an error ends only the display."""

    def __init__(self, counts: Counts, total: int | None) -> None:
        self._counts = counts
        self._total = total
        self._view: _View | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._try(self._open)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._try(self._close)

    # Whatever a display raises (a closed stderr, a widget without a front end), the fan-out
    # continues and only the display ends.
    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            self._view = None
            log.warning("progress is no longer shown; the fan-out continues", exc_info=True)

    def _open(self) -> None:
        if make_bar is None:
            self._view = _Lines(self._total)
        else:
            self._view = _Bar(make_bar(total=self._total, desc="keevx", unit=" items"), self._total)
        self._schedule()

    def _schedule(self) -> None:
        if self._view is not None:
            self._timer = self._loop.call_later(self._view.interval, self._try, self._refresh)

    def _refresh(self) -> None:
        if self._view is not None:
            self._view.show(self._counts)
            self._schedule()

    def _close(self) -> None:
        if self._view is not None:
            self._view.show(self._counts)
            self._view.close(self._counts)
