"""A fan-out worker's slot, which guards paid steps and can stop the feed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..http.retry import Retryable
from ..submission.shield import MAY_BE_CHARGED


class Stoppable(Protocol):
    """The part of a fan-out that its slots use."""

    stopping: bool
    stopped_by: Exception | None

    def stop_feed(self, reason: Exception, has_more: Callable[[], bool] | None) -> None:
        """Stop the feed; see ``Slot.stop``."""


class Slot:
    """A worker's slot, which guards the worker's paid steps and can stop the feed.

    A busy worker is not cancelled. After a step that succeeds, or that may have been charged, the
    worker stays busy until the result or the error is in the outcome. Releasing the key in between
    may take time, and a cancellation during that time would lose what has been paid for.
    """

    __slots__ = ("_fan", "busy", "pulls")

    def __init__(self, fan: Stoppable) -> None:
        self.busy = self.pulls = False
        self._fan = fan

    @property
    def stopped_by(self) -> Exception | None:
        """The error that stopped the feed, or None. After a stop, jobs must not start anything."""
        return self._fan.stopped_by

    def __enter__(self) -> None:
        self.busy = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MAY_BE_CHARGED):
            return
        self.busy = False
        retries = self.stopped_by is not None and isinstance(error, Retryable)
        if (self._fan.stopping or retries) and (task := asyncio.current_task()):
            task.cancel()  # do not retry: end at the next wait

    def stop(self, reason: Exception, has_more: Callable[[], bool] | None = None) -> None:
        """Stop the feed: no new item starts, and no more items are pulled.

        1. Items in a paid step continue, as do waits and downloads.
        2. Items that were pulled but have sent nothing end as ``NotStarted``, with this reason.
        3. This slot's own item continues, and its job decides how the item ends.

        Args:
            reason: becomes ``FanOut.stopped_by``. Stopping again has no effect.
            has_more: while it returns true, items are still pulled, but their jobs send nothing.
                A job follows up on a create from an earlier run, or raises ``NotStarted``.
        """
        self._fan.stop_feed(reason, has_more)
