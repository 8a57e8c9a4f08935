"""In a real kernel: what a person does to a cell costs no id."""

import os
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

SETUP = """
import asyncio, os, signal
from keevx_async import ImageToVideo, Keevx
from keevx_async.notebook import progress
from keevx_async.testing import Emulator, Faults

emulator = Emulator(seconds=600, faults=Faults(latency=0.02))
await emulator.start()
keevx = Keevx("any-key", base_url=emulator.url)
request = ImageToVideo(model="S", prompt="A kite", image_url="https://example.com/kite.jpg",
                       aspect_ratio="9:16", aspect_resolution="720p", duration=4)

async def interrupt():
    while len(emulator.tasks) < 10:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)  # as the stop button does

interrupting = asyncio.create_task(interrupt())
fan = keevx.generate_many([request] * 1_000, concurrency=4)
"""
INTERRUPTED = ("await progress(fan)", "async for outcome in progress(fan):\n    print(outcome)")
AFTERWARDS = """
print(len(emulator.tasks) < 1_000, set(fan.task_ids) == set(emulator.tasks), fan.counts.under_way)
await keevx.close()
await emulator.stop()
"""


def test_a_cell_that_is_stopped_loses_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one kernel, for it takes long to start: awaited, and then iterated."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no profile of the developer's own
    cells = [
        new_code_cell(source, metadata={"tags": ["raises-exception"]})
        for stopped in INTERRUPTED
        for source in (SETUP, stopped, AFTERWARDS)
    ]
    where = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(
        new_notebook(cells=cells), timeout=300, startup_timeout=300, resources=where
    )
    ran = client.execute(env=dict(os.environ)).cells
    for setup, stopped, after in (ran[:3], ran[3:]):
        assert setup.outputs == []
        (ended,) = (one.ename for one in stopped.outputs if one.output_type == "error")
        assert ended in {"CancelledError", "KeyboardInterrupt"}
        assert [one.get("text") for one in after.outputs] == ["True True 0\n"]
