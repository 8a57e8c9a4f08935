"""Progress of a fan-out, in a notebook or a terminal.

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
except ModuleNotFoundError:  # without the extra there are plain lines
    make_bar: type[tqdm[Any]] | None = None
else:
    make_bar = tqdm

log = logging.getLogger("keevx_async")


def progress(fan: FanOut, *, total: int | None = None) -> Progress:
    """Show how a fan-out goes, while it is awaited or iterated over.

    The bar is tqdm's (in a notebook a widget) where the extra ``keevx_async[notebook]`` is
    installed; else a line is written to stderr now and then.

    Args:
        fan: what ``submit_many`` or ``generate_many`` returned.
        total: items expected; by default the input's length, where it is a list or the like.

    Raises:
        TypeError: fan is something else.
    """
    if not isinstance(cast(object, fan), FanOut):
        kind = type(fan).__name__
        raise TypeError(f"progress() takes what submit_many or generate_many return, not a {kind}")
    return Progress(fan, fan.counts.total if total is None else total)


class Progress:
    """A fan-out that shows how it goes: awaitable and iterable as the fan-out itself.

    Attributes:
        fan: the fan-out, whose lists stay readable after cancellation.
    """

    def __init__(self, fan: FanOut, total: int | None) -> None:
        self.fan = fan
        self._total = total

    def __await__(self) -> Generator[Any, None, FanOut]:
        return self._complete().__await__()

    async def _complete(self) -> FanOut:
        with _Shown(self.fan.counts, self._total):
            return await self.fan

    async def __aiter__(self) -> AsyncGenerator[Outcome]:
        with _Shown(self.fan.counts, self._total):
            async with aclosing(aiter(self.fan)) as outcomes:
                async for outcome in outcomes:
                    yield outcome


class _View(Protocol):
    """Where counts are shown, every so many seconds."""

    every: float

    def show(self, counts: Counts) -> None: ...

    def close(self) -> None: ...


class _Bar:
    every = 0.25

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar
        self._told = ""

    def show(self, counts: Counts) -> None:
        if self._told != (told := str(counts)):
            self._told, self._bar.n = told, counts.ended
            self._bar.set_postfix_str(told)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    every = 10.0

    def __init__(self, total: int | None) -> None:
        self._of = "" if total is None else f" of {total}"
        self._told = ""

    def show(self, counts: Counts) -> None:
        if self._told != (told := f"keevx: {counts.ended}{self._of} ended: {counts}"):
            self._told = told
            print(told, file=sys.stderr)

    def close(self) -> None:
        """Lines need no end."""


class _Shown:
    """Looks at the counts by a timer: it stands in no outcome's way, and its failure harms none."""

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

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # a closed stderr must not cost an outcome
            self._view = None
            log.warning("progress is no longer shown; the work goes on", exc_info=True)

    def _open(self) -> None:
        if make_bar is None:
            self._view = _Lines(self._total)
        else:
            self._view = _Bar(make_bar(total=self._total, desc="keevx", unit=" items"))
        self._timer = self._loop.call_later(self._view.every, self._try, self._look)

    def _look(self) -> None:
        if self._view is not None:
            self._view.show(self._counts)
            self._timer = self._loop.call_later(self._view.every, self._try, self._look)

    def _close(self) -> None:
        if self._view is not None:
            self._view.show(self._counts)
            self._view.close()
