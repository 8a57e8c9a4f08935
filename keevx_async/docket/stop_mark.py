"""The mark of a stopped fleet: a note in its journal, read by everyone who waits for it."""

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
"""The name of the journal's note for the mark, which is empty or missing while the fleet works.
A worker clears it when it starts. So does the script that records ids, if the intent is newer."""
SETTLING = 1.0
"""Seconds after which a mark counts. A mark that is cleared sooner concerned a single create, such
as a large create that did not fit in a budget although smaller ones did."""

_REFUSALS = {each.__name__: each for each in (APIError, AuthenticationError, InsufficientFunds)}


def dump_stop(error: KeevxError, at: float) -> str:
    """Return the mark of a fleet that was stopped by an error.

    Args:
        error: the error that stopped it.
        at: when it stopped, in seconds since the epoch. The mark starts with it, for the script.
    """
    name, values = type(error).__name__, list[Any]([error.message, error.hint])
    if isinstance(error, BudgetExceeded):
        values = [asdict(error.budget), error.spent, error.needed]
    elif name in _REFUSALS:
        values = [*error.args]
    return f"{at:.3f} {json.dumps([name, values], default=dict)}"


def load_stop(mark: str) -> KeevxError:
    """Return the error that stopped a fleet, from its mark."""
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
        before: the mark when the watch began. It does not count, since restarted workers may not
            have cleared it yet.
    """

    def __init__(self, before: str) -> None:
        self._before = before
        self._since: float | None = None

    def observe(self, mark: str, now: float) -> KeevxError | None:
        """Return the error that stopped the fleet; None if it works.

        Args:
            mark: the mark now; empty if there is none.
            now: seconds of a monotonic clock.
        """
        # 1. There is no mark, or only the earlier mark: the fleet works, or may work.
        # 2. There has been a mark for long enough, renewed or not: it has stopped.
        if mark in ("", self._before):
            self._since = None
            return None
        if self._since is None:
            self._since = now
        return load_stop(mark) if now - self._since >= SETTLING else None
