"""kill -9 five times: a journal's budget holds over all its runs."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.testing import Emulator, Faults
from tests.support.budgeted import CONCURRENCY, LIMIT, requests, submit_all
from tests.support.crash import spawn

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


async def test_five_kills(tmp_path: Path) -> None:
    dice, journal = random.Random(7), tmp_path / "run.db"
    faults = Faults(
        latency=(0.0, 0.2),
        drop_after_create=0.2,
        refuse=0.1,
        refuse_status=400,
        refuse_code=100001,
        rate=40,  # so that every run is killed with creates in flight, and before the budget ends
        burst=8,
    )
    async with Emulator(faults=faults) as emulator:
        for _ in range(5):
            program = await spawn(
                "tests.support.budgeted", emulator.url, journal, out=asyncio.subprocess.DEVNULL
            )
            enough = emulator.creates.total() + dice.randint(1, 8)
            while emulator.creates.total() < enough and program.returncode is None:  # noqa: ASYNC110 - its book rings no bell
                await asyncio.sleep(0.005)
            assert program.returncode is None, "it ended before it was killed"
            program.kill()
            await program.wait()
            assert len(emulator.tasks) <= LIMIT
        fan = await submit_all(emulator.url, journal)
        made = len(emulator.tasks)
        assert made <= LIMIT
        async with Journal(journal) as record:
            counted = sum((await record.usage()).values())
            entries = {entry.key async for entry in record.entries()}
        # What was in flight at a kill counts, for it may have been made.
        assert made <= counted <= LIMIT
        unsent = [outcome.request.count for outcome in fan.outcomes if outcome.not_started]
        assert unsent
        assert LIMIT - counted < min(unsent), "one more would have fitted"
        assert len(entries) <= len(requests())
        assert counted - made < CONCURRENCY * 4
