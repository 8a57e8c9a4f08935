"""Scenarios without a comparison: hidden limits, memory over time, and many in flight."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial

from .harness import Measured, Server, Spread, interleaved, run, spread
from .limits import KINDS
from .report import Finding, Row
from .scenarios import AT_ONCE, Size

RATE = 100
SHORT, SHORT_BURST = 1_500, 25
IN_FLIGHT = (10, 100, 1_000, 4_000)
MEBIBYTE = 2**20


def _limited(server: Server, steps: str, kind: str, retry_after: bool, jobs: int) -> Measured:
    """Run jobs under a hidden limit; return the client's and the server's figures."""
    server.limit(steps, kind, retry_after=retry_after)
    arguments = ("creates", "--url", server.url, "--count", jobs, "--at-once", AT_ONCE)
    client = run("clients.limit", *arguments)
    counts = server.counts()
    assert counts["creates"] >= jobs - client["lost"], "the client holds ids that nobody gave"
    return {
        **client,
        **counts,
        "refused_share": 100 * counts["refused"] / jobs,
        "twice": counts["creates"] - (jobs - client["lost"]),
    }


def limit(size: Size) -> Finding:
    """2,000 jobs under a hidden limit of 100 a second; a short run, which a hold delays more."""
    jobs = 400 if size.quick else 2_000
    kinds = ["sliding"] if size.quick else [kind for kind in KINDS if kind != "deeper bucket"]
    rows: list[Row] = []
    raw: dict[str, Measured] = {}
    with Server() as server:
        for kind in kinds:
            for given in (True, False):
                got = _limited(server, f"0:{RATE}", kind, given, jobs)
                over = got["wall"] / (jobs / RATE)
                name = f"{kind} limit, Retry-After {'given' if given else 'not given'}"
                raw[name] = got
                rows.append(_limit_row(f"{jobs:,} jobs, {name}", got, over))
        for given in () if size.quick else (True, False):
            runs = [
                _limited(server, f"0:{RATE}", "deeper bucket", given, SHORT)
                for _ in range(size.rounds)
            ]
            got = sorted(runs, key=lambda run: run["wall"])[len(runs) // 2]
            name = f"bucket of {SHORT_BURST}, Retry-After {'given' if given else 'not given'}"
            raw[name] = {**got, "walls": [run["wall"] for run in runs]}
            over = got["wall"] / ((SHORT - SHORT_BURST) / RATE)
            rows.append(_limit_row(f"{SHORT:,} jobs, {name}, median", got, over, goal=1.12))
    return Finding(rows, raw)


def _limit_row(figure: str, got: Measured, over: float, goal: float = 1.15) -> Row:
    said = f"{got['lost']} lost, {got['refused_share']:.1f}% refused, {over:.2f} of the ideal time"
    reached = got["lost"] == 0 and got["refused_share"] <= 3 and over <= goal
    return Row(figure, said + _errors(got), f"0, ≤ 3%, ≤ {goal:g}", reached)


def _errors(got: Measured) -> str:
    return f" ({', '.join(got['errors'])})" if got["errors"] else ""


def drop(size: Size) -> Finding:
    """Run jobs while the limit falls to a third and then recovers."""
    fall, back, jobs = (4, 10, 1_600) if size.quick else (15, 35, 4_500)
    steps = f"0:{RATE},{fall}:{RATE / 3:.1f},{back}:{RATE}"
    rows: list[Row] = []
    raw: dict[str, Measured] = {}
    with Server() as server:
        for given in (True, False):
            got = _limited(server, steps, "sliding", given, jobs)
            again = seconds_to_full(got, back)
            name = f"Retry-After {'given' if given else 'not given'}"
            raw[name] = {**got, "seconds_to_full": again}
            said = f"{got['lost']} lost, {got['refused_share']:.1f}% refused, "
            said += "full rate never again" if again is None else f"full rate after {again:.1f} s"
            fine = got["lost"] == 0 and got["refused_share"] <= 6 and (again or 99.0) <= 20
            figure = f"{jobs:,} jobs, the limit drops to a third and returns, {name}"
            rows.append(Row(figure, said + _errors(got), "0, ≤ 6%, ≤ 20 s", fine))
    return Finding(rows, raw)


def seconds_to_full(counts: Measured, back: float, share: float = 0.9) -> float | None:
    """Return the seconds after ``back`` until the rate was full again for two seconds, or None."""
    span = round(2 / counts["bin"])
    first = round(back / counts["bin"])
    accepted = counts["accepted"]
    for at in range(first, len(accepted) - span + 1):
        if sum(accepted[at : at + span]) >= share * RATE * 2:
            return float((at + span - first) * counts["bin"])
    return None


def memory(size: Size) -> Finding:
    """Measure resident memory while 200,000 requests are streamed."""
    count = 20_000 if size.quick else 200_000
    with Server() as server:
        arguments = ("stream", "--url", server.url, "--count", count, "--at-once", AT_ONCE)
        seen = run("clients.growth", *arguments)["resident"]
    quarter = len(seen) // 4
    growth, late = max(seen) - seen[0], max(seen[quarter:]) - seen[quarter]
    figure = f"growth of resident memory, {count:,} requests streamed"
    rows = [
        Row(figure, f"{growth:.1f} MiB", "< 30 MB", growth < 28.6),
        Row(f"of that, from {count // 4:,} on", f"{late:.1f} MiB", "flat (< 2 MiB)", late < 2),
    ]
    return Finding(rows, {"resident": seen})


def downloads(size: Size) -> Finding:
    """Measure resident memory while 64 files of 100 MB are downloaded at once."""
    each = (10 if size.quick else 100) * 1_000_000
    figure = f"growth of resident memory, 64 downloads of {each // 1_000_000} MB at once"
    if shutil.disk_usage(tempfile.gettempdir()).free < AT_ONCE * each * 1.2:
        return Finding([Row(figure, "skipped: the disk has no room for them", "< 64 MiB")], {})
    with Server() as server:
        arguments = ("downloads", "--url", server.url, "--size", each, "--at-once", AT_ONCE)
        seen = run("clients.growth", *arguments)["resident"]
    growth = max(seen) - seen[0]
    return Finding([Row(figure, f"{growth:.1f} MiB", "< 64 MiB", growth < 64)], {"resident": seen})


def inflight(size: Size) -> Finding:
    """Measure CPU time per create with 10 to 4,000 in flight and all connections open."""
    with Server() as server:
        got = interleaved(
            {
                f"{job} {many}": partial(_in_flight, server, job, many, size.of(20_000))
                for many in IN_FLIGHT
                for job in ("ours", "tuned")
            },
            size.rounds,
        )
    costs = {name: spread(results, "cpu_us") for name, results in got.items()}
    apart = _apart([costs[f"ours {many}"] for many in IN_FLIGHT])
    base = _apart([costs[f"tuned {many}"] for many in IN_FLIGHT])
    figure = "cost per create at 10, 100, 1,000 and 4,000 in flight: the most above the least"
    rows = [
        Row(figure, f"{apart:.0%}", "≤ 25%", apart <= 0.25),
        Row("the same of a tuned aiohttp loop", f"{base:.0%}"),
    ]
    for many in IN_FLIGHT:
        both = f"{costs[f'ours {many}']:.0f}; tuned aiohttp {costs[f'tuned {many}']:.0f}"
        rows.append(Row(f"µs of CPU per create, {many:,} in flight", both))
    return Finding(rows, got)


def _apart(costs: list[Spread]) -> float:
    medians = [cost.median for cost in costs]
    return max(medians) / min(medians) - 1


def _in_flight(server: Server, job: str, many: int, count: int) -> Measured:
    arguments = (job, "--url", server.url, "--count", count, "--at-once", many)
    return run("clients.inflight", *arguments)


SCENARIOS: dict[str, Callable[[Size], Finding]] = {
    "limit": limit,
    "drop": drop,
    "memory": memory,
    "downloads": downloads,
    "inflight": inflight,
}
