"""kill -9 of a run of all kinds, faults on: nothing is paid twice, nothing lost, all comes home."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keevx_async.journal.protocol import State
from keevx_async.journal.sqlite import Journal
from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, PNG, written
from tests.support.cli_mixed import judged
from tests.support.crash import spawn
from tests.support.emulator import stop_clock_until_refused
from tests.support.thorough import THOROUGH

COUNT = 300 if THOROUGH else 150
CONCURRENCY = 16
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def rows() -> Iterator[dict[str, Any]]:
    """The jobs of a file, as many of each kind; some of them with a local image."""
    local = "start.png"
    for number in range(COUNT // 3):
        image = local if number % 5 == 0 else "https://example.com/start.jpg"
        yield {**GOOD, "prompt": f"video {number}", "image_url": image}
        references = [local] if number % 7 == 0 else []
        yield {
            "kind": "image_generate",
            "prompt": f"image {number}",
            "reference_images": references,
            "generate_count": 1 + number % 2,
        }
        yield {
            "kind": "video_translate",
            "name": f"dub {number}",
            "video_url": f"https://example.com/{number}.mp4",
            "target_languages": ["English" if number % 2 else "Chinese"],
            "enable_caption": number % 3 == 0,
        }


def subject_of(body: dict[str, Any]) -> str:
    """What the Emulator's book of creates knows a body by."""
    if "prompt" in body:
        return str(body["prompt"])
    return f"{body['video_url']} in {body['target_languages'][0]}"


class Run:
    """`keevx run` of the mixed file: started, killed, started again."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        (folder / "start.png").write_bytes(PNG)
        self.emulator = emulator
        self.file = written(folder / "mixed.jsonl", rows())
        self.journal, self.out, self.log = folder / "run.db", folder / "out", folder / "log"

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        run = (
            "keevx_async.cli",
            "run",
            self.file,
            "--journal",
            self.journal,
            "--out",
            self.out / "{task_id}",
        )
        settings = ("--quiet", "--concurrency", CONCURRENCY, *more)
        with self.log.open("ab") as log:
            return await spawn(*run, *settings, url=self.emulator.url, out=log.fileno())

    async def die(self, after: int) -> None:
        """Kill it when it has made so many creates, and others are in flight."""
        fuse = self.emulator.creates.total() + after
        process = await self.start()
        while process.returncode is None and self.emulator.creates.total() < fuse:  # noqa: ASYNC110 - its books ring no bell
            await asyncio.sleep(0.002)
        assert process.returncode is None, self.log.read_text()
        process.kill()
        assert await process.wait() == -signal.SIGKILL, self.log.read_text()

    async def states(self) -> dict[str, tuple[State, tuple[str, ...]]]:
        """What the journal holds of each subject."""
        async with Journal(self.journal) as journal:
            return {
                subject_of(json.loads(entry.body)): (entry.state, entry.task_ids)
                async for entry in journal.entries()
            }


def faults() -> Faults:
    return Faults(
        latency=(0.0, 0.02),
        refuse=0.1,
        refuse_status=503,
        rate=50,
        burst=4,  # fewer than are sent at once, on any machine
        retry_after=0.1,
        error_after_create=0.04,
        drop_after_create=0.04,
        drop_polls=0.1,
        poll_errors=0.1,
        cut_downloads=0.1,
    )


@pytest.mark.slow
async def test_a_mixed_file_killed_twice_is_finished_whole_and_paid_once(tmp_path: Path) -> None:
    moments = random.Random(7)
    async with Emulator(seconds=0.1, video_bytes=3_000, faults=faults()) as emulator:
        stop_clock_until_refused(emulator)
        run = Run(emulator, tmp_path)
        for _ in range(2):
            await run.die(moments.randint(COUNT // 8, COUNT // 3))
        assert 0 < emulator.creates.total() < COUNT, "it was killed while it still had to do"
        code = await (await run.start()).wait()
        assert code == 3, run.log.read_text()

        states = await run.states()
        assert len(states) == COUNT
        assert set(emulator.creates.values()) == {1}, "paid twice"
        assert emulator.creates.keys() <= states.keys()
        lost = {subject for subject, (state, _) in states.items() if state is State.UNCERTAIN}
        done = {subject for subject, (state, _) in states.items() if state is State.SUBMITTED}
        struck = emulator.strikes["error_after_create"] + emulator.strikes["drop_after_create"]
        assert struck <= len(lost) <= struck + 2 * CONCURRENCY, "as many as were in flight, at most"
        assert done | lost == states.keys(), "each was made, or is told as uncertain"
        assert done <= emulator.creates.keys()
        for fault in ("refuse", "drop_after_create", "drop_polls", "cut_downloads"):
            assert emulator.strikes[fault], f"no {fault}, so it proves little"
        assert emulator.refused["rate"], "no 429, likewise"

        check_files(run, done, lost)
        owned = {one for state, ids in states.values() if state is State.SUBMITTED for one in ids}
        strangers = {task.prompt for one, task in emulator.tasks.items() if one not in owned}
        assert strangers <= lost, "an id was lost, and nobody told"
        print(f"{len(done)} done, {len(lost)} uncertain, {dict(emulator.strikes)}")

        # A create that died before it reached the Emulator has not met these faults yet.
        emulator.faults.error_after_create = emulator.faults.drop_after_create = 0.0
        code = await (await run.start("--on-uncertain", "resubmit")).wait()
        assert code == 0, run.log.read_text()
        assert {one for one, made in emulator.creates.items() if made > 1} <= lost
        check_files(run, done | lost, set())


def check_files(run: Run, done: set[str], lost: set[str]) -> None:
    """All that was made came home, whole; the lost are told, and nothing else is there."""
    results = run.out / "results.jsonl"
    told = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(one["status"] for one in told) == ["done"] * len(done) + ["uncertain"] * len(lost)
    tasks = run.emulator.tasks
    made = {
        one: tasks[one] for item in told if item["status"] == "done" for one in item["task_ids"]
    }
    assert {task.prompt for task in made.values()} == done
    wanted = {
        path
        for one, task in made.items()
        for path in [f"{one}.png" if task.kind.name == "image_generate" else f"{one}.mp4"]
        + [f"{one}.ass"] * bool(task.body.get("enable_caption"))
    }
    assert {
        path.name for path in run.out.glob("*") if path.suffix in (".mp4", ".png", ".ass")
    } == wanted
    assert {judged(run.emulator, run.out / name) for name in wanted} == set(made)
