"""When a task is next asked about, whichever worker does it. Pure: ages come in as arguments."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from ..settings import PollPolicy
from .durations import Curve, Durations
from .schedule import JITTER, intensity_of

RELEARN = 8
"""Ends of a group after which its curve is made anew: a first one is, then every so many."""


class PollIntervals:
    """Spreads polls by how long tasks have been seen to take.

    A schedule of one process knows all its tasks that live; here each poll may be another
    worker's, so only ends are learned from.

    Args:
        policy: the bounds and the effort.
        durations: what is known, and where what is learned goes.
        uniform: returns a number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        policy: PollPolicy,
        durations: Durations,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._shortest = min(policy.shortest, policy.longest)
        self._longest = policy.longest
        self._durations = durations
        self._uniform = uniform
        self._intensity = intensity_of(policy)
        self._curves: dict[str, Curve] = {}
        self._news: Counter[str] = Counter()

    def next(self, group: str, age: float) -> float:
        """Return the seconds until a task of a group, now of that age, is to be asked about."""
        age = max(0.0, age)  # below 0 where a clock was wrong
        jitter = JITTER[0] + JITTER[1] * self._uniform()
        wait = self._curve(group).after(age, jitter) - age
        return min(self._longest, max(self._shortest, wait))

    def observe(self, group: str, low: float, high: float) -> None:
        """Learn of a task that ended between two ages, in seconds."""
        known = self._durations.group(group)
        known.observe(known.next_weight(0), low, high)
        self._news[group] += 1
        if self._news[group] % RELEARN == 1:
            self._curves.pop(group, None)

    def _curve(self, group: str) -> Curve:
        curve = self._curves.get(group)
        if curve is None:
            estimate = self._durations.group(group).estimate(())
            curve = self._curves[group] = self._intensity.curve(estimate)
        return curve
