"""Runs the server and the measured programs in separate processes, and computes statistics."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT = Path(__file__).parent.parent
PEERS = Path(sys.prefix) / "peers" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
"""The Python interpreter of the peers' virtual environment, which ``make bench`` builds."""

Measured = dict[str, Any]


class Failed(Exception):
    """A measured program failed. The message is the last line of its stderr."""


class Server:
    """The benchmark's server, in its own process, on a free loopback port."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its standard input, which ends it

    def limit(self, steps: str = "", kind: str = "sliding", *, retry_after: bool = False) -> None:
        """Set a hidden limit, and reset the counts."""
        query = {"steps": steps, "kind": kind, **({"retry_after": "yes"} if retry_after else {})}
        self._control(Request(f"{self.url}/-/limit?{urlencode(query)}", method="POST"))  # noqa: S310

    def counts(self) -> Measured:
        """Return the server's counts since the last reset."""
        return self._control(Request(f"{self.url}/-/counts"))  # noqa: S310

    def _control(self, request: Request) -> Measured:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the loopback
            return dict(json.load(answer))


def run(module: str, *arguments: object, python: Path | str = sys.executable) -> Measured:
    """Run one measured program, and return the last line that it prints, parsed as JSON.

    Raises:
        Failed: the program exited with an error.
    """
    done = subprocess.run(
        [str(python), "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["no reason given"])[-1][:300])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def interleaved(
    programs: dict[str, Callable[[], Measured]], rounds: int
) -> dict[str, list[Measured]]:
    """Run all programs in each round, reversing their order in every second round: A B B A."""
    results: dict[str, list[Measured]] = {name: [] for name in programs}
    for number in range(rounds):
        order = list(programs) if number % 2 == 0 else list(programs)[::-1]
        for name in order:
            results[name].append(programs[name]())
    return results


class Spread:
    """The median, minimum and maximum of some values."""

    def __init__(self, values: list[float]) -> None:
        self.median = statistics.median(values)
        self.least, self.most = min(values), max(values)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.median:{spec}} ({self.least:{spec}} to {self.most:{spec}})"


def ratios(ours: list[Measured], theirs: list[Measured], name: str) -> Spread:
    """Return the ratios of our results to theirs, pair by pair."""
    return Spread([a[name] / b[name] for a, b in zip(ours, theirs, strict=True)])


def spread(results: list[Measured], name: str) -> Spread:
    """Return the spread of one figure across results."""
    return Spread([one[name] for one in results])
