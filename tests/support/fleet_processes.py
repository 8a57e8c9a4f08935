"""A fleet of worker processes over a real Redis, with the Emulator as the book."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keevx_async import KeevxError, SubmissionUncertain
from keevx_async.docket import KeevxDocket
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator
from tests.support.fleet import RedisServer
from tests.support.fleeting import FLEET
from tests.support.forking import ROOT, can_fork, python


class Fleet:
    """Worker processes on one Redis, and what they are judged by.

    Args:
        redis: the server.
        emulator: their Keevx.
        docket: whose creates they make.
        forks: whether a worker is forked, which is quicker, instead of a new interpreter.
    """

    def __init__(
        self, redis: RedisServer, emulator: Emulator, docket: KeevxDocket, *, forks: bool = True
    ) -> None:
        self.redis, self.emulator, self.docket = redis, emulator, docket
        self._forks = forks and can_fork({})
        self.workers: list[asyncio.subprocess.Process] = []

    async def start(self, point: str = "nowhere", **settings: Any) -> asyncio.subprocess.Process:
        """Start one more worker; return it once it works."""
        arguments = (point, self.redis.url, self.emulator.url, json.dumps(settings))
        words = ("-m", "tests.support.fleeting", *arguments)
        if self._forks:
            streams = (subprocess.DEVNULL, subprocess.PIPE, 2)
            worker = await python(*words, cwd=ROOT, env=dict(os.environ), streams=streams)
        else:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, *words, cwd=ROOT, stdout=subprocess.PIPE
            )
        self.workers.append(worker)
        assert worker.stdout is not None
        assert (await worker.stdout.readline()) == b"working\n"
        return worker

    async def start_two(self, **settings: Any) -> list[asyncio.subprocess.Process]:
        """Start two more workers at once; return them once they work."""
        return list(await asyncio.gather(*(self.start(**settings) for _ in range(2))))

    async def kill(self, worker: asyncio.subprocess.Process) -> None:
        if worker.returncode is None:
            worker.kill()
        assert await worker.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        for worker in self.workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    async def states(self) -> dict[str, State]:
        """The state of each create, by prompt."""
        entries = [entry async for entry in self.docket.journal.entries()]
        return {json.loads(entry.body)["prompt"]: entry.state for entry in entries}

    async def results(self, keys: list[str], timeout: float = 300) -> Counter[str]:
        """Wait for all; count what they came to."""

        async def one(key: str) -> str:
            try:
                await self.docket.get_result(key, timeout=timeout)
            except SubmissionUncertain:
                return "uncertain"
            except KeevxError as error:
                return f"{type(error).__name__}: {error}"
            return "ended"

        return Counter(await asyncio.gather(*map(one, keys)))


@asynccontextmanager
async def a_fleet(redis: RedisServer, **settings: Any) -> AsyncIterator[Fleet]:
    async with (
        Emulator(**{"seconds": 0.1} | settings) as emulator,
        KeevxDocket(FLEET, redis.url) as docket,
    ):
        fleet = Fleet(redis, emulator, docket)
        try:
            yield fleet
        finally:
            await fleet.stop()


async def until(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 120) -> None:
    """Wait for something that other processes do."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - other processes ring no bell
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"in {seconds} s: not {what}")


async def reached(emulator: Emulator, creates: int) -> None:
    """Wait for so many creates."""

    async def are_made() -> bool:
        return emulator.creates.total() >= creates

    await until(are_made, f"{creates} creates")
