"""Signals that the command's parent ignores, as `nohup` and a shell's `&` do."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.signals import default_signals
from tests.test_cli import GOOD, at, written
from tests.test_cli_run import results

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")

IGNORING = """
import os, signal, sys
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "keevx_async.cli", *sys.argv[2:]])
"""


async def started_ignoring(
    name: str, *arguments: str | Path, cwd: Path, **env: str
) -> asyncio.subprocess.Process:
    with default_signals():
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", IGNORING, name, *map(str, arguments), cwd=cwd,
            env={**os.environ, **env}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ignored", "other"), [("SIGINT", signal.SIGTERM), ("SIGTERM", signal.SIGINT)]
)
async def test_a_signal_that_the_parent_ignores_stays_ignored(
    tmp_path: Path, ignored: str, other: signal.Signals
) -> None:
    file, out = written(tmp_path / "p.jsonl", [GOOD]), tmp_path / "out"
    async with Emulator(seconds=600, faults=Faults(latency=0.1)) as emulator:
        run = ("run", file, "--out", out)
        process = await started_ignoring(ignored, *run, cwd=tmp_path, **at(emulator))
        polls = "GET /v1/image_to_video"
        while not emulator.requests[polls]:  # noqa: ASYNC110 - the emulator's books ring no bell
            await asyncio.sleep(0.01)
        process.send_signal(getattr(signal, ignored))
        before = emulator.requests[polls]
        while emulator.requests[polls] == before:  # it still polls
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.send_signal(other)
        _, err = await asyncio.wait_for(process.communicate(), 120)
        assert (process.returncode, err.count(b"stopping")) == (130, 1), err
        assert {item["status"] for item in results(out).values()} == {"unfinished"}
