"""The mark that a fleet has stopped: a note in its journal, which those who wait for it read."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict

from ..errors import (
    APIError,
    AuthenticationError,
    BudgetExceeded,
    InsufficientFunds,
    KeevxError,
)
from ..settings import Budget

STOPPED = "stopped"
"""The journal's note that holds the mark; empty or missing while the fleet works. Workers clear it
when they start, and the script that records a create's ids does if its intent is newer."""
SETTLING = 1.0
"""Seconds for which a mark must stand: one that is cleared within them was of a single create, such
as one that did not fit in what a budget has left for smaller ones."""

_REFUSALS = {each.__name__: each for each in (APIError, AuthenticationError, InsufficientFunds)}


def dump_stop(error: KeevxError, at: float) -> str:
    """Return the mark of a fleet that an error has stopped.

    Args:
        error: what stopped it.
        at: when, in seconds since the epoch; the mark begins with it, for the script.
    """
    name, values = type(error).__name__, list[Any]([error.message, error.hint])
    if isinstance(error, BudgetExceeded):
        values = [asdict(error.budget), error.spent, error.needed]
    elif name in _REFUSALS:
        values = [*error.args]
    return f"{at:.3f} {json.dumps([name, values], default=dict)}"


def load_stop(mark: str) -> KeevxError:
    """Return the error that stopped a fleet, from what ``dump_stop`` returned."""
    name, values = json.loads(mark.partition(" ")[2])
    if name == BudgetExceeded.__name__:
        budget, spent, needed = values
        return BudgetExceeded(Budget(**budget), spent, needed)
    if name in _REFUSALS:
        return _REFUSALS[name](*values)
    message, hint = values
    return KeevxError(message, hint=hint)


class StopWatch:
    """Decides whether a fleet has stopped, from its mark at several times.

    Args:
        before: the mark when the watch began. It says nothing about what was added since: workers
            that were started again may not have begun.
    """

    def __init__(self, before: str) -> None:
        self._before = before
        self._since: float | None = None

    def observe(self, mark: str, now: float) -> KeevxError | None:
        """Return what has stopped the fleet; None if it works.

        Args:
            mark: the mark now; empty if there is none.
            now: seconds of a monotonic clock.
        """
        # 1. There is no mark, or the one that was there before: the fleet works, or may.
        # 2. A mark has stood for long enough, be it renewed by other workers: it has stopped.
        if mark in ("", self._before):
            self._since = None
            return None
        if self._since is None:
            self._since = now
        return load_stop(mark) if now - self._since >= SETTLING else None
