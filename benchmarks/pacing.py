"""How near the pacer comes to limits it is not told, on a simulated clock: a table.

    python -m benchmarks.pacing [rate] [--noise]

One run is the real Pacer under the Lane's rules (first come, first served; so many in flight),
against a hidden limiter. ``refused`` is the share of all requests, ``time`` the run over the
ideal ``jobs / limit``. With --noise, timers fire up to 1 ms late and answers take 10% more or less.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Protocol

from keevx_async.submission.adaptive_rate import AdaptiveRate

RTTS = (0.001, 0.020, 0.300)
RETRY_AFTERS = (1.0, None)
WIDTH = 64
JOBS = 2_000

Rate = Callable[[float], float]


class Limiter(Protocol):
    def passes(self, now: float, rate: float) -> bool: ...


class Bucket:
    """A token bucket, so many seconds' worth of tokens deep (at least one)."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._level, self._stamp = seconds, math.inf, 0.0

    def passes(self, now: float, rate: float) -> bool:
        depth = max(1.0, rate * self._seconds)
        self._level = min(depth, self._level + (now - self._stamp) * rate)
        self._stamp = now
        passes = self._level >= 1 - 1e-9
        self._level -= passes
        return passes


class Sliding:
    def __init__(self) -> None:
        self._passed: deque[float] = deque()

    def passes(self, now: float, rate: float) -> bool:
        while self._passed and self._passed[0] <= now - 1:
            self._passed.popleft()
        if len(self._passed) >= rate:
            return False
        self._passed.append(now)
        return True


class Fixed:
    def __init__(self) -> None:
        self._second, self._count = 0, 0

    def passes(self, now: float, rate: float) -> bool:
        second = math.floor(now + 0.37)  # its seconds are not ours
        if second != self._second:
            self._second, self._count = second, 0
        self._count += self._count < rate + 1
        return self._count <= rate


class Gcra:
    """No create sooner than 1/rate after the last one that passed."""

    def __init__(self) -> None:
        self._due = -math.inf

    def passes(self, now: float, rate: float) -> bool:
        if now < self._due - 1e-9:
            return False
        self._due = max(self._due, now) + 1 / rate if now - self._due < 1e-9 else now + 1 / rate
        return True


class Free:
    def passes(self, now: float, rate: float) -> bool:
        return True


LIMITERS: dict[str, Callable[[], Limiter]] = {
    "bucket of 1": lambda: Bucket(0),
    "bucket of rate/10": lambda: Bucket(0.1),
    "bucket of rate/5": lambda: Bucket(0.2),
    "bucket of rate": lambda: Bucket(1),
    "sliding second": Sliding,
    "fixed second": Fixed,
    "strict GCRA": Gcra,
}


class Simulation:
    """Jobs through a Pacer against a limiter; what became of them is in its attributes."""

    def __init__(
        self,
        limiter: Limiter,
        rate: Rate,
        rtt: float,
        retry_after: float | None,
        *,
        jobs: int = JOBS,
        noise: bool = False,
        capacity: float = math.inf,
        ceiling: float | None = None,
        start: float = 1_000.0,
    ) -> None:
        self.pacer = AdaptiveRate(ceiling)
        self.took: list[float] = []
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.most_in_flight: list[tuple[float, int]] = []
        self._limiter, self._rate, self._rtt, self._retry_after = limiter, rate, rtt, retry_after
        self._service, self._free_at = 1 / capacity, 0.0
        self._random = Random(7) if noise else None
        self._waiting, self._busy, self._asking = jobs, 0, False
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._numbers = count()
        self.start = self.now = start

    def run(self, until: float = math.inf) -> Simulation:
        self._next()
        while self._events:
            self.now, _, event, given = heapq.heappop(self._events)
            if self.now > self.start + until:
                break
            event(*given)
        return self

    def _at(self, when: float, event: Callable[..., None], *given: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event, given))

    def _next(self) -> None:
        """One job at a time asks, as holds the Lane's lock."""
        if self._waiting and self._busy < WIDTH and not self._asking:
            self._waiting -= 1
            self._busy += 1
            self._asking = True
            self._ask()

    def _ask(self) -> None:
        wait = self.pacer.delay(self.now)
        if wait > 0:
            late = self._random.random() * 0.001 if self._random else 0.0
            self._at(self.now + wait + late, self._ask)
            return
        self.pacer.take(self.now)
        self.took.append(self.now)
        self._asking = False
        swing = self._random.uniform(0.9, 1.1) if self._random else 1.0
        self._at(self.now + self._rtt * swing / 2, self._arrive, self.now, swing)
        self._next()

    def _arrive(self, sent: float, swing: float) -> None:
        passes = self._limiter.passes(self.now, self._rate(self.now - self.start))
        self._free_at = max(self._free_at, self.now) + self._service
        self._at(self._free_at + self._rtt * swing / 2, self._answer, sent, passes)

    def _answer(self, sent: float, passes: bool) -> None:
        if passes:
            self.accepted.append(self.now)
            self.pacer.accepted(self.now, sent)
            self._leave(0)
        else:
            self.refused.append(self.now)
            self.pacer.refused(self.now, sent, self._retry_after)
            self._at(self.now + (self._retry_after or 0.0), self._leave, 1)

    def _leave(self, again: int) -> None:
        self._busy -= 1
        self._waiting += again
        self._next()

    @property
    def refusals(self) -> float:
        return len(self.refused) / (len(self.refused) + len(self.accepted))

    @property
    def seconds(self) -> float:
        return self.accepted[-1] - self.start

    def rate_between(self, begin: float, end: float) -> float:
        """Creates accepted per second between two times since the start."""
        return sum(begin <= at - self.start < end for at in self.accepted) / (end - begin)


def steady(rate: float) -> Rate:
    return lambda now: rate


def dip(rate: float) -> Rate:
    return lambda now: rate / 3 if 20 <= now < 50 else rate


def recovered(run: Simulation, rate: float, end: float) -> float:
    """Seconds after the limit's return until 90% of it was accepted over 2 s; inf if never."""
    at = 50.0
    while at + 2 <= min(end, run.seconds):
        if run.rate_between(at, at + 2) >= 0.9 * rate:
            return at + 2 - 50
        at += 0.25
    return math.inf


def main(arguments: list[str]) -> None:
    noise = "--noise" in arguments
    rates = [float(one) for one in arguments if one != "--noise"] or [100.0]
    for rate in rates:
        print(
            f"\n{rate:g}/s{' with noise' if noise else ''}: {JOBS} jobs (refused, time)"
            f" · limit to a third 20-50 s, and back (refused, recovered)"
        )
        for name, limiter in LIMITERS.items():
            for retry_after in RETRY_AFTERS:
                row = []
                for rtt in RTTS:
                    run = Simulation(limiter(), steady(rate), rtt, retry_after, noise=noise).run()
                    ideal = JOBS / min(rate, WIDTH / rtt)
                    row.append(f"{run.refusals:6.1%} {run.seconds / ideal:5.2f}")
                for rtt in RTTS:
                    reach = min(rate, WIDTH / rtt)
                    run = Simulation(
                        limiter(), dip(rate), rtt, retry_after, jobs=int(reach * 75), noise=noise
                    ).run(until=75)
                    row.append(f"{run.refusals:6.1%} {recovered(run, reach, 75):5.1f}")
                print(f"{name:18} {'RA' if retry_after else '--'} | " + " | ".join(row))
    for rtt, capacity in ((0.001, 4_000.0), (0.001, math.inf), (0.3, math.inf)):
        free = Simulation(Free(), steady(1), rtt, None, jobs=8_000, capacity=capacity).run()
        flight = next(
            (
                n
                for n in range(len(free.took))
                if n >= 64 and free.took[n] - free.took[n - 63] < rtt * 1.2 + 64 / capacity
            ),
            0,
        )
        ideal = 8_000 / min(capacity, WIDTH / rtt)
        print(
            f"free, rtt {rtt}, {capacity}/s: time over ideal {free.seconds / ideal:.3f};"
            f" 64 in flight after {free.took[flight] - free.start if flight else math.inf:.2f} s"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
