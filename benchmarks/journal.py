"""Measure the cost of the journal, and of rerunning a program that has nothing left to do.

    python -m benchmarks.journal creates [--count 4000] [--rounds 7]
    python -m benchmarks.journal resume [--count 1000000] [--keep FILE]
    python -m benchmarks.journal readahead [--count 900]

``creates`` submits alternately without a journal, with one, and with one in which each new key is
queried, 64 at once, each time in a new process. ``resume`` writes a journal with that many
submitted entries, then submits the same requests again; none is sent. ``readahead`` counts the
instructions of a resumed create with and without read-ahead. ``profile`` resumes in this process
and prints a profile.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from keevx_async import ImageToVideo, Journal, Keevx
from keevx_async.journal import database
from keevx_async.models.request import encode_request

from .harness import ROOT, Server, interleaved, ratios, run, spread

AT_ONCE = 64
NOWHERE = "http://127.0.0.1:9"
ROW = "INSERT INTO entries (key, state, reason, kind, body, at, task_ids) VALUES (?,?,?,?,?,?,?)"


def requests(count: int) -> Iterator[ImageToVideo]:
    """Yield ``count`` different requests, which are the same on every call."""
    for number in range(count):
        yield ImageToVideo(
            model="V",
            prompt=f"A golden retriever running in the grass, take {number}",
            image_url="https://example.com/start_frame.jpg",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=6,
        )


def switch_off_read_ahead() -> None:
    """Make this process's journal look up each row separately."""
    database.ReadAhead.observe = lambda *_, **__: None  # type: ignore[method-assign]


def switch_off_known_keys() -> None:
    """Make this process's journal query each new key."""
    database.KnownKeys.may_have = lambda *_: True  # type: ignore[method-assign]


async def submit(url: str, journal: str | None, count: int) -> dict[str, Any]:
    """Submit ``count`` requests, check the number of ids, and return the measurements."""
    began, cpu, ids = time.perf_counter(), time.process_time(), 0
    async with Keevx("benchmark-key", base_url=url, journal=journal) as keevx:
        opened = time.perf_counter()
        async for outcome in keevx.submit_many(requests(count), concurrency=AT_ONCE):
            ids += len(outcome.task_ids)
    assert ids == count, f"{ids} ids for {count} requests"
    spent = time.perf_counter() - began
    return {
        "seconds": spent,
        "per_second": count / spent,
        "cpu": time.process_time() - cpu,
        "opening": opened - began,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def creates(count: int, rounds: int) -> None:
    """Compare submitting without a journal, with one, and with one that queries each key."""
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10_000))

        def one(*more: object) -> dict[str, Any]:
            return run("journal", "submit", "--url", server.url, "--count", count, *more)

        def with_journal(*more: str) -> dict[str, Any]:
            return one("--journal", f"{folder}/{next(numbers)}.db", *more)

        queried = partial(with_journal, "--no-known-keys")
        one()
        results = interleaved({"off": one, "on": with_journal, "queried": queried}, rounds)
    for name, those in results.items():
        print(f"journal {name:7}  {spread(those, 'per_second'):.0f} creates/s")
    print(f"on / off          {ratios(results['on'], results['off'], 'per_second')}")
    print(f"CPU on / off      {ratios(results['on'], results['off'], 'cpu')}")
    print(f"CPU queried / on  {ratios(results['queried'], results['on'], 'cpu')}")


def readahead(count: int) -> None:
    """Count the instructions of a resumed create, with and without read-ahead.

    Callgrind counts them, as the difference between two runs. Nothing is sent, so the counts are
    reproducible on a noisy machine.
    """
    few = count // 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resumed.db"
        build(path, 10 * count)

        def counted(size: int, *more: str) -> int:
            done = subprocess.run(
                [
                    *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                    *(sys.executable, "-m", "benchmarks.journal", "submit", "--url", NOWHERE),
                    *("--count", str(size), "--journal", str(path), *more),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                capture_output=True,
                text=True,
                check=True,
            )
            collected = re.search(r"Collected : (\d+)", done.stderr)
            assert collected, done.stderr
            return int(collected[1])

        on, off = (
            (counted(count, *more) - counted(few, *more)) / (count - few)
            for more in ((), ("--no-read-ahead",))
        )
    print(f"read-ahead {off:,.0f} off / {on:,.0f} on: {off / on:.3f}")


def build(path: Path, count: int) -> None:
    """Write the journal of a program that has submitted ``count`` requests."""
    journal = Journal(path)
    journal.attach()
    asyncio.run(journal.detach())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(ROW, _rows(count))


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    for number, request in enumerate(requests(count)):
        body = encode_request(request)
        kind = request.kind.name
        key = sha256(f"{kind}:".encode() + body).hexdigest()[:32] + "-1"
        yield key, "submitted", "", kind, body.decode(), time.time(), f"i2v-{number:032x}"


def resumed(count: int, keep: Path | None) -> None:
    """Rerun a program that has nothing left to do, and print its cost."""
    with tempfile.TemporaryDirectory() as folder:
        path = keep or Path(folder) / "run.db"
        if not path.exists():
            build(path, count)
        result = run("journal", "submit", "--url", NOWHERE, "--count", count, "--journal", path)
    each, cpu = result["seconds"] / count * 1e6, result["cpu"] / count * 1e6
    print(f"{count} entries: {result['seconds']:.1f} s, {result['megabytes']:.0f} MB")
    print(f"each: {each:.1f} µs, {cpu:.1f} µs of CPU")


def profile(count: int, keep: Path) -> None:
    """Print a profile of a resumed program."""
    if not keep.exists():
        build(keep, count)
    profiler = cProfile.Profile()
    profiler.runcall(asyncio.run, submit(NOWHERE, str(keep), count))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("creates", "resume", "readahead", "profile", "submit"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--journal")
    parser.add_argument("--no-read-ahead", action="store_true")
    parser.add_argument("--no-known-keys", action="store_true")
    args = parser.parse_args()
    if args.no_read_ahead:
        switch_off_read_ahead()
    if args.no_known_keys:
        switch_off_known_keys()
    if args.job == "submit":
        print(json.dumps(asyncio.run(submit(args.url, args.journal, args.count))))
    elif args.job == "creates":
        creates(args.count or 4000, args.rounds)
    elif args.job == "readahead":
        readahead(args.count or 900)
    elif args.job == "resume":
        resumed(args.count or 1_000_000, args.keep)
    else:
        profile(args.count or 100_000, args.keep or Path(tempfile.mkdtemp()) / "run.db")


if __name__ == "__main__":
    sys.exit(main())
