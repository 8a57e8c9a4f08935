"""In a real kernel: a cell that is stopped ends in one line, and the same cell goes on."""

import os
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

SETUP = """
import asyncio, os, signal
from keevx_async import ImageToVideo, Keevx, PollPolicy
from keevx_async.notebook import progress
from keevx_async.testing import Emulator

now = 0.0
emulator = Emulator(seconds=600)
await emulator.start()
emulator.clock = lambda: now
keevx = Keevx("any-key", base_url=emulator.url, polling=PollPolicy(longest=0.5))
request = ImageToVideo(model="S", prompt="A kite", image_url="https://example.com/kite.jpg",
                       aspect_ratio="9:16", aspect_resolution="720p", duration=4)

async def interrupt():
    while len(emulator.tasks) < 40 or fan.counts.under_way < 40:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)  # as the stop button does

fan = keevx.generate_many([request] * 40)
interrupting = asyncio.create_task(interrupt())
"""
END_TASKS = "now = 1_000.0"
CLOSE = """
await keevx.close()
await emulator.stop()
print(len(emulator.tasks), fan.counts)
"""


def run(folder: Path, *sources: str) -> list[NotebookNode]:
    """Return the cells after a run; one that is stopped does not end it."""
    cells = [new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in sources]
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        new_notebook(cells=cells), timeout=60, startup_timeout=300, resources=where
    )
    ended: list[NotebookNode] = client.execute(env=dict(os.environ)).cells
    return ended


def errors(cell: NotebookNode) -> list[str]:
    return [line for each in cell.outputs if each.output_type == "error" for line in each.traceback]


@pytest.fixture(autouse=True)
def no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))


def test_a_stopped_fan_out_ends_in_one_line_and_awaited_again_goes_on(tmp_path: Path) -> None:
    cells = run(tmp_path, SETUP, "await progress(fan)", END_TASKS, "await progress(fan)", CLOSE)
    assert errors(cells[0]) == errors(cells[2]) == []
    (line,) = errors(cells[1])
    assert line == (
        "Stopped: 0 ok, 40 unfinished, of 40. Await the fan-out again to resume; its outcomes "
        "and task_ids have everything so far."
    )
    assert errors(cells[3]) == []
    # The text below the widget, for where widgets are not kept.
    texts = [each.text for each in cells[3].outputs if each.get("name") == "stdout"]
    assert texts == ["keevx: 40 of 40 ended: 40 ok\n"]
    (after,) = cells[4].outputs
    assert after.text == "40 40 ok\n", "nothing was paid for twice"


def test_a_stopped_wait_ends_in_one_line_that_has_the_id(tmp_path: Path) -> None:
    setup = f"{SETUP}\ninterrupting.cancel()\nsubmission = await keevx.submit(request)\n" + (
        "asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)"
    )
    cells = run(
        tmp_path, setup, "await keevx.wait(submission.task_ids[0])", "emulator.tasks", CLOSE
    )
    assert errors(cells[0]) == []
    (line,) = errors(cells[1])
    assert line.startswith(
        "Stopped: 1 task keeps running at Keevx. Wait again to continue, free of charge"
    )
    (task_id,) = (word for word in line.split() if word.startswith("i2v-"))
    assert task_id in cells[2].outputs[0].data["text/plain"]
