"""Redis runs a command, and its reply is lost: redis-py repeats it, for us and for Docket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from keevx_async import PollPolicy
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings
from keevx_async.testing import Emulator, Faults
from tests.support.crashing import request
from tests.support.fleet import RedisServer
from tests.support.proxies import listening
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.fleet


class Losing:
    """A proxy before Redis that closes a connection instead of passing a reply on.

    Attributes:
        port: where it listens.
        share: of the replies that are lost.
        lost: how many were.
    """

    def __init__(self, server: RedisServer, seed: int) -> None:
        self.port = 0
        self.share = 0.0
        self.lost = 0
        self._server = server
        self._dice = random.Random(seed)
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._server.port)

        async def pass_on() -> None:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    redis_writer.write(data)
                    await redis_writer.drain()
            redis_writer.close()

        task, passing = asyncio.current_task(), asyncio.create_task(pass_on())
        assert task is not None
        self._open[task] = redis_writer
        try:
            while reply := await redis_reader.read(65_536):
                if self._dice.random() < self.share:
                    self.lost += 1
                    break
                writer.write(reply)
                await writer.drain()
        finally:
            for each in (redis_writer, writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()
            await passing
            del self._open[task]

    async def close(self) -> None:
        """Close what is still open."""
        for redis_writer in self._open.values():
            redis_writer.close()
        if self._open:
            await asyncio.wait([*self._open])


@asynccontextmanager
async def losing(server: RedisServer, seed: int) -> AsyncIterator[Losing]:
    proxy = Losing(server, seed)
    async with listening(proxy.handle) as proxy.port:
        yield proxy
        await proxy.close()


@pytest.mark.parametrize("seed", range(4 if THOROUGH else 1))
async def test_what_redis_ran_without_an_answer_is_made_once(
    redis_server: RedisServer, seed: int
) -> None:
    settings: dict[str, Any] = {"concurrency": 8, "polling": PollPolicy(shortest=0.05, longest=0.5)}
    async with (
        Emulator(seconds=0.1, faults=Faults(latency=(0.0, 0.05))) as emulator,
        losing(redis_server, seed) as proxy,
        KeevxDocket("films", f"redis://127.0.0.1:{proxy.port}/0") as docket,
        KeevxWorker(
            docket,
            WorkerSettings(api_key="test-key", base_url=emulator.url, **settings),
            redelivery_timeout=timedelta(seconds=2),
        ) as worker,
    ):
        working = asyncio.create_task(worker.run_forever())
        proxy.share = 0.05
        try:
            async with asyncio.timeout(60):
                keys = [await docket.add(request(number)) for number in range(40)]
                results = await asyncio.gather(*map(docket.get_result, keys))
        finally:
            proxy.share = 0.0
            working.cancel()
            await asyncio.wait({working})
        assert [len(tasks) for tasks in results] == [1] * 40
        assert emulator.creates == {f"prompt {number}": 1 for number in range(40)}
        assert proxy.lost > 20
        assert await docket.progress() | {"failed": 0} == {
            "planned": 0, "sending": 0, "uncertain": 0, "refused": 0, "submitted": 40,
            "succeeded": 40, "failed": 0,
        }  # fmt: skip
        assert sum((await docket.journal.usage()).values()) == 40
