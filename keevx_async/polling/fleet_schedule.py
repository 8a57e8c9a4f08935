"""Decide how long to wait between polls when each may be another worker's. Pure: ages come in.

`Schedule` knows all tasks of its process and when each is due. Workers of a fleet share no such
list: each asks for the next interval of the one task it holds, and hands the task back to the
queue.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from ..settings import PollPolicy
from .durations import Durations
from .intensity import JITTER, Curve, Intensity

ENDS_PER_UPDATE = 8
"""Ends of a group between two curves; the first end makes one at once."""


class PollIntervals:
    """Intervals between polls, learned from the ends of tasks alone.

    Which tasks still run is not known to one worker, so a burst of quick ends is taken as it is.

    Args:
        policy: the bounds and the effort; its ``max_rate`` is not applied here.
        durations: what is known of durations, and where what is learned goes.
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
            group: tasks of one group are expected to take equally long.
            age: seconds since it was created; below 0 where clocks differ, which counts as 0.
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
            group: the task's.
            low: seconds at which it still ran.
            high: seconds at which it had ended.
        """
        durations = self._durations.group(group)
        durations.observe(durations.next_weight(0), low, high)
        self._ends[group] += 1
        if self._ends[group] % ENDS_PER_UPDATE == 1:
            self._curves.pop(group, None)
