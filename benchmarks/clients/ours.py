"""The baseline's jobs with keevx_async. The timed run includes building and checking requests."""

from __future__ import annotations

import asyncio
import inspect
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from keevx_async import ImageToVideo, Keevx

from .common import KEY, arguments, body, report, share, timed

Job = Callable[[Keevx, int, int], Awaitable[int]]


def client(url: str, **options: Any) -> Keevx:
    """Return a client for the benchmark's server."""
    return Keevx(KEY, base_url=url, **options)


def requests(count: int) -> Iterator[ImageToVideo]:
    """Yield ``count`` requests, each checked when it is built."""
    for number in range(count):
        yield ImageToVideo(**body(number))


async def creates(keevx: Keevx, count: int, at_once: int) -> int:
    """Send ``count`` creates; return the number of distinct ids."""
    done = await keevx.submit_many(requests(count), concurrency=at_once)
    for error in done.errors:
        raise error
    return len(set(done.task_ids))


async def polls(keevx: Keevx, count: int, at_once: int) -> int:
    """Query ``count`` task statuses; return the number of distinct ids."""
    seen: list[str] = []

    async def poll(number: int) -> None:
        seen.append((await keevx.status(f"i2v-{number:032x}")).task_id)

    await share(poll, count, at_once)
    return len(set(seen))


JOBS: dict[str, Job] = {"creates": creates, "journal": creates, "polls": polls}


async def measure(options: Callable[[str], dict[str, Any]]) -> None:
    """Warm up with one client, measure with another.

    Args:
        options: returns the client's arguments, given "warm" or "run".
    """
    args = arguments()
    job = JOBS[args.job]
    async with client(args.url, **options("warm")) as keevx:
        await job(keevx, min(args.count, 500), args.at_once)
    async with client(args.url, **options("run")) as keevx:
        with timed() as timing:
            ids = await job(keevx, args.count, args.at_once)
    report(timing, args.count, ids)


def main() -> None:
    if arguments().job != "journal":
        asyncio.run(measure(lambda _: {}))
        return
    if "journal" not in inspect.signature(Keevx).parameters:
        sys.exit("Keevx takes no journal= yet")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(lambda name: {"journal": Path(folder, f"{name}.db")}))


if __name__ == "__main__":
    main()
