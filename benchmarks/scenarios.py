"""Scenarios that compare keevx_async with something else, in interleaved runs."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen

from .harness import PEERS, ROOT, Failed, Measured, Server, Spread, interleaved, ratios, run, spread
from .picture import Bar
from .report import Finding, Row

AT_ONCE = 64
PEER_NAMES = {
    "fal": "fal-client",
    "replicate": "replicate",
    "runway": "runwayml",
    "luma": "lumaai",
    "openai": "openai",
    "httpx": "httpx, by hand",
}


@frozen
class Size:
    """The size of a benchmark.

    Attributes:
        rounds: the number of times each program runs.
        share: the fraction of the full number of creates, polls or bytes.
        quick: whether the run only checks that everything works.
    """

    rounds: int
    share: float
    quick: bool

    def of(self, full: int) -> int:
        """Scale a full-size number to this size."""
        return max(1, round(full * self.share))


def _program(module: str, job: str, server: Server, count: int) -> Callable[[], Measured]:
    arguments = (job, "--url", server.url, "--count", count, "--at-once", AT_ONCE)
    return partial(run, module, *arguments)


def _peer(name: str, server: Server, count: int) -> Callable[[], Measured]:
    arguments = ("creates", "--url", server.url, "--count", count, "--at-once", AT_ONCE)
    return partial(run, f"peers.{name}", *arguments, python=PEERS)


def _against(
    figure: str, goal: float, ours: list[Measured], base: list[Measured]
) -> tuple[Row, Row]:
    """Return the rows for a ratio by wall-clock time, and for the same ratio by CPU time."""
    ratio = ratios(ours, base, "per_second")
    cpu = ratios(base, ours, "cpu_us")
    return (
        Row(figure, f"{ratio:.2f}", f"≥ {goal:g}", ratio.median >= goal),
        Row(f"{figure}, by CPU time", f"{cpu:.2f}"),
    )


def _rates(name: str, results: list[Measured]) -> Row:
    return Row(f"{name}: per second", f"{spread(results, 'per_second'):,.0f}")


def _bar(name: str, results: list[Measured], base: list[Measured], *, ours: bool = False) -> Bar:
    ratio = ratios(results, base, "per_second").median
    rate = spread(results, "per_second").median
    return Bar(name, ratio, f"{ratio:.2f} ({rate:,.0f}/s)", ours)


def creates(size: Size) -> Finding:
    """Compare creates per second, without and with a journal, with hand-written baselines."""
    count = size.of(10_000)
    with Server() as server:
        programs = {
            "keevx_async": _program("clients.ours", "creates", server, count),
            "aiohttp, by hand": _program("clients.plain", "creates", server, count),
            "aiohttp, tuned": _program("clients.plain", "tuned", server, count),
            "keevx_async, journal": _program("clients.ours", "journal", server, count),
            "equal, journal": _program("clients.equal", "journal", server, count),
        }
        journal = _if_it_runs(programs, "keevx_async, journal")
        got = interleaved(programs, size.rounds)
    ours, base = got["keevx_async"], got["aiohttp, by hand"]
    figure = "creates/s, 64 at once, over the plain aiohttp loop"
    rows = [*_against(f"{figure}; no journal", 0.95, ours, base)]
    if journal is None:
        kept = got["keevx_async, journal"]
        rows += _against(f"{figure}; journal", 0.8, kept, base)
        equal = "creates/s with a journal over pydantic, tenacity and SQLite by hand"
        rows += _against(equal, 2.0, kept, got["equal, journal"])
    else:
        rows.append(Row(f"{figure}; journal", f"skipped: {journal}", "≥ 0.8"))
    rows += [_rates(name, results) for name, results in got.items()]
    names = {"keevx_async", "keevx_async, journal"}
    drawn = [_bar(name, results, base, ours=name in names) for name, results in got.items()]
    return Finding(rows, got, drawn)


def _if_it_runs(programs: dict[str, Callable[[], Measured]], name: str) -> str | None:
    """Run a program once; if it fails, remove it and return the reason."""
    try:
        programs[name]()
    except Failed as error:
        del programs[name]
        return str(error)
    return None


def peers(size: Size) -> Finding:
    """Compare creates per second with those of each peer."""
    with Server() as server:
        programs = {
            "keevx_async": _program("clients.ours", "creates", server, size.of(6_000)),
            "aiohttp, by hand": _program("clients.plain", "creates", server, size.of(6_000)),
        }
        failed: dict[str, str] = {}
        for module, name in PEER_NAMES.items():
            programs[name] = _peer(module, server, size.of(600))
            if reason := _if_it_runs(programs, name):
                failed[name] = reason
        got = interleaved(programs, size.rounds)
    ours, base = got.pop("keevx_async"), got.pop("aiohttp, by hand")
    over = {name: ratios(ours, results, "per_second") for name, results in got.items()}
    rows = [_fastest({name: over[name] for name in over if name != PEER_NAMES["httpx"]})]
    rows += [
        Row(f"over {name}", f"{over[name]:.1f}; by CPU time {ratios(results, ours, 'cpu_us'):.1f}")
        for name, results in got.items()
    ]
    rows += [Row(f"over {name}", f"not measured: {why}") for name, why in failed.items()]
    rows += [_rates(name, results) for name, results in got.items()]
    drawn = [_bar(name, results, base) for name, results in got.items()]
    return Finding(rows, {"ours": ours, "plain": base, **got}, drawn)


def _fastest(over: dict[str, Spread]) -> Row:
    if not over:
        return Row("creates/s over the fastest peer", "no peer could be measured", "≥ 15")
    name = min(over, key=lambda one: over[one].median)
    figure = f"creates/s over the fastest peer, {name}"
    return Row(figure, f"{over[name]:.1f}", "≥ 15", over[name].median >= 15)


def polls(size: Size) -> Finding:
    """Compare status queries per second with plain aiohttp GETs."""
    with Server() as server:
        got = interleaved(
            {
                "keevx_async": _program("clients.ours", "polls", server, size.of(10_000)),
                "aiohttp, by hand": _program("clients.plain", "polls", server, size.of(10_000)),
            },
            size.rounds,
        )
    ours, base = got["keevx_async"], got["aiohttp, by hand"]
    rows = [*_against("status polls/s, 64 at once, over plain aiohttp GETs", 0.9, ours, base)]
    return Finding([*rows, *(_rates(f"polls, {name}", one) for name, one in got.items())], got)


def imports(size: Size) -> Finding:
    """Compare the time of ``import keevx_async`` with that of ``import httpx``."""
    commands = {name: partial(_import, f"import {name}") for name in ("keevx_async", "httpx")}
    commands["client"] = partial(_import, "from keevx_async import Keevx")
    try:
        for command in commands.values():
            command()  # writes the byte code
    except Failed as error:
        return Finding(
            [Row("import keevx_async over import httpx", f"skipped: {error}", "≤ 0.8")], {}
        )
    got = interleaved({"nothing": partial(_import, "pass"), **commands}, size.rounds * 4)
    for name in commands:
        for one, bare in zip(got[name], got["nothing"], strict=True):
            one["net"] = one["wall"] - bare["wall"]
    net, wall, own = (
        ratios(got["keevx_async"], got["httpx"], name) for name in ("net", "wall", "importtime")
    )
    figure = "import keevx_async over import httpx"
    rows = [
        Row(f"{figure}, by -X importtime", f"{own:.2f}", "≤ 0.8", own.median <= 0.8),
        Row(f"{figure}, the process's time less a bare interpreter's", f"{net:.2f}"),
        Row(f"{figure}, the process's time", f"{wall:.2f}"),
        *(Row(f"import {name}, ms", f"{spread(got[name], 'importtime'):.0f}") for name in commands),
    ]
    return Finding(rows, got)


def _import(statement: str) -> Measured:
    """Return a statement's time in milliseconds, by the wall clock and by -X importtime."""
    start = time.perf_counter()
    _interpret("-c", statement)
    wall = (time.perf_counter() - start) * 1e3
    told = _interpret("-X", "importtime", "-c", f"print(end='', flush=True); {statement}")
    lines = re.findall(r"^import time: +(\d+) \| +(\d+) \| (.*)$", told, re.M)
    site = max((at for at, line in enumerate(lines) if line[2] == "site"), default=-1)
    return {"wall": wall, "importtime": sum(int(line[0]) for line in lines[site + 1 :]) / 1e3}


def _interpret(*arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(PEERS), *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]) from error
    return done.stderr


SCENARIOS: dict[str, Callable[[Size], Any]] = {
    "creates": creates,
    "peers": peers,
    "polls": polls,
    "import": imports,
}
