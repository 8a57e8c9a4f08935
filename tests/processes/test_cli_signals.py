"""Signals that the command's parent ignores, as `nohup` and a shell's `&` do."""

import signal
import sys
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, at, end_of, written
from tests.support.cli_run import results
from tests.support.cli_signals import started_ignoring
from tests.support.emulator import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")


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
        await until(lambda: emulator.requests[polls], process)
        process.send_signal(getattr(signal, ignored))
        before = emulator.requests[polls]
        await until(lambda: emulator.requests[polls] > before, process)  # it still polls
        process.send_signal(other)
        _, err = await end_of(process)
        assert (process.returncode, err.count(b"stopping")) == (130, 1), err
        assert {item["status"] for item in results(out).values()} == {"unfinished"}
