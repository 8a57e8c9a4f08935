"""Decide the intervals between polls that different workers may make. Pure: ages are arguments.

`Schedule` knows every task in its process and each task's due time. A fleet's workers share no such
list: each worker computes the next interval for its current task, then returns it to the queue.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from ..settings import PollPolicy
from .durations import Durations
from .intensity import JITTER, Curve, Intensity

ENDS_PER_UPDATE = 8
"""The number of tasks in a group that end between two curve updates. The first update follows the
first end."""


class PollIntervals:
    """Computes the intervals between polls, learning only from tasks that have ended.

    A single worker does not know which tasks are still running, so it cannot correct for many quick
    tasks ending at once.

    Args:
        policy: the poll policy; its ``max_rate`` is not applied here.
        durations: the durations learned so far, to which new durations are added.
        uniform: returns a random number in [0, 1) for the jitter.
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
        """Return the number of seconds until a task's next poll.

        Args:
            group: the task's group. Tasks in the same group are expected to take equally long.
            age: seconds since the task was created. A negative age, which is possible if clocks
                differ, counts as 0.
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
            low: the age, in seconds, at which the task was still running.
            high: the age, in seconds, by which the task had ended.
        """
        durations = self._durations.group(group)
        durations.observe(durations.next_weight(0), low, high)
        self._ends[group] += 1
        if self._ends[group] % ENDS_PER_UPDATE == 1:
            self._curves.pop(group, None)
