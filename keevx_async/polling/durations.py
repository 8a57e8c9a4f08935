"""Learn task durations as tasks end. Pure: ages and times are arguments.

Durations are learned by group: requests with the same kind, model, resolution, duration and audio
should take the same time. A `Group` records the observations and is kept between runs. A
`LearnedCurve` uses a group's record to decide when to poll next.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from itertools import accumulate
from typing import Any, Final, cast

from .intensity import Intensity
from .life_table import BINS, STEP, Estimate, bin_of, life_table, smooth

MEMORY: Final = 75.0
"""The number of new tasks after which an observation's weight has fallen by a factor of e. The
effective sample size is twice this number."""
CROWD_PART: Final = 1 / 8
"""This fraction of the running tasks is a lower bound for two numbers: the effective ``MEMORY``, so
a batch is not forgotten midway, and the number of responses between two curve updates, so polling a
batch is cheap."""
PRIOR_WEIGHT: Final = 0.05
"""The probability spread evenly over the possible ages of an end, whatever the estimate expects."""
MAX_RATIO: Final = 20.0
"""An end is spread over ages no lower than its latest possible age divided by this number."""
MAX_GROUPS: Final = 256
COHORT: Final = 0.25
"""Tasks created in the same interval of this many seconds form one cohort."""
FIRST_UPDATE: Final = 20.0
MAX_UPDATE: Final = 160.0
UPDATE_GROWTH: Final = 1.25
"""The first and largest number of responses between two curve updates, and the growth factor."""
NEWS_PER_END: Final = 8
"""The weight of an end, relative to a response that reports a task as still running."""


class Group:
    """The observed durations of one group: a weighted life table over log time.

    Tasks that were created later weigh more, so a change at Keevx is learned within 100 to 200
    tasks. Hazards are ratios, so what old tasks showed about an age still counts until newer tasks
    have reached that age.
    """

    __slots__ = ("_base", "_clock", "_density", "_ends", "_squares")

    def __init__(self) -> None:
        self._clock = 0.0
        self._base = 0.0
        self._ends = [0.0] * BINS
        self._squares = [0.0] * BINS
        self._density = [0.0] * BINS

    def next_weight(self, running: int) -> float:
        """Return the log weight of a new task, which makes all earlier observations count less.

        Args:
            running: the number of running tasks in the group. The more tasks are running, the more
                slowly old tasks fade.
        """
        self._clock += 1.0 / max(MEMORY, running * CROWD_PART)
        if self._clock - self._base > 50.0:  # before the exponentials overflow
            self._rescale()
        return self._clock

    def observe(self, log_weight: float, low: float, high: float) -> None:
        """Record a task that ended between two ages, in seconds, or at an exact age if equal.

        The task's weight is spread over the bins between the two ages in proportion to the last
        estimate (one step of expectation maximization). A small part is spread evenly, so a wrong
        estimate can be corrected.

        Args:
            log_weight: the result of ``next_weight`` when the task was created.
            low: the age at which the task was still running.
            high: the age by which the task had ended.
        """
        weight = math.exp(log_weight - self._base)
        last = bin_of(high)
        first = min(last, bin_of(max(low, high / MAX_RATIO)))
        inside = self._density[first : last + 1]
        total = sum(inside) + PRIOR_WEIGHT
        even = PRIOR_WEIGHT / len(inside)
        for k, expected in enumerate(inside, first):
            share = (expected + even) / total
            self._ends[k] += weight * share
            self._squares[k] += weight * weight * share

    def estimate(self, running: Iterable[tuple[float, float, int]]) -> Estimate:
        """Return the distribution implied by the ended and the running tasks together.

        Args:
            running: each cohort's age in seconds, its log weight, and its number of tasks that are
                not known to have ended.
        """
        leaving, squares, withdrawn = self._ends.copy(), self._squares.copy(), [0.0] * BINS
        for age, log_weight, count in running:
            k, weight = bin_of(age), math.exp(log_weight - self._base)
            withdrawn[k] += weight * count
            leaving[k] += weight * count
            squares[k] += weight * weight * count
        risk, risk2 = _sums_from_right(leaving), _sums_from_right(squares)
        raw = life_table(self._ends, risk, withdrawn)
        # Kish's effective sample size: the number of equally weighted tasks with this variance.
        support = [y * y / y2 if y2 > 0.0 else 0.0 for y, y2 in zip(risk, risk2, strict=True)]
        count_of_ends = sum(self._ends) ** 2 / max(sum(self._squares), 1e-300)
        self._density = smooth(raw, count_of_ends)
        survival = [max(0.0, 1.0 - f) for f in accumulate(self._density)]
        return Estimate(self._density, survival, support)

    def _rescale(self) -> None:
        """Rescale the weights so that the newest is 1."""
        factor = math.exp(self._base - self._clock)
        self._base = self._clock
        self._ends = [value * factor for value in self._ends]
        self._squares = [value * factor * factor for value in self._squares]

    def dump(self) -> list[list[float]]:
        """Return the observations as JSON-compatible rows of bin, weight and squared weight."""
        self._rescale()
        rows = zip(range(BINS), self._ends, self._squares, strict=True)
        return [[k, weight, square] for k, weight, square in rows if weight > 0.0 and square > 0.0]

    def load(self, rows: object) -> None:
        """Load the result of ``dump``. Invalid rows are skipped: the record may be damaged."""
        for row in _as_list(rows):
            match _as_list(row):
                case [int(k), float(weight), float(square)]:
                    # No weight exceeds 1, so the sum of squares cannot exceed the sum of weights.
                    if 0 <= k < BINS and 0.0 < square <= weight < 1e6:
                        self._ends[k], self._squares[k] = weight, square
                case _:
                    pass


class Durations:
    """The durations learned for every group.

    The durations outlive schedules and, if the journal stores them, programs. At most
    ``MAX_GROUPS`` groups are remembered; beyond that, the least recently used group is dropped.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def group(self, name: Hashable) -> Group:
        """Return the group with the given name, creating an empty group if the name is new."""
        group = self._groups.pop(name, None) or Group()
        self._groups[name] = group
        if len(self._groups) > MAX_GROUPS:
            del self._groups[next(iter(self._groups))]
        return group

    def dump(self) -> dict[str, Any]:
        """Return all groups whose name is a string, as JSON-compatible data for ``load``."""
        groups = {name: group for name, group in self._groups.items() if isinstance(name, str)}
        return {"step": STEP, "groups": {name: group.dump() for name, group in groups.items()}}

    def load(self, data: object) -> None:
        """Load the result of ``dump`` into the known durations.

        Other data, or data with a different bin width, is ignored without an error: learning from
        scratch costs only a few polls.
        """
        record = _as_dict(data)
        groups = _as_dict(record.get("groups")) if record.get("step") == STEP else {}
        for name, rows in groups.items():
            if isinstance(name, str):
                self.group(name).load(rows)


class Cohort:
    """The running tasks of one group that were created at about the same time."""

    __slots__ = ("count", "created_at", "curve", "key", "weight")

    def __init__(self, curve: LearnedCurve, key: int, created_at: float, weight: float) -> None:
        self.curve = curve
        self.key = key
        self.created_at = created_at
        self.weight = weight
        self.count = 0


class LearnedCurve:
    """Decides when to poll one group's tasks, learning from its ended and running tasks.

    Pass every response to `observe`; `next` returns the age for the next poll. Recomputing the
    curve takes about 1 ms, so it is done only after enough responses have arrived.

    Args:
        group: the group's record. With None, nothing is learned and only the age counts.
        intensity: the square-root law, within a policy's bounds.
    """

    __slots__ = ("_cohorts", "_curve", "_group", "_intensity", "_news", "_update_at", "count")

    def __init__(self, group: Group | None, intensity: Intensity) -> None:
        self._group = group
        self._intensity = intensity
        self._cohorts: dict[int, Cohort] = {}
        self._news = 0
        self._update_at = FIRST_UPDATE
        self._curve = intensity.curve(group.estimate(())) if group else intensity.prior()
        self.count = 0
        """The number of running tasks."""

    def add(self, created_at: float) -> Cohort:
        """Add a task, and return its cohort."""
        key = int(created_at / COHORT)
        cohort = self._cohorts.get(key)
        weight = self._group.next_weight(self.count) if self._group else 0.0
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(self, key, created_at, weight)
        cohort.count += 1
        self.count += 1
        return cohort

    def remove(self, cohort: Cohort) -> None:
        """Remove a task from its cohort, because it ended or nobody waits for it any longer."""
        self.count -= 1
        cohort.count -= 1
        if not cohort.count:
            del self._cohorts[cohort.key]

    def observe(self, cohort: Cohort, now: float, ended: tuple[float, float] | None = None) -> None:
        """Learn from a response about a task.

        Args:
            cohort: the task's cohort; a task that ended must already have been removed from it.
            now: the current time, on the same clock as ``add``.
            ended: lower and upper bounds, in seconds, on the task's age when it ended; None if the
                task is still running.
        """
        if ended is not None and self._group is not None:
            self._group.observe(cohort.weight, *ended)
        self._news += 1 if ended is None else NEWS_PER_END
        if self._news < max(self._update_at, self.count * CROWD_PART):
            return
        self._news = 0
        self._update_at = min(MAX_UPDATE, UPDATE_GROWTH * self._update_at)
        if self._group is not None:
            running = ((now - c.created_at, c.weight, c.count) for c in self._cohorts.values())
            self._curve = self._intensity.curve(self._group.estimate(running))

    def next(self, age: float, polls: float = 1.0) -> float:
        """Return the age, in seconds, for the next poll of a task last polled at ``age``.

        Args:
            age: the age at the last poll, or 0.
            polls: the expected number of polls up to that age; values other than 1 jitter or
                stretch the interval.
        """
        return self._curve.after(age, polls)


def _as_dict(value: object) -> dict[object, object]:
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _sums_from_right(values: list[float]) -> list[float]:
    return list(accumulate(reversed(values)))[::-1]
