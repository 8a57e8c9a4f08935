"""A fleet's figures: two worker processes, a Redis of their own, the Emulator as Keevx.

    python -m benchmarks.fleet [--jobs 1000] [--rate 50]

``over ideal``: from the first create to the last, over what the rate allows. ``recovery``: from a
worker's death until all that it held has gone on in another. Bytes and commands are Redis's own
counts, with what idle workers cost in it.
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
from tests.crashing import request
from tests.fleet import PROGRAMS, RedisServer
from tests.fleeting import FLEET
from tests.test_fleet import Fleet, reached

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


async def counted(redis: Redis) -> tuple[int, int]:
    """Commands so far, and bytes now."""
    commands, memory = await redis.info("stats"), await redis.info("memory")
    return commands["total_commands_processed"], memory["used_memory"]


async def throughput(jobs: int, rate: float, kills: int) -> dict[str, Any]:
    """Make so many jobs, workers being killed meanwhile."""
    dice = random.Random(1)
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, redis):
            commands, empty = await counted(redis)
            keys = [await fleet.docket.add(request(number)) for number in range(jobs)]
            queued = (await counted(redis))[1]
            settings = {"rate": rate, "concurrency": 32, "redelivery": 5.0}
            workers = [await fleet.start(**settings) for _ in range(2)]
            for turn in range(kills):
                part = (turn + dice.uniform(0.3, 0.7)) * jobs / kills
                await reached(fleet.emulator, int(part))
                await fleet.kill(workers[turn % 2])
                workers[turn % 2] = await fleet.start(**settings)
            came_to = await fleet.results(keys, timeout=600)
            begun = sorted(task.created for task in fleet.emulator.tasks.values())
            after, full = await counted(redis)
            return {
                "kills": kills,
                "over ideal": round((begun[-1] - begun[0]) / (len(begun) / rate), 3),
                "came to": dict(came_to),
                "creates twice": sum(made > 1 for made in fleet.emulator.creates.values()),
                "polls per job": round(fleet.emulator.polls.total() / jobs, 1),
                "commands per job": round((after - commands) / jobs, 1),
                "bytes per queued job": round((queued - empty) / jobs),
                "bytes per ended job": round((full - empty) / jobs),
            }


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
    for redelivery in (5.0, 30.0):
        print(await recovery(redelivery), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50.0)
    asyncio.run(main(**vars(parser.parse_args())))
