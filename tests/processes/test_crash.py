"""kill -9: real processes, real SQLite, and the Emulator as the book of what was paid.

The full size, 1,000 prompts and 20 kills, runs with ``KEEVX_THOROUGH=1``:

    KEEVX_THOROUGH=1 pytest tests/processes/test_crash.py -k random -s
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Outcome, SubmissionUncertain
from keevx_async.journal.protocol import Entry, State, TaskRecord
from keevx_async.journal.sqlite import Journal
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.contents import MAKERS, Content, video
from keevx_async.testing.records import EmulatedTask, Kind
from tests.conftest import at_once
from tests.support.crash import spawn
from tests.support.crashing import COUNT, generate, request
from tests.support.thorough import THOROUGH

CONCURRENCY = 16
SIZE = 10 * 2**16

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


class Deadly(Emulator):
    """Kills a process as it makes a prompt's task, or in the middle of sending its video."""

    pid: int | None = None
    at_create: str | None = None
    at_video: str | None = None

    def make(self, kind: Kind, body: Mapping[str, Any], raw: bytes) -> list[EmulatedTask]:
        made = super().make(kind, body, raw)
        if self.pid is not None and body["prompt"] == self.at_create:
            os.kill(self.pid, signal.SIGKILL)
        return made

    def sent(self, task: EmulatedTask, size: int) -> Content:
        """Return a task's video; its third block brings death."""
        content = video(task, size)

        def block(number: int) -> bytes:
            if self.pid and task.prompt == self.at_video and number == 3:
                os.kill(self.pid, signal.SIGKILL)
            return content.block(number)

        return Content(content.size, content.etag, content.media_type, block)


def book(journal: Path) -> dict[str, Entry]:
    """What a journal holds, by prompt."""

    async def read() -> dict[str, Entry]:
        async with Journal(journal) as opened:
            return {json.loads(one.body)["prompt"]: one async for one in opened.entries()}

    return at_once(read())


def prompt_of(outcome: Outcome) -> str:
    prompt: str = outcome.request.to_dict()["prompt"]
    return prompt


class Program:
    """Runs the three videos' program."""

    def __init__(self, emulator: Deadly, folder: Path) -> None:
        self.emulator, self.out = emulator, folder / "out"
        self.journal = folder / "run.db"

    async def die(self, point: str = "nowhere") -> None:
        """Run it until it dies."""
        process = await spawn(
            "tests.support.crashing", point, *self._where, out=asyncio.subprocess.PIPE
        )
        self.emulator.pid = process.pid
        _, wrong = await process.communicate()
        self.emulator.pid = None
        assert process.returncode == -signal.SIGKILL, wrong.decode()

    async def run(self, on_uncertain: Any = "report") -> dict[str, Outcome]:
        """Run it to its end; return its outcomes by prompt."""
        return {prompt_of(one): one async for one in generate(*self._where, on_uncertain)}

    @property
    def _where(self) -> tuple[str, Path, Path]:
        return self.emulator.url, self.journal, self.out

    def states(self) -> dict[str, str]:
        return {prompt: entry.state.value for prompt, entry in book(self.journal).items()}

    def whole_files(self) -> set[str]:
        """The prompts whose files are there, whole; nothing else is there."""
        tasks = self.emulator.tasks
        found = {path.stem: path for path in self.out.iterdir()} if self.out.exists() else {}
        for task_id, path in found.items():
            assert path.read_bytes() == self.emulator.video(task_id)
        return {tasks[task_id].prompt for task_id in found}


@asynccontextmanager
async def a_program(folder: Path, **settings: Any) -> AsyncIterator[Program]:
    async with Deadly(**{"seconds": 0.02} | settings) as emulator:
        yield Program(emulator, folder)


ALL = {request(number).prompt for number in range(COUNT)}
POINTS = [
    # where it dies, the second prompt's state then, creates of it: then, run again, resubmitted
    ("before the intent", None, 0, 1, 1),
    ("after the intent", "uncertain", 0, 0, 1),
    ("before the POST", "uncertain", 0, 0, 1),
    ("at the create", "uncertain", 1, 1, 2),
    ("after the POST", "uncertain", 1, 1, 2),
    ("before the ids", "uncertain", 1, 1, 2),
    ("after the ids", "submitted", 1, 1, 1),
]


@pytest.mark.parametrize(("point", "state", "then", "again", "resubmitted"), POINTS)
async def test_killed_at_a_step_of_a_create(
    tmp_path: Path, point: str, state: str | None, then: int, again: int, resubmitted: int
) -> None:
    async with a_program(tmp_path) as program:
        creates = program.emulator.creates
        if point == "at the create":
            program.emulator.at_create = "prompt 1"
        await program.die("nowhere" if point == "at the create" else point)
        assert program.states().get("prompt 1") == state
        assert program.states()["prompt 0"] == "submitted"
        assert "prompt 2" not in program.states()
        assert creates["prompt 1"] == then

        outcomes = await program.run()
        assert (creates["prompt 0"], creates["prompt 1"], creates["prompt 2"]) == (1, again, 1)
        lost = state == "uncertain"
        assert outcomes["prompt 1"].error.__class__ is (SubmissionUncertain if lost else type(None))
        assert program.whole_files() == (ALL - {"prompt 1"} if lost else ALL)

        outcomes = await program.run(on_uncertain="resubmit")
        assert (creates["prompt 0"], creates["prompt 1"], creates["prompt 2"]) == (
            1,
            resubmitted,
            1,
        )
        assert all(one.ok for one in outcomes.values())
        assert program.whole_files() == ALL
        assert set(program.states().values()) == {"submitted"}


@pytest.mark.parametrize(
    "point", ["in the middle", "before the file is noted", "after the file is noted"]
)
async def test_killed_at_a_step_of_a_download(tmp_path: Path, point: str) -> None:
    # Long enough that every create is over before the first video comes.
    async with a_program(tmp_path, seconds=1.0, video_bytes=SIZE) as program:
        emulator, middle = program.emulator, point == "in the middle"
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(MAKERS, "videos", emulator.sent)
            emulator.at_video = "prompt 1" if middle else None
            await program.die("nowhere" if middle else point)
        assert program.states() == dict.fromkeys(ALL, "submitted")
        (task_id,) = book(program.journal)["prompt 1"].task_ids
        final = program.out / f"{task_id}.mp4"
        noted = {one.path: one.size for one in records(program) if one.path is not None}
        if middle:
            assert not final.exists()
        else:
            # The others' notes come at the same time, and may share a commit.
            assert len(noted) in ((0, 1) if point.startswith("before") else (2, 3))
        assert all(path.stat().st_size == size == SIZE for path, size in noted.items())

        outcomes = await program.run()
        assert all(one.ok for one in outcomes.values())
        assert outcomes["prompt 1"].paths == (final,)
        assert program.whole_files() == ALL
        assert emulator.creates == dict.fromkeys(ALL, 1)


def records(program: Program) -> list[TaskRecord]:
    """What the journal holds of the tasks."""
    ids = [one for entry in book(program.journal).values() for one in entry.task_ids]

    async def read() -> list[TaskRecord]:
        async with Journal(program.journal) as journal:
            return [record for one in ids if (record := await journal.find_task(one)) is not None]

    return at_once(read())


class Bombed:
    """`keevx run`, killed again and again, and what is to hold of it each time."""

    def __init__(self, emulator: Emulator, folder: Path, count: int, seed: int) -> None:
        self.emulator, self.folder = emulator, folder
        self.journal, self.out = folder / "run.db", folder / "out"
        self.log = folder / "log"
        self.random = random.Random(seed)
        self.count = count
        self.reported: set[str] = set()
        self.kills = 0
        self.resubmitted = False
        rows = (request(number).to_dict() for number in range(count))
        self.file = folder / "prompts.jsonl"
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    async def start(self, on_uncertain: str) -> asyncio.subprocess.Process:
        run = ("keevx_async.cli", "run", self.file, "--journal", self.journal, "--out", self.out)
        more = ("--on-uncertain", on_uncertain, "--concurrency", CONCURRENCY)
        self.resubmitted |= on_uncertain == "resubmit"
        with self.log.open("ab") as log:
            return await spawn(*run, *more, url=self.emulator.url, out=log.fileno())

    async def kill_once(self, on_uncertain: str, most: int) -> int | None:
        """Kill a run when it has sent at most so many requests; tell how it ended."""
        process = await self.start(on_uncertain)
        fuse = self.emulator.requests.total() + self.random.randint(1, most)
        while process.returncode is None and self.emulator.requests.total() < fuse:  # noqa: ASYNC110 - its books ring no bell
            await asyncio.sleep(0.002)
        await asyncio.sleep(self.random.uniform(0, 0.02))
        if process.returncode is None:
            process.kill()
            self.kills += 1
        code = await process.wait()
        self.check()
        return code

    def check(self) -> None:
        """Compare the journal with the book of what was paid."""
        entries = book(self.journal) if self.journal.exists() else {}
        lost = {one for one, entry in entries.items() if entry.state is State.UNCERTAIN}
        new = lost - self.reported
        assert len(new) <= CONCURRENCY, "more uncertain than were in flight"
        self.reported |= lost
        twice = {prompt for prompt, made in self.emulator.creates.items() if made > 1}
        assert twice <= self.reported, "paid twice, though never reported"
        if not self.resubmitted:
            assert not twice
        kept = {one for entry in entries.values() for one in entry.task_ids}
        assert len(kept) == sum(len(entry.task_ids) for entry in entries.values())
        assert kept <= set(self.emulator.tasks)
        missing = Counter(
            task.prompt for one, task in self.emulator.tasks.items() if one not in kept
        )
        assert set(missing) <= self.reported, "an id was lost, and nobody told"

    async def finish(self, on_uncertain: str) -> int | None:
        """Run it to its end."""
        process = await self.start(on_uncertain)
        code = await process.wait()
        self.check()
        return code


@pytest.mark.alone
@pytest.mark.slow
async def test_killed_at_random_moments(tmp_path: Path) -> None:
    count, kills, most = (1000, 20, 100) if THOROUGH else (150, 6, 60)
    faults = Faults(latency=(0.0, 0.03))
    async with Emulator(seconds=0.1, video_bytes=3_000, faults=faults) as emulator:
        run = Bombed(emulator, tmp_path, count, seed=3)
        while run.kills < kills - 2:
            assert await run.kill_once("report", most) == -signal.SIGKILL, run.log.read_text()
        assert await run.finish("report") == (3 if run.reported else 0)
        done = {one for one, entry in book(run.journal).items() if entry.state is State.SUBMITTED}
        assert done | run.reported == {request(number).prompt for number in range(count)}
        assert {emulator.creates[prompt] for prompt in done} == {1}

        for _ in range(2):
            await run.kill_once("resubmit", 12)
        assert await run.finish("resubmit") == 0
        again = Counter(emulator.creates)
        assert await run.finish("report") == 0
        assert emulator.creates == again
        check_files(run, count)
        print(f"{run.kills} kills, {len(run.reported)} reported, {again.total() - count} twice")


def check_files(run: Bombed, count: int) -> None:
    """Every prompt has its file, whole, and nothing else is there."""
    entries = book(run.journal)
    ids = {one for entry in entries.values() for one in entry.task_ids}
    assert len(entries) == count == len(ids)
    results = run.out / "results.jsonl"
    told = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(one["prompt"] for one in told) == sorted(entries)
    assert {one["status"] for one in told} == {"done"}
    files = {
        run.out / Path(path).name: task_id
        for one in told
        for task_id, path in zip(one["task_ids"], one["paths"], strict=True)
    }
    assert set(files.values()) == ids
    assert set(run.out.glob("*.mp4")) == set(files)
    for path, task_id in files.items():
        assert path.read_bytes() == run.emulator.video(task_id)
