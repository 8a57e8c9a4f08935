"""Learn how long tasks take, as they end. Pure: ages and times come in as arguments.

Tasks are learned by group: those whose requests should take alike (kind, model, resolution,
duration, audio). A `Group` is the record of what was observed, which is kept between runs; a
`LearnedCurve` is that record in use, and says when to poll next.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from itertools import accumulate
from typing import Any, Final, cast

from .intensity import Intensity
from .life_table import BINS, STEP, Estimate, bin_of, life_table, smooth

MEMORY: Final = 75.0
"""Tasks created after which an observation counts e times less: twice as many count in effect."""
CROWD_PART: Final = 1 / 8
"""Part of the running tasks that is a lower bound twice: of the memory, so that a batch is not
forgotten midway, and of the answers between two curves, so that a batch costs little per poll."""
PRIOR_WEIGHT: Final = 0.05
"""Probability of an end where the estimate does not expect one."""
MAX_RATIO: Final = 20.0
"""An end that may be anywhere below an age is spread over ages down to this fraction of it."""
MAX_GROUPS: Final = 256
COHORT: Final = 0.25
"""Seconds: tasks created this close together are counted as one cohort."""
FIRST_UPDATE: Final = 20.0
MAX_UPDATE: Final = 160.0
UPDATE_GROWTH: Final = 1.25
"""Answers after which a curve is made again: few at first, more each time."""
NEWS_PER_END: Final = 8
"""What an end counts for, where an answer that a task still runs counts for one."""


class Group:
    """The observed durations of one group: a weighted life table over log time.

    Newer tasks weigh more, by the order of their creation, so that a change at Keevx is learned
    within 100 to 200 tasks. Hazards are ratios, so what old tasks showed about an age stays until
    newer ones have reached it.
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
            running: tasks of the group that run now; the more, the slower the old ones fade.
        """
        self._clock += 1.0 / max(MEMORY, running * CROWD_PART)
        if self._clock - self._base > 50.0:  # before the exponentials overflow
            self._rescale()
        return self._clock

    def observe(self, log_weight: float, low: float, high: float) -> None:
        """Record a task that ended between two ages, in seconds; equal ages are exact.

        Its weight is spread over the bins between them in proportion to the last estimate (one
        step of expectation maximisation), and a little evenly, so that an estimate which is wrong
        can be corrected.

        Args:
            log_weight: of ``next_weight``, when the task was created.
            low: age at which it still ran.
            high: age by which it had ended.
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
        """Return the distribution that the ended and the running tasks show together.

        Args:
            running: age in seconds, log weight, and number of tasks not known to have ended.
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
        """Let weights count from now: the newest is 1."""
        factor = math.exp(self._base - self._clock)
        self._base = self._clock
        self._ends = [value * factor for value in self._ends]
        self._squares = [value * factor * factor for value in self._squares]

    def dump(self) -> list[list[float]]:
        """Return what was observed, as rows of bin, weight and squared weight, fit for JSON."""
        self._rescale()
        rows = zip(range(BINS), self._ends, self._squares, strict=True)
        return [[k, weight, square] for k, weight, square in rows if weight > 0.0 and square > 0.0]

    def load(self, rows: object) -> None:
        """Take in what ``dump`` returned. Any other row is left out: the record may be damaged."""
        for row in _as_list(rows):
            match _as_list(row):
                case [int(k), float(weight), float(square)]:
                    # Weights are at most 1 each, so their squares sum to no more than they do.
                    if 0 <= k < BINS and 0.0 < square <= weight < 1e6:
                        self._ends[k], self._squares[k] = weight, square
                case _:
                    pass


class Durations:
    """What was learned about every group.

    It outlives schedules, and programs where it is kept in the journal. At most ``MAX_GROUPS`` are
    remembered; the one that was not used for longest makes room.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def group(self, name: Hashable) -> Group:
        """Return a group, a new and empty one if the name is new."""
        group = self._groups.pop(name, None) or Group()
        self._groups[name] = group
        if len(self._groups) > MAX_GROUPS:
            del self._groups[next(iter(self._groups))]
        return group

    def dump(self) -> dict[str, Any]:
        """Return all groups whose name is a string, fit for JSON and for ``load``."""
        groups = {name: group for name, group in self._groups.items() if isinstance(name, str)}
        return {"step": STEP, "groups": {name: group.dump() for name, group in groups.items()}}

    def load(self, data: object) -> None:
        """Take in what ``dump`` returned, on top of what is known.

        Data of another kind, or with bins of another width, are ignored without an error:
        learning from scratch costs a few polls.
        """
        record = _as_dict(data)
        groups = _as_dict(record.get("groups")) if record.get("step") == STEP else {}
        for name, rows in groups.items():
            if isinstance(name, str):
                self.group(name).load(rows)


class Cohort:
    """Tasks of one group that were created within the same moment, and still run."""

    __slots__ = ("count", "created_at", "curve", "key", "weight")

    def __init__(self, curve: LearnedCurve, key: int, created_at: float, weight: float) -> None:
        self.curve = curve
        self.key = key
        self.created_at = created_at
        self.weight = weight
        self.count = 0


class LearnedCurve:
    """When to poll the tasks of one group, learned from those that ended and those that run.

    `observe` takes every answer and `next` gives every interval. Between them the curve is made
    again once enough answers have come in, which takes about 1 ms.

    Args:
        group: the record; None learns nothing and polls by age alone.
        intensity: the law, within a policy's bounds.
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
        """Tasks that run."""

    def add(self, created_at: float) -> Cohort:
        """Count in a task, and return its cohort."""
        key = int(created_at / COHORT)
        cohort = self._cohorts.get(key)
        weight = self._group.next_weight(self.count) if self._group else 0.0
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(self, key, created_at, weight)
        cohort.count += 1
        self.count += 1
        return cohort

    def remove(self, cohort: Cohort) -> None:
        """Count out a task of a cohort, whether it ended or is no longer waited for."""
        self.count -= 1
        cohort.count -= 1
        if not cohort.count:
            del self._cohorts[cohort.key]

    def observe(self, cohort: Cohort, now: float, ended: tuple[float, float] | None = None) -> None:
        """Learn from the answer about a task.

        Args:
            cohort: the task's; if it ended, it must have been removed.
            now: the time, on the clock of ``add``.
            ended: two ages in seconds between which it ended, or None if it still runs.
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
        """Return the age, in seconds, at which a task polled at ``age`` is to be polled next.

        Args:
            age: at the last poll, or 0.
            polls: expected polls until then; other values than 1 jitter or stretch the interval.
        """
        return self._curve.after(age, polls)


def _as_dict(value: object) -> dict[object, object]:
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _sums_from_right(values: list[float]) -> list[float]:
    return list(accumulate(reversed(values)))[::-1]
