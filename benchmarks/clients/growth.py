"""Measure keevx_async's resident memory while it streams requests or downloads files."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from keevx_async import Keevx

from .common import arguments
from .ours import client, requests

MEBIBYTE = 2**20
SAMPLES = 20


def resident() -> float:
    """Return this process's resident memory in MiB."""
    return float(psutil.Process().memory_info().rss) / MEBIBYTE


async def stream(keevx: Keevx, count: int, at_once: int) -> list[float]:
    """Submit ``count`` requests as a stream; return 21 samples of the resident memory."""
    async for _ in keevx.submit_many(requests(at_once), concurrency=at_once):
        pass  # the connections are open
    gc.collect()
    seen, ended = [resident()], 0
    async for outcome in keevx.submit_many(requests(count), concurrency=at_once):
        assert outcome.ok, outcome.error
        ended += 1
        if ended % (count // SAMPLES) == 0:
            seen.append(resident())
    assert ended == count
    return seen


@contextmanager
def watched(seen: list[float]) -> Iterator[None]:
    """Record the resident memory before the block and every 20 ms during it."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            seen.append(resident())

    gc.collect()
    seen.append(resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def check_and_remove(path: Path, size: int) -> None:
    """Check that a file is complete, then delete it to free disk space."""
    assert path.stat().st_size == size
    path.unlink()


async def downloads(keevx: Keevx, url: str, size: int, at_once: int) -> list[float]:
    """Download ``at_once`` files at once; return the resident memory over time."""
    with tempfile.TemporaryDirectory() as folder:

        async def one(number: int, bytes_: int) -> None:
            path = await keevx.download(f"{url}/files/{bytes_}/{number}.mp4", f"{folder}/")
            await asyncio.to_thread(check_and_remove, path, bytes_)

        await one(0, MEBIBYTE)
        seen: list[float] = []
        with watched(seen):
            await asyncio.gather(*(one(number, size) for number in range(at_once)))
    return seen


async def main() -> None:
    args = arguments()
    async with client(args.url) as keevx:
        if args.job == "stream":
            seen = await stream(keevx, args.count, args.at_once)
        else:
            seen = await downloads(keevx, args.url, args.size, args.at_once)
    print(json.dumps({"resident": seen}))


if __name__ == "__main__":
    asyncio.run(main())
