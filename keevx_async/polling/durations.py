"""Learn how long tasks take, as they end. Pure: ages and times are arguments.

Durations are learned by group: requests with the same kind, model, resolution, duration and audio
should take the same time. A `Group` is the record of the observations, which is kept between runs.
A `LearnedCurve` applies that record to decide when to poll next.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from itertools import accumulate
from typing import Any, Final, cast

from .intensity import Intensity
from .life_table import BINS, STEP, Estimate, bin_of, life_table, smooth

MEMORY: Final = 75.0
"""The number of new tasks after which an observation's weight falls by a factor of e; in effect,
twice as many tasks count."""
CROWD_PART: Final = 1 / 8
"""This fraction of the running tasks is a lower bound for two numbers: the tasks remembered, so a
batch is not forgotten midway; and the responses between two curves, so each poll of a batch costs
little."""
PRIOR_WEIGHT: Final = 0.05
"""The probability of an end at an age at which the estimate expects none."""
MAX_RATIO: Final = 20.0
"""An end that may lie anywhere below an age is spread over ages down to the age divided by this."""
MAX_GROUPS: Final = 256
COHORT: Final = 0.25
"""Tasks created within this many seconds are counted as one cohort."""
FIRST_UPDATE: Final = 20.0
MAX_UPDATE: Final = 160.0
UPDATE_GROWTH: Final = 1.25
"""The number of responses after which a curve is recomputed: few at first, more each time."""
NEWS_PER_END: Final = 8
"""How much an end counts, relative to a response that says a task is still running."""


class Group:
    """The observed durations of one group: a weighted life table over log time.

    Newer tasks, by order of creation, weigh more, so a change at Keevx is learned within 100 to 200
    tasks. Hazards are ratios, so the evidence of old tasks about an age remains until newer tasks
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
            running: the number of the group's running tasks; the more, the slower old tasks fade.
        """
        self._clock += 1.0 / max(MEMORY, running * CROWD_PART)
        if self._clock - self._base > 50.0:  # before the exponentials overflow
            self._rescale()
        return self._clock

    def observe(self, log_weight: float, low: float, high: float) -> None:
        """Record a task that ended between two ages, in seconds; equal ages are exact.

        Its weight is spread over the bins between them in proportion to the last estimate (one step
        of expectation maximization). A small part is spread evenly, so a wrong estimate can be
        corrected.

        Args:
            log_weight: the result of ``next_weight`` when the task was created.
            low: the age at which the task was still running.
            high: the age by which it had ended.
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
            running: the age in seconds, the log weight and the number of tasks not known to have
                ended, per cohort.
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
                    # Weights are at most 1 each, so their squares sum to no more than they do.
                    if 0 <= k < BINS and 0.0 < square <= weight < 1e6:
                        self._ends[k], self._squares[k] = weight, square
                case _:
                    pass


class Durations:
    """The durations learned for every group.

    It outlives schedules and, if the journal stores it, programs. At most ``MAX_GROUPS`` are
    remembered; the least recently used group is dropped.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def group(self, name: Hashable) -> Group:
        """Return the group with a name, creating an empty group if the name is new."""
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
        """Load the result of ``dump``, in addition to the known durations.

        Other data, or data with bins of another width, is ignored without an error: learning from
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
    """When to poll the tasks of one group, learned from its ended and running tasks.

    `observe` receives every response, and `next` returns every interval. The curve is recomputed
    once enough responses have arrived, which takes about 1 ms.

    Args:
        group: the group's record; None learns nothing and polls by age alone.
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
        """Remove a task from its cohort, whether it ended or is no longer waited for."""
        self.count -= 1
        cohort.count -= 1
        if not cohort.count:
            del self._cohorts[cohort.key]

    def observe(self, cohort: Cohort, now: float, ended: tuple[float, float] | None = None) -> None:
        """Learn from a response about a task.

        Args:
            cohort: the task's cohort; a task that ended must already have been removed from it.
            now: the current time, on the same clock as ``add``.
            ended: the ages, in seconds, between which the task ended; None if it is still running.
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
        """Return the age, in seconds, at which a task last polled at ``age`` is polled again.

        Args:
            age: the age at the last poll, or 0.
            polls: the expected number of polls until then; values other than 1 jitter or stretch
                the interval.
        """
        return self._curve.after(age, polls)


def _as_dict(value: object) -> dict[object, object]:
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _sums_from_right(values: list[float]) -> list[float]:
    return list(accumulate(reversed(values)))[::-1]
