"""Measure the learned schedule's cost and delay on a simulated clock; the figures are exact.

Run: python benchmarks/polling.py [figures|waiting|budget]. Durations have a median of 100 s. The
policy's bounds (1 ms, 4 months) are too wide to have an effect, unless stated otherwise.
"""

from __future__ import annotations

import gc
import heapq
import math
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import NamedTuple
from unittest.mock import patch

from keevx_async.polling import life_table
from keevx_async.polling.durations import Durations
from keevx_async.polling.schedule import Schedule
from keevx_async.settings import PollPolicy

WIDE = PollPolicy(shortest=1e-3, longest=1e7)
LEARNED = 100
MEASURED = 2_000
AT_ONCE = 50
TARGETS = {0.5: 0.40, 0.35: 0.31, 0.25: 0.24, 0.15: 0.15}
Draw = Callable[[random.Random, int], float]


class Row(NamedTuple):
    number: int
    duration: float
    polls: int
    lag: float


class Figures(NamedTuple):
    product: float
    polls: float
    lag: float  # as a fraction of the mean duration


class Simulation:
    """Keeps AT_ONCE tasks running: when a task's end is noticed, the next task is created.

    With ``hints``, a callback reports the end of each task.
    """

    def __init__(self, draw: Draw, count: int, policy: PollPolicy, seed: int, hints: bool) -> None:
        self.random = random.Random(seed)
        self.schedule = Schedule(policy, Durations(), self.random.random)
        self.draw, self.count, self.hints = draw, count, hints
        self.ends: dict[str, float] = {}
        self.born: dict[str, float] = {}
        self.polls: dict[str, int] = {}
        self.events = [(100.0 * self.random.random(), "") for _ in range(min(count, AT_ONCE))]
        heapq.heapify(self.events)

    def run(self) -> Iterator[Row]:
        while self.events or len(self.schedule):
            due = self.schedule.next_at()
            due = math.inf if due is None else due
            if self.events and self.events[0][0] <= due:
                self.happen(*heapq.heappop(self.events))
            else:
                yield from self.ask(due)

    def happen(self, now: float, task_id: str) -> None:
        if task_id:
            self.schedule.wake(task_id, now)
        elif len(self.born) < self.count:
            self.create(str(len(self.born)), now)

    def create(self, task_id: str, now: float) -> None:
        self.born[task_id] = now
        self.ends[task_id] = now + self.draw(self.random, int(task_id))
        self.polls[task_id] = 0
        self.schedule.add(task_id, "group", now, now)
        if self.hints:
            heapq.heappush(self.events, (self.ends[task_id], task_id))

    def ask(self, now: float) -> Iterator[Row]:
        for task_id in self.schedule.due(now, 1_000):
            self.polls[task_id] += 1
            end = self.ends[task_id]
            if now < end:
                self.schedule.plan(task_id, now)
                continue
            self.schedule.ended(task_id, now, end if self.hints else None)
            heapq.heappush(self.events, (now + self.random.random(), ""))
            yield Row(int(task_id), end - self.born[task_id], self.polls[task_id], now - end)


def simulate(
    draw: Draw,
    policy: PollPolicy = WIDE,
    *,
    count: int = LEARNED + MEASURED,
    seed: int = 0,
    hints: bool = False,
) -> list[Row]:
    """Simulate ``count`` tasks; return a row for each, in the order of creation."""
    return sorted(Simulation(draw, count, policy, seed, hints).run())


def figures(rows: list[Row]) -> Figures:
    polls = sum(row.polls for row in rows) / len(rows)
    lag = sum(row.lag for row in rows) / sum(row.duration for row in rows)
    return Figures(polls * lag, polls, lag)


def lognormal(sigma: float, median: float = 100.0) -> Draw:
    return lambda rng, _: rng.lognormvariate(math.log(median), sigma)


def two_humped(rng: random.Random, _: int) -> float:
    return rng.lognormvariate(math.log(rng.choice((60.0, 240.0))), 0.15)


def shifted(factor: float, at: int) -> Draw:
    return lambda rng, i: rng.lognormvariate(math.log(100 * (factor if i >= at else 1)), 0.35)


def fixed(draw: Draw, polls: float = 8.0) -> Figures:
    """Simulate a fixed interval, with a random phase so that tasks are not queried together."""
    rng = random.Random(0)
    durations = [draw(rng, i) for i in range(20_000)]
    interval = sum(durations) / len(durations) / (polls - 1.0)
    rows = []
    for i, duration in enumerate(durations):
        first = interval * rng.random()
        more = max(0, math.ceil((duration - first) / interval))
        rows.append(Row(i, duration, 1 + more, first + more * interval - duration))
    return figures(rows)


def line(name: str, got: Figures, note: str = "") -> None:
    print(f"{name:<50}{got.product:8.3f}{got.polls:9.2f}{got.lag:9.2%}   {note}", flush=True)


def show_figures(seeds: int = 3) -> None:
    print(f"{'':<50}{'product':>8}{'polls':>9}{'lag':>9}")
    line("fixed interval, sigma 0.35", fixed(lognormal(0.35)))
    for sigma, best in TARGETS.items():
        runs = [figures(simulate(lognormal(sigma), seed=seed)[LEARNED:]) for seed in range(seeds)]
        for seed, got in enumerate(runs):
            note = f"{got.product / best:.3f} of the optimum {best:.2f}; at most 1.1"
            line(f"lognormal, sigma {sigma}, seed {seed}", got, note)
    line("  the first 100, learning", figures(simulate(lognormal(0.35))[:LEARNED]))
    line("two humps, 60 s and 240 s, sigma 0.15", figures(simulate(two_humped)[LEARNED:]))
    for factor in (3.0, 1 / 3):
        rows = simulate(shifted(factor, 1_000), count=2_100)
        for first, last in ((-900, 0), (0, 100), (100, 200), (200, 400), (400, 1_100)):
            name = f"mean x {factor:.2f}: tasks {first} to {last}"
            line(name, figures(rows[1_000 + first : 1_000 + last]))
    show_without_cross_validation()
    seldom = PollPolicy(longest=600.0, polls_per_task=1.25)
    line("callbacks, polls_per_task=1.25", figures(simulate(lognormal(0.35), seldom, hints=True)))
    for median in (10.0, 60.0, 120.0, 300.0, 600.0):
        rows = simulate(lognormal(0.35, median), PollPolicy(), count=1_000)[LEARNED:]
        line(f"the default bounds, median {median:.0f} s", figures(rows), "longest=30")


def show_without_cross_validation() -> None:
    """Print the figures that `life_table.smooth` would reach with only Silverman's bandwidth."""
    draws: dict[str, Draw] = {f"lognormal, sigma {sigma}": lognormal(sigma) for sigma in TARGETS}
    draws["two humps, 60 s and 240 s, sigma 0.15"] = two_humped
    draws["mean x 3.00: tasks 100 to 200"] = shifted(3.0, 1_000)
    for name, draw in draws.items():
        is_shift = name.startswith("mean")
        part = slice(1_100, 1_200) if is_shift else slice(LEARNED, None)
        chosen = mean_figures(draw, part)
        with patch.object(life_table, "BANDWIDTHS", (1.0,)):
            rule = mean_figures(draw, part)
        note = f"cross-validated {chosen.product:.3f}: {rule.product / chosen.product - 1:+.1%}"
        line(f"Silverman, {name}", rule, note)


def mean_figures(draw: Draw, part: slice, seeds: int = 5) -> Figures:
    runs = [figures(simulate(draw, seed=seed)[part]) for seed in range(seeds)]
    return Figures(*(fmean(values) for values in zip(*runs, strict=True)))


def show_waiting(count: int = 100_000, seconds: float = 600.0) -> None:
    """Print the cost of many tasks that are created within a minute and never end."""
    names = [f"i2v-{i:032x}" for i in range(count)]
    gc.collect()
    tracemalloc.start()
    schedule = Schedule(PollPolicy(), Durations(), random.Random(0).random)
    for i, name in enumerate(names):
        schedule.add(name, "group", 60.0 * i / count, 60.0 * i / count)
    size = tracemalloc.get_traced_memory()[0]
    print(f"{count:,} waiting: {size / count:.0f} bytes a task", flush=True)
    tracemalloc.stop()
    began, asked = time.process_time(), 0
    while (now := schedule.next_at() or 0.0) < seconds:
        for name in schedule.due(now, 32):
            asked += 1
            schedule.plan(name, now)
    spent = time.process_time() - began
    print(
        f"longest=30: {asked / seconds:,.0f} polls/s, {spent / asked * 1e6:.1f} us each,", end=" "
    )
    print(f"{spent * 3_600 / seconds:.0f} s CPU per simulated hour")


def show_budget(count: int = 20_000, rate: float = 100.0) -> None:
    """Simulate an hour of polling many tasks, created at once, with far too low a ``max_rate``."""
    schedule = Schedule(PollPolicy(max_rate=rate), Durations(), random.Random(0).random)
    for i in range(count):
        schedule.add(str(i), "group", 0.0, 0.0)
    last, times, gap = dict.fromkeys(map(str, range(count)), 0.0), [], 0.0
    while (now := schedule.next_at() or 0.0) < 3_600.0:
        for name in schedule.due(now, 32):
            gap, last[name] = max(gap, now - last[name]), now
            times.append(now)
            schedule.plan(name, now)
    gap = max(gap, 3_600.0 - min(last.values()))
    most = max(windows(times, 1.0))
    print(f"{count:,} at {rate:.0f}/s: {len(times) / 3_600:.1f}/s, at most {most} in any second")
    print(f"longest gap of any task {gap:.0f} s; taking turns would make it {count / rate:.0f} s")


def windows(times: list[float], length: float) -> Iterator[int]:
    first = 0
    for i, now in enumerate(times):
        while times[first] <= now - length:
            first += 1
        yield i - first + 1


if __name__ == "__main__":
    parts = {"figures": show_figures, "waiting": show_waiting, "budget": show_budget}
    for part in sys.argv[1:] or parts:
        parts[part]()
