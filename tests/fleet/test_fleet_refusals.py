"""A real Redis that refuses writes for a while: nothing paid is lost, and no job stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import State
from keevx_async.testing import Faults
from tests.support.crashing import request
from tests.support.fleet import RedisServer
from tests.support.fleet_processes import a_fleet, reached

pytestmark = pytest.mark.fleet

KIND, BODY = "image_to_video", b'{"prompt":"one"}'


def break_disk(server: RedisServer, folder: Path) -> None:
    """Have its snapshot fail, which it keeps beside the append-only file."""
    (folder / "taken").mkdir(exist_ok=True)
    server.ask("CONFIG", "SET", "dir", str(folder))
    server.ask("CONFIG", "SET", "dbfilename", "taken")
    server.ask("CONFIG", "SET", "save", "3600 1")
    server.ask("BGSAVE")
    while cast(Any, server.ask("INFO", "persistence"))["rdb_last_bgsave_status"] != "err":
        time.sleep(0.02)


@contextmanager
def refusing(server: RedisServer, refusal: str, folder: Path) -> Iterator[None]:
    """Have a server refuse writes during the block."""
    (folder_before,) = cast(dict[str, str], server.ask("CONFIG", "GET", "dir")).values()
    match refusal:
        case "OOM":
            server.ask("CONFIG", "SET", "maxmemory", 1)
        case "NOREPLICAS":
            server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        case "READONLY":
            server.ask("REPLICAOF", "127.0.0.1", 1)
        case _:
            break_disk(server, folder)
    try:
        yield
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)
        server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
        server.ask("REPLICAOF", "NO", "ONE")
        server.ask("CONFIG", "SET", "save", "")
        server.ask("CONFIG", "SET", "dbfilename", "dump.rdb")
        server.ask("CONFIG", "SET", "dir", folder_before)


REFUSALS = ["OOM", "NOREPLICAS", "READONLY", "MISCONF"]
REFUSES_SCRIPTS = ["READONLY", "MISCONF"]
"""A full Redis takes what was paid; without replicas, one before version 7 takes any script."""


@asynccontextmanager
async def a_journal(server: RedisServer, folder: Path) -> AsyncIterator[RedisJournal]:
    async with (
        Redis(port=server.port) as client,
        RedisJournal(client, "films", reconnect_timeout=60.0, unwritten=folder) as journal,
    ):
        await journal.claim(KIND, BODY, "k")
        await journal.mark_sending("k", KIND, BODY)
        yield journal


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_ids_and_claims_are_written_once_redis_accepts_them(
    redis_server: RedisServer, tmp_path: Path, refusal: str
) -> None:
    folder = tmp_path / "unwritten"
    for each in (folder, tmp_path / "redis"):
        each.mkdir()
    async with a_journal(redis_server, folder) as journal:
        with refusing(redis_server, refusal, tmp_path / "redis"):
            submitting = asyncio.create_task(journal.mark_submitted("k", ["i2v-1"]))
            releasing = asyncio.create_task(journal.release("k"))
            await asyncio.wait({submitting, releasing}, timeout=0.5)
            is_refused = refusal in REFUSES_SCRIPTS
            if refusal == "NOREPLICAS" and redis_server.major >= 7:
                is_refused = True
            assert (submitting.done(), releasing.done()) == (not is_refused, not is_refused)
            assert is_refused == any(folder.iterdir())
        async with asyncio.timeout(20):
            await submitting
            await releasing
            async with RedisJournal.from_url(redis_server.url, "films") as other:
                claim = await other.claim(KIND, BODY, "k")
        assert claim.entry is not None
        assert (claim.entry.state, claim.entry.task_ids) == (State.SUBMITTED, ("i2v-1",))
        assert not any(folder.iterdir())


@pytest.mark.parametrize("refusal", ["OOM", *REFUSES_SCRIPTS])
async def test_an_intent_waits_until_redis_accepts_it(
    redis_server: RedisServer, tmp_path: Path, refusal: str
) -> None:
    async with a_journal(redis_server, tmp_path) as journal:
        await journal.claim(KIND, BODY + b" ", "other")
        with refusing(redis_server, refusal, tmp_path):
            intent = asyncio.create_task(journal.mark_sending("other", KIND, BODY + b" "))
            await asyncio.wait({intent}, timeout=0.5)
            assert not intent.done()
        async with asyncio.timeout(20):
            await intent


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_workers_go_on_after_a_redis_that_refused(
    redis_server: RedisServer, tmp_path: Path, refusal: str
) -> None:
    async with a_fleet(redis_server, faults=Faults(latency=(0.1, 0.3))) as fleet:
        keys = [await fleet.docket.add(request(number)) for number in range(80)]
        await fleet.start_two(concurrency=8)
        await reached(fleet.emulator, 20)
        with refusing(redis_server, refusal, tmp_path):
            await asyncio.sleep(3.0)
        assert await fleet.results(keys, timeout=60) == {"ended": 80}
        assert set(fleet.emulator.creates.values()) == {1}
