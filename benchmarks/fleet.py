"""A fleet's figures: two worker processes, a Redis of their own, the Emulator as Keevx.

    python -m benchmarks.fleet [--jobs 1000] [--rate 50]

``over ideal``: from the first create to the last, over what the rate allows. ``recovery``: from a
worker's death until all that it held has gone on in another. ``scripts`` are round trips that run
one, nearly all there are; they, and Redis's CPU time, are its own counts, what idle workers and the
waiting feeder cost included. Bytes are those of all keys.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from keevx_async.docket import KeevxDocket
from keevx_async.testing import Emulator
from tests.support.crashing import request
from tests.support.fleet import PROGRAMS, RedisServer
from tests.support.fleet_processes import Fleet, reached
from tests.support.fleeting import FLEET

REDELIVERY = 2.0
"""Seconds; with more, what the dead held comes late beside so short a run."""
SECONDS = 3.0
"""What a task takes, the median."""


@asynccontextmanager
async def a_fleet(folder: str) -> AsyncIterator[tuple[Fleet, Redis]]:
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    server = RedisServer(program, Path(folder))
    server.start()
    fleet = None
    try:
        async with (
            Emulator(SECONDS, spread=0.2) as emulator,
            KeevxDocket(FLEET, server.url) as docket,
            Redis.from_url(server.url) as redis,
        ):
            fleet = Fleet(server, emulator, docket)
            yield fleet, redis
    finally:
        if fleet is not None:
            await fleet.stop()
        server.stop()


async def counted(redis: Redis) -> tuple[int, float]:
    """Scripts that were run, and CPU seconds that were spent, so far."""
    commands, cpu = await redis.info("commandstats"), await redis.info("cpu")
    scripts = commands.get("cmdstat_evalsha", {"calls": 0})["calls"]
    return scripts, cpu["used_cpu_user"] + cpu["used_cpu_sys"]


async def size(redis: Redis) -> int:
    """Bytes of all keys."""
    return sum([await redis.memory_usage(key, samples=0) async for key in redis.scan_iter()])


async def throughput(jobs: int, rate: float, kills: int) -> dict[str, Any]:
    """Make so many jobs, workers being killed meanwhile."""
    dice = random.Random(1)
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, redis):
            scripts, cpu = await counted(redis)
            keys = [await fleet.docket.add(request(number)) for number in range(jobs)]
            queued = await size(redis)
            settings = {"rate": rate, "concurrency": 32, "redelivery": REDELIVERY}
            workers = [await fleet.start(**settings) for _ in range(2)]
            for turn in range(kills):
                part = (turn + dice.uniform(0.3, 0.7)) * jobs / kills
                await reached(fleet.emulator, int(part))
                await fleet.kill(workers[turn % 2])
                workers[turn % 2] = await fleet.start(**settings)
            came_to = await fleet.results(keys, timeout=600)
            begun = sorted(task.created for task in fleet.emulator.tasks.values())
            after, spent = await counted(redis)
            return {
                "kills": kills,
                "over ideal": round((begun[-1] - begun[0]) / (len(begun) / rate), 3),
                "came to": dict(came_to),
                "creates twice": sum(made > 1 for made in fleet.emulator.creates.values()),
                "polls per job": round(fleet.emulator.polls.total() / jobs, 1),
                "scripts per job": round((after - scripts) / jobs, 1),
                "Redis CPU per job (ms)": round(1000 * (spent - cpu) / jobs, 2),
                "bytes per queued job": round(queued / jobs),
                "bytes per ended job": round(await size(redis) / jobs),
            }


async def alone(jobs: int) -> dict[str, Any]:
    """Let one worker make as many as it can."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, _):
            await fleet.docket.add_many(request(number) for number in range(jobs))
            await fleet.start(concurrency=64)
            await reached(fleet.emulator, jobs)
            begun = sorted(task.created for task in fleet.emulator.tasks.values())
            return {"creates/s of one worker": round(len(begun) / (begun[-1] - begun[0]))}


async def recovery(redelivery: float) -> dict[str, Any]:
    """Kill a worker that holds creates; time until none of them is held by the dead."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, _):
            fleet.emulator.faults.latency = 1.0
            keys = [await fleet.docket.add(request(number)) for number in range(8)]
            settings = {"concurrency": 8, "redelivery": redelivery}
            victim = await fleet.start(**settings)
            while fleet.emulator.requests.total() < 8:  # noqa: ASYNC110 - its books ring no bell
                await asyncio.sleep(0.01)
            await fleet.start(**settings)
            await fleet.kill(victim)
            died = time.monotonic()
            came_to = await fleet.results(keys, timeout=600)
            held = time.monotonic() - died
            return {"redelivery": redelivery, "recovery": round(held, 1), "came to": dict(came_to)}


async def main(jobs: int, rate: float) -> None:
    for kills in (0, 4):
        print(await throughput(jobs, rate, kills), flush=True)
    print(await alone(jobs), flush=True)
    for redelivery in (2.0, 10.0):
        print(await recovery(redelivery), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50.0)
    asyncio.run(main(**vars(parser.parse_args())))
