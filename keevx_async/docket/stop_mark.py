"""The mark of a stopped fleet: a journal note that is read by programs waiting for the fleet."""

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
"""The name of the journal note that contains the mark. It is empty or missing while the fleet is
working. A worker clears the mark on startup, and the script that records a create's ids clears it
if the create's intent is newer than the mark."""
SETTLING = 1.0
"""Seconds after which a mark means that the fleet has stopped. A mark that is cleared sooner
concerned a single create, such as one that exceeded the budget although smaller creates fit."""

_REFUSALS = {each.__name__: each for each in (APIError, AuthenticationError, InsufficientFunds)}


def dump_stop(error: KeevxError, at: float) -> str:
    """Return the mark for a fleet that was stopped by an error.

    Args:
        error: the error.
        at: when the fleet stopped, in seconds since the epoch. The mark starts with this time,
            which the script that records ids compares with the time of a create's intent.
    """
    name, values = type(error).__name__, list[Any]([error.message, error.hint])
    if isinstance(error, BudgetExceeded):
        values = [asdict(error.budget), error.spent, error.needed]
    elif name in _REFUSALS:
        values = [*error.args]
    return f"{at:.3f} {json.dumps([name, values], default=dict)}"


def load_stop(mark: str) -> KeevxError:
    """Return the error that a fleet's mark contains."""
    name, values = json.loads(mark.partition(" ")[2])
    if name == BudgetExceeded.__name__:
        budget, spent, needed = values
        return BudgetExceeded(Budget(**budget), spent, needed)
    if name in _REFUSALS:
        return _REFUSALS[name](*values)
    message, hint = values
    return KeevxError(message, hint=hint)


class StopWatch:
    """Watches a fleet's mark over time to decide whether the fleet has stopped.

    Args:
        before: the mark when the watch began. It is ignored, since restarted workers may not have
            cleared it yet.
    """

    def __init__(self, before: str) -> None:
        self._before = before
        self._since: float | None = None

    def observe(self, mark: str, now: float) -> KeevxError | None:
        """Return the error that stopped the fleet, or None if the fleet is working.

        Args:
            mark: the current mark; empty if there is none.
            now: the time on a monotonic clock, in seconds.
        """
        # 1. There is no mark, or only the earlier mark: the fleet is, or may be, working.
        # 2. There has been a mark for long enough, renewed or not: the fleet has stopped.
        if mark in ("", self._before):
            self._since = None
            return None
        if self._since is None:
            self._since = now
        return load_stop(mark) if now - self._since >= SETTLING else None
