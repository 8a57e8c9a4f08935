"""A fan-out's input: pulled one item at a time, and resumed after a stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import count
from typing import Any

from ..errors import ConfigurationError
from ..models.outcomes import Outcome

Items = Iterable[Any] | AsyncIterable[Any]


class Feed:
    """Pulls and numbers the input's items, one at a time. An error in the input ends the feed.

    Args:
        items: the input, consumed lazily.

    Attributes:
        error: the exception that the input raised; None if there was none.
    """

    def __init__(self, items: Items) -> None:
        self.error: Exception | None = None
        self._numbers = count()
        self._lock = asyncio.Lock()
        self._async = aiter(items) if isinstance(items, AsyncIterable) else None
        self._sync = iter(()) if isinstance(items, AsyncIterable) else iter(items)
        self._ended = False
        self._interrupted = False
        self._returned: list[Outcome[Any]] = []

    def resume(self, unfinished: Iterable[Outcome[Any]]) -> None:
        """Resume, perhaps on another event loop, starting with the unfinished outcomes."""
        self._lock = asyncio.Lock()
        self._returned += unfinished
        self._returned.sort(key=lambda outcome: outcome.index, reverse=True)

    @property
    def has_returned(self) -> bool:
        """Whether any items were put back. They are pulled before new items."""
        return bool(self._returned)

    def undeliver(self, outcome: Outcome[Any]) -> None:
        """Put back an item that was not started."""
        self._returned.append(Outcome(outcome.index, outcome.request))

    async def pull(self) -> Outcome[Any] | None:
        """Return an outcome to fill in for the next item, or None at the end of the input."""
        if self._returned:
            return self._returned.pop()
        if self._ended:
            return None
        try:
            if self._async is None:
                item = next(self._sync)
            else:
                item = await self._anext(self._async)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        except Exception as error:  # noqa: BLE001 - raised once all running items have ended
            self._ended, self.error = True, error
            return None
        return Outcome(next(self._numbers), item)

    async def _anext(self, items: AsyncIterator[Any]) -> Any:
        async with self._lock:  # an async generator refuses two pulls at once
            if self._ended:
                raise StopAsyncIteration
            # Cancelling a generator while it waits for its next item ends it. That would look like
            # the end of the input, and the remaining items would be silently lost.
            interrupted, self._interrupted = self._interrupted, True
            try:
                item = await anext(items)
            except StopAsyncIteration:
                if interrupted:
                    raise ConfigurationError(
                        "the input was interrupted while waiting for its next item, and cannot be "
                        "resumed; pass it to a new call, with a journal to avoid paying twice"
                    ) from None
                raise
            self._interrupted = False
            return item
