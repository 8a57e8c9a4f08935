"""Code shared by all measured programs: arguments, timing and reports."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

KEY = "benchmark-key"
IMAGE = "https://example.com/start.jpg"


def arguments() -> argparse.Namespace:
    """Parse the arguments that the harness passes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--size", type=int, default=0)
    return parser.parse_args()


def raise_file_limit() -> None:
    """Raise this process's limit on open files and sockets to the maximum."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def prompt(number: int) -> str:
    """Return a typical prompt that is different for each number."""
    return f"A golden retriever running in the grass, take {number}"


def body(number: int) -> dict[str, Any]:
    """Return a create's body, as sent by the hand-written loops."""
    return {
        "model": "V",
        "prompt": prompt(number),
        "image_url": IMAGE,
        "aspect_ratio": "16:9",
        "aspect_resolution": "1080p",
        "duration": 6,
    }


async def share(one: Callable[[int], Awaitable[object]], count: int, at_once: int) -> None:
    """Call ``one`` for each number, with ``at_once`` workers that share one iterator."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))


class Timing:
    """Elapsed wall-clock time and CPU time of this process, in seconds."""

    wall = 0.0
    cpu = 0.0


@contextmanager
def timed() -> Iterator[Timing]:
    """Measure the time that the block takes."""
    timing, wall, cpu = Timing(), time.perf_counter(), _cpu()
    yield timing
    timing.wall, timing.cpu = time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system


def report(timing: Timing, count: int, ids: int, **more: Any) -> None:
    """Print the measurements as one line of JSON, including the number of lost ids."""
    print(
        json.dumps(
            {
                "per_second": count / timing.wall,
                "cpu_us": timing.cpu / count * 1e6,
                "wall": timing.wall,
                "count": count,
                "lost": count - ids,
                **more,
            }
        ),
        flush=True,
    )
