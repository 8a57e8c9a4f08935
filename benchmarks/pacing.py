"""Print how closely the rate limiter approaches hidden limits, on a simulated clock.

    python -m benchmarks.pacing [rate] [--noise] [--aimd]
    python -m benchmarks.pacing short

One run is the real AdaptiveRate under the Throttle's rules (first come, first served; so many in
flight), against a hidden limit. ``refused`` is the share of all requests, ``time`` the run over the
ideal ``jobs / limit``. With --noise, timers fire up to 1 ms late and answers take 10% more or less.
With --aimd each row is followed by the same run under `AIMD`: what measuring the kind of limit is
worth over the forty lines that would do without it.

``short`` is a run of 15 s against small token buckets, with noise: the median and the worst of some
seeds, over the ideal time that begins with a full bucket.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import deque
from collections.abc import Callable
from itertools import count, product
from random import Random
from statistics import fmean, median
from typing import Any, Protocol

from keevx_async.submission.adaptive_rate import AdaptiveRate

HOLD, CUT, ADD = 0.1, 0.8, 0.02  # of AIMD
RTTS = (0.001, 0.020, 0.300)
RETRY_AFTERS = (1.0, None)
WIDTH = 64
JOBS = 2_000
SHORT_SECONDS, SHORT_RTTS, SEEDS = 15, (0.001, 0.005, 0.020, 0.050), range(1, 12)
SHORT_BUCKETS = ((100, 25), (100, 10), (200, 50), (50, 25), (20, 5))  # creates/s, and at once

Rate = Callable[[float], float]


class Limiter(Protocol):
    def passes(self, now: float, rate: float) -> bool: ...


class Bucket:
    """A token bucket that holds ``seconds`` worth of tokens, but at least one token."""

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
        second = math.floor(now + 0.37)  # its seconds do not start when ours do
        if second != self._second:
            self._second, self._count = second, 0
        self._count += self._count < rate + 1
        return self._count <= rate


class Gcra:
    """Accepts a create only if at least 1/rate seconds have passed since the last accepted one."""

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


class AIMD:
    """Additive increase, multiplicative decrease, as in TCP: the baseline for AdaptiveRate.

    The rate doubles each second until the first 429. From then on, it grows each second by ADD
    times the highest rate at which it was cut. A 429 for a create that was sent after the last cut
    multiplies the rate by CUT. Every 429 pauses creates for Retry-After, or for HOLD seconds. The
    constants are the fastest of 25 pairs at AdaptiveRate's share of refusals.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self._rate, self._most = 40.0, ceiling or 1e5
        self._doubling, self._step = True, 0.0
        self._due = self._held_until = self._cut_at = -math.inf
        self._grown_at: float | None = None

    def delay(self, now: float) -> float:
        return max(0.0, self._due - now, self._held_until - now)

    def take(self, now: float) -> None:
        if self._grown_at is not None:
            passed = min(1.0, max(0.0, now - self._grown_at))
            if self._doubling:
                self._rate *= 2.0**passed
            else:
                self._rate += self._step * passed
            self._rate = min(self._rate, self._most)
        self._grown_at = now
        self._due = max(self._due, now - 0.002) + 1.0 / self._rate

    def accepted(self, now: float, sent: float) -> None:
        pass

    def refused(self, now: float, sent: float, retry_after: float | None) -> None:
        self._held_until = max(self._held_until, now + (retry_after or HOLD))
        if sent <= self._cut_at:
            return  # it was in flight when the rate was cut
        self._doubling, self._cut_at, self._grown_at = False, self._held_until, self._held_until
        self._step = max(self._step, ADD * self._rate)
        self._rate = max(0.1, CUT * self._rate)


Law = type[AdaptiveRate] | type[AIMD]


class Simulation:
    """Runs jobs through a rate limiter against a hidden limit. Its attributes hold the results."""

    def __init__(
        self,
        limiter: Limiter,
        rate: Rate,
        rtt: float,
        retry_after: float | None,
        *,
        jobs: int = JOBS,
        noise: bool = False,
        seed: int = 7,
        capacity: float = math.inf,
        ceiling: float | None = None,
        start: float = 1_000.0,
        law: Law = AdaptiveRate,
    ) -> None:
        self.pacer: AdaptiveRate | AIMD = law(ceiling)
        self.took: list[float] = []
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.most_in_flight: list[tuple[float, int]] = []
        self._limiter, self._rate, self._rtt, self._retry_after = limiter, rate, rtt, retry_after
        self._service, self._free_at = 1 / capacity, 0.0
        self._random = Random(seed) if noise else None
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
        """Start the next job. Only one at a time waits for the pacer, as with the Lane's lock."""
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
        """Return the creates accepted per second between two times, in seconds since the start."""
        return sum(begin <= at - self.start < end for at in self.accepted) / (end - begin)


def steady(rate: float) -> Rate:
    return lambda now: rate


def dip(rate: float) -> Rate:
    return lambda now: rate / 3 if 20 <= now < 50 else rate


def recovered(run: Simulation, rate: float, end: float) -> float:
    """Return the seconds from the limit's return until 90% of it was reached for 2 s, or inf."""
    at = 50.0
    while at + 2 <= min(end, run.seconds):
        if run.rate_between(at, at + 2) >= 0.9 * rate:
            return at + 2 - 50
        at += 0.25
    return math.inf


def table(rows: list[tuple[float, ...]]) -> str:
    """Format the steady runs, followed by the runs with a dip."""
    steady_runs = [f"{row[0]:6.1%} {row[1]:5.2f}" for row in rows]
    return " | ".join(steady_runs + [f"{row[2]:6.1%} {row[3]:5.1f}" for row in rows])


def short_run(
    rate: int, burst: int, rtt: float, retry_after: float | None, seed: int
) -> Simulation:
    """Return a run of 15 s against a token bucket."""
    jobs = rate * SHORT_SECONDS
    bucket = Bucket(burst / rate)
    return Simulation(
        bucket, steady(rate), rtt, retry_after, jobs=jobs, noise=True, seed=seed
    ).run()


def short() -> None:
    """Print the short runs: median and worst time over the ideal, and the share refused."""
    rtts = ", ".join(f"{rtt * 1e3:g}" for rtt in SHORT_RTTS)
    print(f"{SHORT_SECONDS} s, round trips of {rtts} ms (median, worst, refused)")
    for (rate, burst), retry_after in product(SHORT_BUCKETS, RETRY_AFTERS):
        cells: list[str] = []
        for rtt in SHORT_RTTS:
            runs = [short_run(rate, burst, rtt, retry_after, seed) for seed in SEEDS]
            over = [run.seconds / (SHORT_SECONDS - burst / rate) for run in runs]
            refused = median(run.refusals for run in runs)
            cells.append(f"{median(over):.3f} {max(over):.3f} {refused:5.1%}")
        title = f"{burst} at once, {rate}/s"
        print(f"{title:18} {'RA' if retry_after else '--'} | " + " | ".join(cells), flush=True)


def main(arguments: list[str]) -> None:
    if arguments == ["short"]:
        short()
        return
    noise = "--noise" in arguments
    laws: tuple[Law, ...] = (AdaptiveRate, AIMD) if "--aimd" in arguments else (AdaptiveRate,)
    rates = [float(text) for text in arguments if not text.startswith("--")] or [100.0]
    for rate in rates:
        print(
            f"\n{rate:g}/s{' with noise' if noise else ''}: {JOBS} jobs (refused, time)"
            f" · limit to a third 20-50 s, and back (refused, recovered; 25 s is never)"
        )
        means: dict[str, list[tuple[float, ...]]] = {law.__name__: [] for law in laws}
        for (name, limiter), retry_after, law in product(LIMITERS.items(), RETRY_AFTERS, laws):
            row: list[tuple[float, ...]] = []
            for rtt in RTTS:
                reach = min(rate, WIDTH / rtt)
                run = Simulation(
                    limiter(), steady(rate), rtt, retry_after, jobs=JOBS, noise=noise, law=law
                ).run()
                dipped = Simulation(
                    limiter(),
                    dip(rate),
                    rtt,
                    retry_after,
                    jobs=int(reach * 75),
                    noise=noise,
                    law=law,
                ).run(until=75)
                row.append(
                    (
                        run.refusals,
                        run.seconds * reach / JOBS,
                        dipped.refusals,
                        min(25.0, recovered(dipped, reach, 75)),
                    )
                )
            means[law.__name__] += row
            title = name if law is AdaptiveRate else "  AIMD"
            print(f"{title:18} {'RA' if retry_after else '--'} | " + table(row), flush=True)
        for title, rows in means.items():
            print(f"{'mean, ' + title:21} | " + table([tuple(map(fmean, zip(*rows, strict=True)))]))
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
