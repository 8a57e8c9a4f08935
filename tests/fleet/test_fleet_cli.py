"""A fleet from a terminal: `keevx worker`, `keevx run --docket` and `keevx journal --docket`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, at, keevx, start, written
from tests.support.cli_run import results, takes
from tests.support.fleet import RedisServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")


@asynccontextmanager
async def a_worker(redis: RedisServer, cwd: Path, *more: str, **env: str) -> AsyncIterator[Any]:
    """A worker that works; it is asked to stop, and does, when the block ends."""
    worker = await start("worker", "--docket", redis.url, *more, cwd=cwd, **env)
    try:
        assert worker.stderr is not None
        async with asyncio.timeout(120):
            said = await worker.stderr.readline()
        assert said.startswith(b"keevx: working for keevx; press Ctrl-C"), said
        yield worker
        worker.send_signal(signal.SIGTERM)
        _, wrong = await asyncio.wait_for(worker.communicate(), 120)
        assert (worker.returncode, b"Traceback" in wrong) == (0, False), wrong.decode()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.communicate()


@pytest.mark.fleet
async def test_a_file_is_done_by_the_fleet_and_comes_home(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    written(tmp_path / "p.jsonl", takes(12))
    run = ("run", "p.jsonl", "--docket", redis_server.url, "--out", "out")
    async with Emulator(seconds=0.3) as emulator:
        async with a_worker(redis_server, tmp_path, "--rate", "20", **at(emulator)):
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
            assert (ran.code, "12 of 12 done" in ran.err) == (0, True), ran.err
            again = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (again.code, "12 of 12 done" in again.err) == (0, True), again.err
        assert set(emulator.creates.values()) == {1}
        files = sorted(path.read_bytes() for path in (tmp_path / "out").glob("*.mp4"))
        assert files == sorted(emulator.video(one) for one in emulator.tasks)
        assert {one["status"] for one in results(tmp_path / "out").values()} == {"done"}


@pytest.mark.fleet
async def test_a_run_that_is_ended_is_gone_on_with_and_the_fleet_does_not_wait(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    written(tmp_path / "p.jsonl", takes(8))
    run = ("run", "p.jsonl", "--docket", redis_server.url)
    async with Emulator(seconds=0.2) as emulator:
        running = await start(*run, cwd=tmp_path, **at(emulator))
        assert running.stderr is not None
        async with asyncio.timeout(120):
            while b"fleet: 8 planned" not in await running.stderr.readline():
                pass
        running.send_signal(signal.SIGINT)
        _, wrong = await asyncio.wait_for(running.communicate(), 120)
        assert (running.returncode, b"8 unfinished" in wrong) == (130, True), wrong.decode()
        assert b"Resume without paying twice:\n  keevx run p.jsonl --docket" in wrong
        async with a_worker(redis_server, tmp_path, **at(emulator)):
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (ran.code, "8 of 8 done" in ran.err) == (0, True), ran.err
        assert set(emulator.creates.values()) == {1}


@pytest.mark.fleet
async def test_an_uncertain_create_of_a_fleet_is_told_and_settled(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    written(tmp_path / "p.jsonl", [{**GOOD, "key": "mine"}])
    journal = ("journal", "--docket", redis_server.url)
    run = ("run", "p.jsonl", "--docket", redis_server.url, "--out", "out")
    faults = Faults(drop_after_create=1.0)
    async with Emulator(seconds=0.1, faults=faults) as emulator:
        async with a_worker(redis_server, tmp_path, **at(emulator)):
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
            told = f"keevx journal --docket {redis_server.url} --fleet keevx"
            assert (ran.code, told in ran.err) == (3, True), ran.err
            ran = await keevx(*journal, cwd=tmp_path)
            assert (ran.code, ran.out.startswith("uncertain  mine  ")) == (3, True), ran.out
            (task_id,) = emulator.tasks
            ran = await keevx(*journal, "--settle", f"mine={task_id}", cwd=tmp_path)
            assert (ran.code, "1 submitted" in ran.out) == (0, True), ran.err
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (ran.code, "1 of 1 done" in ran.err) == (0, True), ran.err
        assert emulator.creates.total() == 1


async def test_what_a_fleet_cannot_do_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", [GOOD])
    url = "redis://:hunter2@127.0.0.1:9/0"
    async with Emulator() as emulator:
        for more in (("--journal", "run.db"), ("--callbacks", "http://127.0.0.1:9/k")):
            given = ("--docket", url, *more)
            ran = await keevx("run", "p.jsonl", *given, cwd=tmp_path, **at(emulator))
            assert (ran.code, "a fleet has its own journal" in ran.err) == (2, True)
        for command in (("run", "p.jsonl"), ("worker",), ("journal",)):
            ran = await keevx(*command, "--docket", url, cwd=tmp_path, **at(emulator))
            assert (ran.code, "cannot connect to Redis" in ran.err) == (2, True), ran.err
            assert "hunter2" not in ran.out + ran.err
        assert not emulator.creates
    ran = await keevx("journal", cwd=tmp_path)
    assert (ran.code, "pass one journal" in ran.err) == (2, True)
