"""Turn a distribution of durations into polls per second, by the square-root law. Pure.

Let f be the density of durations, S their survival and h = f / S the hazard: how likely a running
task is to end now. Polling with intensity u(t) costs N = ∫ u S dt polls per task, and an end is
noticed half an interval late on average, L = ∫ f / (2u) dt. For a given N, L is minimal if

    u(t) ∝ √h(t)

so polls are rare while nothing can be ready, and dense where ends cluster (derived in
docs/design.md, "When to poll: the square-root law").
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import Final

from ..settings import PollPolicy
from .life_table import BINS, EDGES, MIDDLES, WIDTHS, Estimate, bin_of

JITTER: Final = (0.8, 0.4)
"""The smallest random factor applied to an interval, and the width of the range above it."""
MIN_RATE: Final = 1e-9
"""The lowest poll rate of any policy, in polls per second."""
PRIOR_GROWTH: Final = 0.2
"""The interval as a fraction of the age before anything is learned, at 8 polls per task."""
TRUSTED_SUPPORT: Final = 1.0
"""The number of observed tasks at which the learned rate and the prior have equal weight."""


class Curve:
    """The integral of an intensity: the expected number of polls up to each age, and its inverse.

    Args:
        intensity: the polls per second in each bin, all above 0.
    """

    __slots__ = ("_rates", "_sums")

    def __init__(self, intensity: list[float]) -> None:
        self._rates = intensity
        parts = (rate * width for rate, width in zip(intensity, WIDTHS, strict=True))
        self._sums = list(accumulate(parts, initial=intensity[0] * EDGES[0]))

    def after(self, age: float, polls: float) -> float:
        """Return the age, in seconds, by which ``polls`` more polls are expected after ``age``.

        Beyond the grid, the rate of the last bin applies.
        """
        k = bin_of(age)
        target = self._sums[k] + (age - EDGES[k]) * self._rates[k] + polls
        k = min(BINS - 1, max(0, bisect_right(self._sums, target) - 1))
        return EDGES[k] + (target - self._sums[k]) / self._rates[k]


class Intensity:
    """The square-root law, applied within a policy's bounds.

    1. The law gives a shape, √h.
    2. The shape is scaled so that, within the bounds, a task takes the policy's number of polls.
    3. At ages with few observed tasks, the result is blended with the prior: an interval that grows
       with the age and needs no knowledge of durations.
    4. Both bounds apply at every age: the minimum rate, so a straggler is never forgotten, and the
       policy's shortest interval.

    Args:
        min_rate: the lowest rate at any age, in polls per second.
        max_rate: the highest rate at any age, in polls per second.
        polls: the average number of polls per task, including the poll that detects its end.
    """

    def __init__(self, min_rate: float, max_rate: float, polls: float) -> None:
        self._min_rate = min_rate
        self._max_rate = max_rate
        self._polls = polls - 0.5  # on average, a task ends in the middle of its last interval
        growth = PRIOR_GROWTH * 8.0 / polls
        self._prior = [self._bounded(1.0 / (growth * age)) for age in MIDDLES]
        self._prior_curve = Curve(self._prior)

    @classmethod
    def of(cls, policy: PollPolicy) -> Intensity:
        """Return a policy's intensity, which respects the policy's intervals despite jitter.

        If the shortest and the longest interval conflict, the longest takes precedence.
        """
        max_rate = JITTER[0] / min(policy.shortest, policy.longest)
        min_rate = min(max_rate, max(MIN_RATE, sum(JITTER) / policy.longest))
        return cls(min_rate, max_rate, policy.polls_per_task)

    def prior(self) -> Curve:
        """Return the curve used before anything is learned: the interval grows with the age."""
        return self._prior_curve

    def curve(self, estimate: Estimate) -> Curve:
        """Return the curve for an estimate, which may be empty."""
        shape = [
            math.sqrt(mass / (width * max(left + 0.5 * mass, 1e-9))) if mass else 0.0
            for mass, left, width in zip(estimate.density, estimate.survival, WIDTHS, strict=True)
        ]
        scale = self._scale(shape, estimate)
        rates: list[float] = []
        for height, prior, support in zip(shape, self._prior, estimate.support, strict=True):
            trust = support * support / (support * support + TRUSTED_SUPPORT * TRUSTED_SUPPORT)
            learned = self._bounded(scale * height)
            rates.append(self._bounded(trust * learned + (1.0 - trust) * prior))
        return Curve(rates)

    def _bounded(self, rate: float) -> float:
        return min(self._max_rate, max(self._min_rate, rate))

    def _scale(self, shape: list[float], estimate: Estimate) -> float:
        """Return the factor that scales the shape to the policy's number of polls per task.

        The number of polls rises with the factor, so bisection finds the factor. Ages with hardly
        any observed tasks are left out, because the prior decides there.
        """
        target = self._polls * sum(estimate.density)
        parts = [
            (height, left * width)
            for height, left, width, support in zip(
                shape, estimate.survival, WIDTHS, estimate.support, strict=True
            )
            if height > 0.0 and support > 1.0
        ]
        unbounded = sum(height * time for height, time in parts)
        if unbounded <= 0.0:
            return 0.0
        low, high = 0.5 * target / unbounded, 4.0 * target / unbounded
        for _ in range(8):
            middle = 0.5 * (low + high)
            cost = sum(self._bounded(middle * height) * time for height, time in parts)
            low, high = (middle, high) if cost < target else (low, middle)
        return 0.5 * (low + high)
