"""The hidden rate limits of the benchmark's server, as state machines that are given the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Limit(Protocol):
    """Accepts a create, or returns the time to wait."""

    def take(self, now: float) -> float:
        """Count a create and return 0, or return the seconds until one could be accepted."""
        ...


class Sliding:
    """At most ``rate`` creates in any period of one second."""

    def __init__(self, rate: float) -> None:
        self._most = max(1, round(rate))
        self._let_through: deque[float] = deque()

    def take(self, now: float) -> float:
        """See ``Limit.take``."""
        while self._let_through and self._let_through[0] <= now - 1.0:
            self._let_through.popleft()
        if len(self._let_through) >= self._most:
            return self._let_through[0] + 1.0 - now
        self._let_through.append(now)
        return 0.0


class Bucket:
    """A token bucket: ``rate`` creates a second, and so many seconds' worth at once."""

    def __init__(self, rate: float, seconds: float = 0.2) -> None:
        self._gap = 1.0 / rate
        self._tolerance = seconds - self._gap
        self._due = 0.0

    def take(self, now: float) -> float:
        """See ``Limit.take``."""
        due = max(self._due, now)
        if due - now > self._tolerance:
            return due - now - self._tolerance
        self._due = due + self._gap
        return 0.0


class Window:
    """At most ``rate`` creates in each second of the clock."""

    def __init__(self, rate: float) -> None:
        self._most = max(1, round(rate))
        self._second = 0
        self._count = 0

    def take(self, now: float) -> float:
        """See ``Limit.take``."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        if self._count >= self._most:
            return self._second + 1.0 - now
        self._count += 1
        return 0.0


KINDS: dict[str, Callable[[float], Limit]] = {
    "sliding": Sliding,
    "bucket": Bucket,
    "deeper bucket": partial(Bucket, seconds=0.25),
    "window": Window,
}


class Schedule:
    """A limit that changes over time, counted from the first create.

    Args:
        steps: ``(seconds, rate)`` pairs; a rate of 0 means no limit.
        kind: one of KINDS.
    """

    def __init__(self, steps: list[tuple[float, float]], kind: str) -> None:
        self._steps = sorted(steps)
        self._kind = KINDS[kind]
        self._limit: Limit | None = None
        self._start: float | None = None

    def take(self, now: float) -> float:
        """See ``Limit.take``."""
        if self._start is None:
            self._start = now
        while self._steps and self._steps[0][0] <= now - self._start:
            rate = self._steps.pop(0)[1]
            self._limit = self._kind(rate) if rate else None
        return self._limit.take(now) if self._limit else 0.0


def parse_schedule(text: str, kind: str) -> Schedule:
    """Parse a schedule of ``seconds:rate`` steps, such as ``0:100,20:33,40:100``."""
    steps = [tuple(map(float, step.split(":"))) for step in text.split(",") if step]
    return Schedule([(at, rate) for at, rate in steps], kind)
