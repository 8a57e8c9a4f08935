"""Process many prompts, from create to download, with ``keevx run`` or ``generate_many``.

    python -m benchmarks.server --finished 20000    # prints its port
    python -m benchmarks.clients.bulk {command,program} --url URL --count N --at-once N

Prints one line of JSON: the process's CPU time per item, and its memory over time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from keevx_async.cli.entry import run

from .common import KEY, arguments, body
from .ours import client, requests

MEBIBYTE = 2**20


def command(url: str, count: int, at_once: int, folder: Path) -> None:
    """Run ``keevx run`` in this process."""
    file = folder / "prompts.jsonl"
    with file.open("w") as lines:
        lines.writelines(json.dumps(body(number)) + "\n" for number in range(count))
    os.environ |= {"KEEVX_API_KEY": KEY, "KEEVX_BASE_URL": url}
    journal = ("--journal", str(folder / "run.db"))
    options = (*journal, "--concurrency", str(at_once), "--yes")
    with open(os.devnull, "w") as null:
        sys.stdout, out = null, sys.stdout
        code = run(["run", str(file), "--out", str(folder / "out"), *options])
        sys.stdout = out
    assert code == 0, code


async def program(url: str, count: int, at_once: int, folder: Path) -> None:
    """Do the same as ``command``, but with ``generate_many``."""
    async with client(url, journal=folder / "run.db") as keevx:
        ended = 0
        fan = keevx.generate_many(requests(count), concurrency=at_once, download=folder / "out")
        async for outcome in fan:
            assert outcome.ok, outcome.error
            ended += 1
    assert ended == count


@contextmanager
def watched(seen: list[float]) -> Iterator[None]:
    """Record the resident memory in MiB, every quarter of a second."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.25):
            seen.append(psutil.Process().memory_info().rss / MEBIBYTE)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def main() -> None:
    args = arguments()
    gc.collect()
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder, watched(seen):
        before = resource.getrusage(resource.RUSAGE_SELF)
        if args.job == "command":
            command(args.url, args.count, args.at_once, Path(folder))
        else:
            asyncio.run(program(args.url, args.count, args.at_once, Path(folder)))
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu_us": 1e6 * cpu / args.count, "resident": seen}))


if __name__ == "__main__":
    main()
