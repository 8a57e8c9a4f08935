"""`keevx run --docket` where no worker runs says so, and goes on once one does."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import at, start, written
from tests.support.cli_run import takes
from tests.support.fleet import RedisServer

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM"),
]


async def test_a_run_without_a_worker_says_so(tmp_path: Path, redis_server: RedisServer) -> None:
    written(tmp_path / "p.jsonl", takes(4))
    url = redis_server.url
    async with Emulator(seconds=0.1) as emulator:
        run = await start(
            "run", "p.jsonl", "--docket", url, "--out", "out", cwd=tmp_path, **at(emulator)
        )
        worker = None
        try:
            assert run.stderr is not None
            lines: list[str] = []
            async with asyncio.timeout(60):
                while not lines or "no worker" not in lines[-1]:
                    line = await run.stderr.readline()
                    assert line, lines
                    lines.append(line.decode())
            assert "no worker of fleet keevx is running, so nothing is being made" in lines[-1]
            hint = (await run.stderr.readline()).decode()
            assert f"keevx worker --docket {url} --fleet keevx" in hint
            worker = await start("worker", "--docket", url, cwd=tmp_path, **at(emulator))
            _, err = await asyncio.wait_for(run.communicate(), 60)
            assert (run.returncode, b"no worker" in err) == (0, False), err.decode()
            worker.send_signal(signal.SIGTERM)
            await asyncio.wait_for(worker.communicate(), 60)
            assert worker.returncode == 0
        finally:
            for process in (run, worker):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.communicate()
