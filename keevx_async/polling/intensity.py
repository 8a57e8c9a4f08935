"""Turn a distribution of durations into polls per second, by the square-root law. Pure.

Let f be the density of durations, S their survival and h = f / S the hazard: how likely a task that
still runs is to end now. Polling with intensity u(t) costs N = ∫ u S dt polls per task, and an end
is noticed half an interval late on average, L = ∫ f / (2u) dt. L is least for a given N where

    u(t) ∝ √h(t)

so polls are rare while nothing can be ready, and dense where ends cluster (docs/design.md, "When to
poll: the square-root law", derives it).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import Final

from ..settings import PollPolicy
from .life_table import BINS, EDGES, MIDDLES, WIDTHS, Estimate, bin_of

JITTER: Final = (0.8, 0.4)
"""Smallest factor on an interval, and the spread above it."""
MIN_RATE: Final = 1e-9
"""Polls per second below which no policy goes."""
PRIOR_GROWTH: Final = 0.2
"""Interval as a part of the age while nothing is known, at 8 polls per task."""
TRUSTED_SUPPORT: Final = 1.0
"""Tasks observed through an age at which the learned rate and the prior weigh the same."""


class Curve:
    """The integral of an intensity: the expected number of polls up to each age, and its inverse.

    Args:
        intensity: polls per second in each bin, all above 0.
    """

    __slots__ = ("_rates", "_sums")

    def __init__(self, intensity: list[float]) -> None:
        self._rates = intensity
        parts = (rate * width for rate, width in zip(intensity, WIDTHS, strict=True))
        self._sums = list(accumulate(parts, initial=intensity[0] * EDGES[0]))

    def after(self, age: float, polls: float) -> float:
        """Return the age in seconds by which ``polls`` more are expected than by ``age``.

        Ages beyond the grid continue at the rate of its last bin.
        """
        k = bin_of(age)
        target = self._sums[k] + (age - EDGES[k]) * self._rates[k] + polls
        k = min(BINS - 1, max(0, bisect_right(self._sums, target) - 1))
        return EDGES[k] + (target - self._sums[k]) / self._rates[k]


class Intensity:
    """The square-root law within a policy's bounds.

    1. The law gives a shape, √h.
    2. The shape is scaled so that a task takes the policy's number of polls, bounds included.
    3. Where few tasks were observed, the result is blended with the prior: an interval that grows
       with the age, which needs to know nothing of the durations.
    4. Both bounds hold at every age: the floor, so that a straggler is never forgotten, and the
       policy's shortest interval.

    Args:
        min_rate: polls per second at any age, at the least.
        max_rate: polls per second at any age, at the most.
        polls: polls that a task takes on average, the one that finds its end included.
    """

    def __init__(self, min_rate: float, max_rate: float, polls: float) -> None:
        self._min_rate = min_rate
        self._max_rate = max_rate
        self._polls = polls - 0.5  # the last interval is cut by the end, in its middle on average
        growth = PRIOR_GROWTH * 8.0 / polls
        self._prior = [self._bounded(1.0 / (growth * age)) for age in MIDDLES]
        self._prior_curve = Curve(self._prior)

    @classmethod
    def of(cls, policy: PollPolicy) -> Intensity:
        """Return the intensity for a policy: jitter keeps its shortest and longest interval.

        Where the two are at odds, the longest holds.
        """
        max_rate = JITTER[0] / min(policy.shortest, policy.longest)
        min_rate = min(max_rate, max(MIN_RATE, sum(JITTER) / policy.longest))
        return cls(min_rate, max_rate, policy.polls_per_task)

    def prior(self) -> Curve:
        """Return the curve while nothing is known: the interval grows with the age."""
        return self._prior_curve

    def curve(self, estimate: Estimate) -> Curve:
        """Return the curve for what is known, which may be nothing."""
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
        """Return the factor at which the shape, within its bounds, costs the policy's polls.

        The cost rises with the factor, so halving an interval finds it. Ages that hardly a task
        was observed through are left out: there, the prior decides.
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
