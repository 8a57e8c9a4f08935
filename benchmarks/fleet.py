"""Measure a fleet: worker processes, their own Redis server, and the Emulator as Keevx.

    python -m benchmarks.fleet [throughput kills alone cost outages rate recovery] [--jobs 1000]

By default, all scenarios run. ``throughput`` and ``kills``: jobs at 50/s on two workers, without
kills and with four kills. ``alone``: creates/s of one worker without a rate limit, with 64 and 16
slots. ``cost``: the cost of a job in Redis. ``outages``: 300 jobs at 30/s, with two Redis outages
of 3 s. ``rate``: the time until a fleet keeps the lower ``--rate`` of a new worker. ``recovery``:
the time to recover from a worker's death.

``over ideal``: the time from the first create to the last, divided by the time that the rate
allows. ``recovery``: the time from a worker's death until all of its jobs have ended in another
worker. ``scripts``: the round trips that run a script, which is nearly all of them. Redis itself
counts these and its CPU time, so they include the cost of idle workers and of the waiting feeder.
Bytes are the total size of all keys.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from keevx_async.docket import KeevxDocket
from keevx_async.docket.client import RATE
from keevx_async.testing import Emulator
from tests.support.crashing import request
from tests.support.fleet import RedisServer, program
from tests.support.fleet_processes import Fleet, reached, until
from tests.support.fleeting import FLEET

REDELIVERY = 2.0
"""The redelivery delay, in seconds. A longer delay would be too long for such a short run."""
SECONDS = 3.0
"""The median duration of a task, in seconds."""


@asynccontextmanager
async def a_fleet(folder: str, seconds: float = SECONDS) -> AsyncIterator[tuple[Fleet, Redis]]:
    server = RedisServer(program(), Path(folder))
    server.start()
    fleet = None
    try:
        async with (
            Emulator(seconds, spread=0.2) as emulator,
            KeevxDocket(FLEET, server.url) as docket,
            Redis.from_url(server.url) as redis,
        ):
            fleet = Fleet(server, emulator, docket, forks=False)
            yield fleet, redis
    finally:
        if fleet is not None:
            await fleet.stop()
        server.stop()


async def keevx_worker(fleet: Fleet, log: Path, *options: str) -> None:
    """Start ``keevx worker`` as users do, logging to a file; return once it is working."""
    command = ("worker", "--docket", fleet.redis.url, "--fleet", FLEET, *options)
    environment = {"KEEVX_API_KEY": "test-key", "KEEVX_BASE_URL": fleet.emulator.url}
    with log.open("wb") as file:
        fleet.workers.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "keevx_async.cli", *command,
                env=os.environ | environment, stdout=file, stderr=file,
            )
        )  # fmt: skip

    async def works() -> bool:
        return b"working for" in await asyncio.to_thread(log.read_bytes)

    await until(works, "a worker that works")


async def counted(redis: Redis) -> tuple[int, float]:
    """Return the number of scripts that Redis has run, and its CPU time in seconds."""
    commands, cpu = await redis.info("commandstats"), await redis.info("cpu")
    scripts = commands.get("cmdstat_evalsha", {"calls": 0})["calls"]
    return scripts, cpu["used_cpu_user"] + cpu["used_cpu_sys"]


async def size(redis: Redis) -> int:
    """Return the total size of all keys, in bytes."""
    return sum([await redis.memory_usage(key, samples=0) async for key in redis.scan_iter()])


async def throughput(jobs: int, rate: float, kills: int) -> dict[str, Any]:
    """Run the jobs while killing workers ``kills`` times."""
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


async def alone(jobs: int, slots: int) -> dict[str, Any]:
    """Measure the number of creates per second that one worker can send."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, _):
            await fleet.docket.add_many(request(number) for number in range(jobs))
            await fleet.start(concurrency=slots)
            await reached(fleet.emulator, jobs)
            begun = sorted(task.created for task in fleet.emulator.tasks.values())
            rate = len(begun) / (begun[-1] - begun[0])
            return {"slots": slots, "creates/s of one worker": round(rate)}


async def cost(jobs: int, rate: float) -> dict[str, Any]:
    """Measure the cost in Redis of jobs without a waiter, and of one idle worker."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder, 2.0) as (fleet, redis):
            idle, idle_cpu = await counted(redis)
            await fleet.start(rate=rate)
            await asyncio.sleep(10)
            scripts, cpu = await counted(redis)
            began = time.monotonic()
            await fleet.docket.add_many(request(number) for number in range(jobs))

            async def are_done() -> bool:
                await asyncio.sleep(0.5)
                return (await fleet.docket.progress())["succeeded"] == jobs

            await until(are_done, "all jobs done", 600)
            after, spent = await counted(redis)
            lasted = (time.monotonic() - began) / 10
            return {
                "polls per job": round(fleet.emulator.polls.total() / jobs, 1),
                "scripts per job": round((after - scripts) / jobs, 1),
                "without an idle worker's": round(
                    (after - scripts - lasted * (scripts - idle)) / jobs, 1
                ),
                "Redis CPU per job (ms)": round(1000 * (spent - cpu) / jobs, 2),
                "an idle worker's scripts per second": round((scripts - idle) / 10, 1),
                "an idle worker's Redis CPU (%)": round(10 * (cpu - idle_cpu), 2),
            }


async def outages(jobs: int = 300, rate: float = 30.0) -> dict[str, Any]:
    """Run jobs through two Redis outages of 3 s each."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder, 1.0) as (fleet, _):
            logs = [Path(folder, f"worker{number}.log") for number in range(2)]
            keys = [await fleet.docket.add(request(number)) for number in range(jobs)]
            for log in logs:
                await keevx_worker(fleet, log, "--rate", str(rate))
            began = time.monotonic()
            for part in (0.3, 0.6):
                await reached(fleet.emulator, int(part * jobs))
                fleet.redis.stop()
                await asyncio.sleep(3)
                await asyncio.to_thread(fleet.redis.start)
            await reached(fleet.emulator, jobs)
            made = time.monotonic()
            came_to = await fleet.results(keys, timeout=300)
            return {
                "seconds": round(time.monotonic() - began, 1),
                "until the last create": round(made - began, 1),
                "without outages": jobs / rate,
                "came to": dict(came_to),
                "creates twice": sum(made > 1 for made in fleet.emulator.creates.values()),
                "log lines": sum(len(log.read_bytes().splitlines()) for log in logs),
            }


async def lower_rate(high: float = 60.0, low: float = 5.0) -> dict[str, Any]:
    """Start a worker with a lower rate; measure the time until the fleet keeps that rate."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, _):
            await fleet.docket.add_many(request(number) for number in range(3000))
            for number in range(2):
                await keevx_worker(fleet, Path(folder, f"worker{number}.log"), "--rate", str(high))
            await reached(fleet.emulator, int(2 * high))
            log = Path(folder, "low.log")
            starting = asyncio.create_task(keevx_worker(fleet, log, "--rate", str(low)))

            async def is_set() -> bool:
                return await fleet.docket.journal.get_note(RATE) == str(low)

            await until(is_set, "the lower rate")
            changed = time.monotonic()
            seen: list[tuple[float, int]] = []
            while time.monotonic() - changed < 8:
                seen.append((time.monotonic() - changed, fleet.emulator.creates.total()))
                await asyncio.sleep(0.05)
            await starting
            # The rate is kept from the time after which at most the rate plus one create is made.
            last, total = seen[-1]
            kept = next(at for at, made in seen if total - made <= low * (last - at) + 1)
            after_2 = [made for at, made in seen if at >= 2]
            return {
                "from and to (creates/s)": (high, low),
                "kept after (s)": round(kept, 2),
                "creates/s from the third second on": round((total - after_2[0]) / (last - 2), 1),
            }


async def recovery(redelivery: float) -> dict[str, Any]:
    """Kill a worker with creates in flight; measure the time until another has ended its jobs."""
    with TemporaryDirectory() as folder:
        async with a_fleet(folder) as (fleet, _):
            fleet.emulator.faults.latency = 1.0
            keys = [await fleet.docket.add(request(number)) for number in range(8)]
            settings = {"concurrency": 8, "redelivery": redelivery}
            victim = await fleet.start(**settings)
            while fleet.emulator.requests.total() < 8:  # noqa: ASYNC110 - its counts signal no event
                await asyncio.sleep(0.01)
            await fleet.start(**settings)
            await fleet.kill(victim)
            died = time.monotonic()
            came_to = await fleet.results(keys, timeout=600)
            held = time.monotonic() - died
            return {"redelivery": redelivery, "recovery": round(held, 1), "came to": dict(came_to)}


SCENARIOS: dict[str, Callable[[int, float], list[Awaitable[dict[str, Any]]]]] = {
    "throughput": lambda jobs, rate: [throughput(jobs, rate, 0)],
    "kills": lambda jobs, rate: [throughput(jobs, rate, 4)],
    "alone": lambda jobs, rate: [alone(jobs, slots) for slots in (64, 16)],
    "cost": lambda jobs, rate: [cost(jobs, rate)],
    "outages": lambda jobs, rate: [outages()],
    "rate": lambda jobs, rate: [lower_rate()],
    "recovery": lambda jobs, rate: [recovery(redelivery) for redelivery in (2.0, 10.0)],
}


async def main(names: list[str], jobs: int, rate: float) -> None:
    for name in names or SCENARIOS:
        for measured in SCENARIOS[name](jobs, rate):
            print(name, await measured, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50.0)
    asyncio.run(main(**vars(parser.parse_args())))
