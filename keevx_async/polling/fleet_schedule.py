"""Decide how long to wait between polls that different workers may make. Pure: ages are arguments.

`Schedule` knows all tasks of its process and when each is due. Workers of a fleet share no such
list: each computes the next interval for the one task it has, and returns the task to the queue.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from ..settings import PollPolicy
from .durations import Durations
from .intensity import JITTER, Curve, Intensity

ENDS_PER_UPDATE = 8
"""How many tasks of a group end between two curves. The first end causes the first curve."""


class PollIntervals:
    """Intervals between polls, learned only from the tasks that have ended.

    A single worker does not know which tasks are still running, so it cannot correct for many quick
    tasks ending at once.

    Args:
        policy: the bounds and the effort; its ``max_rate`` is not applied here.
        durations: the durations known so far, to which new ones are added.
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
        self._intensity = Intensity.of(policy)
        self._curves: dict[str, Curve] = {}
        self._ends: Counter[str] = Counter()

    def next(self, group: str, age: float) -> float:
        """Return the seconds until the next poll of a task.

        Args:
            group: the task's group. Tasks of one group are expected to take equally long.
            age: seconds since the task was created. If clocks differ it may be negative, which
                counts as 0.
        """
        age = max(0.0, age)
        curve = self._curves.get(group)
        if curve is None:
            estimate = self._durations.group(group).estimate(())
            curve = self._curves[group] = self._intensity.curve(estimate)
        jitter = JITTER[0] + JITTER[1] * self._uniform()
        return min(self._longest, max(self._shortest, curve.after(age, jitter) - age))

    def observe(self, group: str, low: float, high: float) -> None:
        """Learn from a task that ended between two ages.

        Args:
            group: the task's group.
            low: the age in seconds at which it was still running.
            high: the age in seconds by which it had ended.
        """
        durations = self._durations.group(group)
        durations.observe(durations.next_weight(0), low, high)
        self._ends[group] += 1
        if self._ends[group] % ENDS_PER_UPDATE == 1:
            self._curves.pop(group, None)
