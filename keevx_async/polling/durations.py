"""How long tasks take, learned as they end. A pure estimator: ages come in as arguments."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable
from itertools import accumulate, pairwise
from typing import Any, Final, cast

from attrs import frozen

STEP: Final = 0.02
"""Width of a bin in log time: ages are told apart to 2%."""
BINS: Final = 680
EDGES: Final = [0.05 * math.exp(STEP * k) for k in range(BINS + 1)]
"""Seconds: from 50 ms to 11 hours."""
WIDTHS: Final = [after - before for before, after in pairwise(EDGES)]
MIDDLES: Final = [math.sqrt(before * after) for before, after in pairwise(EDGES)]

GROWTH: Final = 0.2
"""Interval by age while nothing is known, at 8 polls per task."""
ENOUGH: Final = 1.0
"""Tasks watched through an age, at which the learned and the growing interval weigh the same."""
MEMORY: Final = 75.0
"""Creations after which an observation counts e times less: twice as many count in effect."""
MAX_POLL_TIMES: Final = 8.0
"""Under a crowd the memory is that part of it, so that a batch is not forgotten in its midst."""
PRIOR_WEIGHT: Final = 0.05
"""Probability that an end lies where the estimate does not expect it."""
WIDEST: Final = 20.0
"""An end known only to lie below an age is looked for from this part of the age on."""
MAX_GROUPS: Final = 256
BANDWIDTHS: Final = (1.0, 0.6, 0.35, 0.2)
"""Tried by cross-validation, in units of Silverman's rule."""
USUAL: Final = 0.4
"""Deviation of log time that is expected before much is known."""


def bin_of(age: float) -> int:
    """Return the bin of an age in seconds; those outside the grid fall into its ends."""
    if age <= EDGES[0]:
        return 0
    return min(BINS - 1, int(math.log(age / EDGES[0]) / STEP))


@frozen
class Estimate:
    """What is known of the durations of one group, bin by bin.

    Attributes:
        density: probability of ending in the bin; sums to what is known of the whole.
        survival: probability of reaching the bin's middle.
        known: effective number of tasks that were watched through the bin.
    """

    density: list[float]
    survival: list[float]
    known: list[float]


class Group:
    """The durations of one kind of job: a weighted life table over log time.

    Newer tasks weigh more, by the order of their creation. Hazards are ratios, so an age that
    only old tasks have reached keeps what they told.
    """

    __slots__ = ("_base", "_clock", "_deaths", "_density", "_squares")

    def __init__(self) -> None:
        self._clock = 0.0
        self._base = 0.0
        self._deaths = [0.0] * BINS
        self._squares = [0.0] * BINS
        self._density = [0.0] * BINS

    def next_weight(self, crowd: int) -> float:
        """Return the log weight of a task created among so many that are not ended."""
        self._clock += 1.0 / max(MEMORY, crowd / MAX_POLL_TIMES)
        if self._clock - self._base > 50.0:
            self._rescale()
        return self._clock

    def observe(self, log_weight: float, low: float, high: float) -> None:
        """Take in a task that ended between two ages, in seconds."""
        weight = math.exp(log_weight - self._base)
        last = bin_of(high)
        first = min(last, bin_of(max(low, high / WIDEST)))
        inside = self._density[first : last + 1]
        total = sum(inside) + PRIOR_WEIGHT
        even = PRIOR_WEIGHT / len(inside)
        for k, expected in enumerate(inside, first):
            share = (expected + even) / total
            self._deaths[k] += weight * share
            self._squares[k] += weight * weight * share

    def estimate(self, alive: Iterable[tuple[float, float, int]]) -> Estimate:
        """Return what the ended and the living tell.

        Args:
            alive: age in seconds, log weight and number of tasks not known to have ended.
        """
        leaving, squares, lost = self._deaths.copy(), self._squares.copy(), [0.0] * BINS
        for age, log_weight, count in alive:
            k, weight = bin_of(age), math.exp(log_weight - self._base)
            lost[k] += weight * count
            leaving[k] += weight * count
            squares[k] += weight * weight * count
        risk, risk2 = _from_right(leaving), _from_right(squares)
        raw = _life_table(self._deaths, risk, lost)
        known = [y * y / y2 if y2 > 0.0 else 0.0 for y, y2 in zip(risk, risk2, strict=True)]
        ended = sum(self._deaths) ** 2 / max(sum(self._squares), 1e-300)
        self._density = _smooth(raw, ended)
        survival = [max(0.0, 1.0 - f) for f in accumulate(self._density)]
        return Estimate(self._density, survival, known)

    def _rescale(self) -> None:
        factor = math.exp(self._base - self._clock)
        self._base = self._clock
        self._deaths = [value * factor for value in self._deaths]
        self._squares = [value * factor * factor for value in self._squares]

    def dump(self) -> list[list[float]]:
        """Return what was learned: bin, weight, squared weight."""
        self._rescale()
        rows = zip(range(BINS), self._deaths, self._squares, strict=True)
        return [[k, d, d2] for k, d, d2 in rows if d > 0.0 and d2 > 0.0]

    def load(self, rows: object) -> None:
        """Take in what was dumped, leaving out what makes no sense."""
        for k, weight, square in filter(None, map(_row, _list(rows))):
            self._deaths[k], self._squares[k] = weight, square


class Durations:
    """What was learned of every group; outlives schedules, and programs where it is kept."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def group(self, name: Hashable) -> Group:
        """Return a group, new if need be; the one not used for longest makes room."""
        found = self._groups.pop(name, None) or Group()
        self._groups[name] = found
        if len(self._groups) > MAX_GROUPS:
            del self._groups[next(iter(self._groups))]
        return found

    def dump(self) -> dict[str, Any]:
        """Return all that was learned under names that are text, fit for JSON."""
        named = {name: one for name, one in self._groups.items() if isinstance(name, str)}
        return {"step": STEP, "groups": {name: one.dump() for name, one in named.items()}}

    def load(self, data: object) -> None:
        """Take in what was dumped; nothing where the data make no sense."""
        whole = _mapping(data)
        groups = _mapping(whole.get("groups")) if whole.get("step") == STEP else {}
        for name, rows in groups.items():
            if isinstance(name, str):
                self.group(name).load(rows)


class Curve:
    """Expected polls up to each age, and back: the integral of the intensity of polling.

    Args:
        intensity: polls per second in each bin.
    """

    __slots__ = ("_rates", "_sums")

    def __init__(self, intensity: list[float]) -> None:
        self._rates = intensity
        parts = (rate * width for rate, width in zip(intensity, WIDTHS, strict=True))
        self._sums = list(accumulate(parts, initial=intensity[0] * EDGES[0]))

    def after(self, age: float, polls: float) -> float:
        """Return the age at which so many polls more are expected than at the age given."""
        return self._age(self._polls(age) + polls)

    def _polls(self, age: float) -> float:
        k = bin_of(age)
        return self._sums[k] + (age - EDGES[k]) * self._rates[k]

    def _age(self, polls: float) -> float:
        k = min(BINS - 1, max(0, bisect_right(self._sums, polls) - 1))
        return EDGES[k] + (polls - self._sums[k]) / self._rates[k]


class Intensity:
    """Turns what is known of durations into polls per second.

    With h the hazard of ending, lag is least for a number of polls when the intensity is
    proportional to the square root of h.

    Args:
        least: polls per second at any age.
        most: polls per second at any age.
        polls: polls that a task takes on average, the last one included.
    """

    def __init__(self, least: float, most: float, polls: float) -> None:
        self._least = least
        self._most = most
        self._polls = polls - 0.5
        growth = GROWTH * 8.0 / polls
        self._prior = [self._bounded(1.0 / (growth * age)) for age in MIDDLES]
        self._unknown = Curve(self._prior)

    def prior(self) -> Curve:
        """Return the curve of nothing known: the interval grows with the age."""
        return self._unknown

    def curve(self, estimate: Estimate) -> Curve:
        """Return the learned curve where enough is known, else the prior's."""
        shape = [
            math.sqrt(mass / (width * max(left + 0.5 * mass, 1e-9))) if mass else 0.0
            for mass, left, width in zip(estimate.density, estimate.survival, WIDTHS, strict=True)
        ]
        effort = self._effort(shape, estimate)
        return Curve(
            [
                self._mixed(effort * height, before, known)
                for height, before, known in zip(shape, self._prior, estimate.known, strict=True)
            ]
        )

    def _mixed(self, learned: float, before: float, known: float) -> float:
        trust = known * known / (known * known + ENOUGH * ENOUGH)
        return self._bounded(trust * self._bounded(learned) + (1.0 - trust) * before)

    def _bounded(self, rate: float) -> float:
        return min(self._most, max(self._least, rate))

    def _effort(self, shape: list[float], estimate: Estimate) -> float:
        """Return the factor at which polls come to what was asked for, bounds included."""
        target = self._polls * sum(estimate.density)
        parts = [
            (height, left * width)
            for height, left, width, known in zip(
                shape, estimate.survival, WIDTHS, estimate.known, strict=True
            )
            if height > 0.0 and known > 1.0
        ]
        plain = sum(height * time for height, time in parts)
        if plain <= 0.0:
            return 0.0
        low, high = 0.5 * target / plain, 4.0 * target / plain
        for _ in range(8):
            middle = 0.5 * (low + high)
            spent = sum(self._bounded(middle * height) * time for height, time in parts)
            low, high = (middle, high) if spent < target else (low, middle)
        return 0.5 * (low + high)


def _mapping(value: object) -> dict[object, object]:
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _row(value: object) -> tuple[int, float, float] | None:
    """Return a row if it is what dump makes: of weights up to 1, squares sum to no more."""
    match _list(value):
        case [int(k), float(weight), float(square)]:
            sound = 0 <= k < BINS and 0.0 < square <= weight < 1e6
            return (k, weight, square) if sound else None
        case _:
            return None


def _from_right(values: list[float]) -> list[float]:
    return list(accumulate(reversed(values)))[::-1]


def _life_table(deaths: list[float], risk: list[float], lost: list[float]) -> list[float]:
    """Return the probability of ending in each bin.

    Source: Berkson and Gage's actuarial estimate; who is lost in a bin counts half there.
    """
    density, alive = [0.0] * BINS, 1.0
    for k, died in enumerate(deaths):
        if died > 0.0:
            exposed = risk[k] - 0.5 * lost[k]
            density[k] = alive * min(1.0, died / exposed)
            alive -= density[k]
    return density


def _smooth(raw: list[float], count: float) -> list[float]:
    """Return a kernel estimate, its bandwidth found by likelihood cross-validation."""
    total = sum(raw)
    if total <= 0.0:
        return raw
    widest = _silverman(raw, total, count)
    filled = [k for k, mass in enumerate(raw) if mass > 0.0]
    reach = 3 * _half(widest)
    start, stop = max(0, filled[0] - reach), min(BINS, filled[-1] + reach + 1)
    best = _best_of(raw[start:stop], widest, total / max(count, 1.0))
    return [0.0] * start + best + [0.0] * (BINS - stop)


def _best_of(raw: list[float], widest: float, one: float) -> list[float]:
    """Return the smoothed copy that foretells each observation best from the others."""
    best, best_score = raw, -math.inf
    for factor in BANDWIDTHS:
        half = _half(widest * factor)
        smoothed = _boxed(raw, half)
        width = 2 * half + 1
        score = _left_out(raw, smoothed, one * (3 * width * width + 1) / (4 * width**3))
        if score > best_score:
            best, best_score = smoothed, score
    return best


def _left_out(raw: list[float], smoothed: list[float], own: float) -> float:
    pairs = zip(raw, smoothed, strict=True)
    return sum(mass * math.log(max(1e-9, there - own)) for mass, there in pairs if mass > 0.0)


def _silverman(raw: list[float], total: float, count: float) -> float:
    """Return the rule of thumb's bandwidth in bins, drawn to USUAL while little is known."""
    mean = sum(k * mass for k, mass in enumerate(raw)) / total
    variance = sum((k - mean) ** 2 * mass for k, mass in enumerate(raw)) / total
    drawn = (count * variance + 2.0 * (USUAL / STEP) ** 2) / (count + 2.0)
    return 0.9 * math.sqrt(drawn) * math.pow(max(count, 1.0), -0.2)


def _half(bandwidth: float) -> int:
    """Return how far each of three box filters reaches, for a bandwidth in bins."""
    return round((math.sqrt(4.0 * bandwidth * bandwidth + 1.0) - 1.0) / 2.0)


def _boxed(raw: list[float], half: int) -> list[float]:
    """Return a smoothed copy: three box filters are nearly Gaussian."""
    width, pad = 2 * half + 1, [0.0] * half
    for _ in range(3):
        sums = list(accumulate(pad + raw + pad, initial=0.0))
        raw = [max(0.0, b - a) / width for a, b in zip(sums, sums[width:], strict=False)]
    return raw
