"""The same program run again: what was paid is not paid again, and what is known is not asked."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    APIError,
    ImageToVideo,
    Journal,
    JournalError,
    Keevx,
    Outcome,
    RetryPolicy,
    SubmissionUncertain,
    TaskFailed,
)
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.records import EmulatedTask, Kind
from tests.support.cli import at, keevx, written
from tests.support.client import a_request, keevx_of, some_requests

CREATE, STATUS = "POST /v1/image_to_video", "GET /v1/image_to_video"
WEEK = 7 * 24 * 3600.0


class Program:
    """Something that is run again and again on one journal."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.path = folder / "run.db"
        self.out = folder / "out"

    def client(self, on_uncertain: Any = "report", **settings: Any) -> Keevx:
        journal = Journal(self.path, on_uncertain=on_uncertain)
        return keevx_of(self.emulator, journal=journal, **settings)

    async def submit(self, requests: list[ImageToVideo], *args: Any, **how: Any) -> list[Outcome]:
        async with self.client(*args) as keevx:
            return (await keevx.submit_many(requests, **how)).outcomes

    async def generate(self, requests: list[ImageToVideo], *args: Any) -> list[Outcome]:
        async with self.client(*args) as keevx:
            return (await keevx.generate_many(requests, download=self.out)).outcomes

    def asked(self) -> dict[str, int]:
        """The requests since this was asked last."""
        asked = {name: count for name, count in self.emulator.requests.items() if count}
        self.emulator.requests.clear()
        return asked

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement, values).fetchall()


@pytest.fixture
def program(emulator: Emulator, tmp_path: Path) -> Program:
    return Program(emulator, tmp_path)


def ids_of(outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    return [outcome.task_ids for outcome in outcomes]


async def test_what_was_submitted_is_not_submitted_again(program: Program) -> None:
    requests = some_requests(40, generate_count=2)
    first = await program.submit(requests)
    assert program.asked() == {CREATE: 40}
    again = await program.submit(requests, concurrency=3)
    assert program.asked() == {}
    assert ids_of(again) == ids_of(first)
    assert all(outcome.ok for outcome in again)
    async with program.client() as keevx:
        assert (await keevx.submit(requests[7])).task_ids == first[7].task_ids
    more = await program.submit([*requests, a_request("a new one")])
    assert ids_of(more)[:40] == ids_of(first)
    assert program.asked() == {CREATE: 1}


async def test_a_whole_run_again_asks_for_nothing(program: Program) -> None:
    requests = some_requests(20)
    first = await program.generate(requests)
    program.asked()
    again = await program.generate(requests)
    assert program.asked() == {}
    assert [one.tasks for one in again] == [one.tasks for one in first]
    assert [one.paths for one in again] == [one.paths for one in first]
    assert all(outcome.ok for outcome in again)
    async with program.client() as keevx:
        assert (await keevx.wait(first[3].task_ids[0])) == first[3].tasks[0]
    assert program.asked() == {}


async def test_a_task_that_failed_is_not_asked_about_again(program: Program) -> None:
    program.emulator.fail_prompts = {"prompt 1"}
    await program.generate(some_requests(3))
    program.asked()
    again = await program.generate(some_requests(3))
    assert program.asked() == {}
    assert [type(one.error) for one in again] == [type(None), TaskFailed, type(None)]


async def test_a_task_whose_url_has_expired_is_asked_about_again(program: Program) -> None:
    async with program.client() as keevx:
        tasks = [(await keevx.generate(request))[0] for request in some_requests(2)]
    program.asked()
    old, fresh = tasks
    program.sql("UPDATE tasks SET at = at - ? WHERE task_id = ?", WEEK + 60, old.task_id)
    program.sql("UPDATE tasks SET at = at - ? WHERE task_id = ?", WEEK - 60, fresh.task_id)
    for asked in ({STATUS: 1}, {}):
        async with program.client() as keevx:
            ids = [task.task_id for task in tasks]
            assert {task.task_id async for task in keevx.wait_many(ids)} == set(ids)
        assert program.asked() == asked


async def test_a_video_at_home_needs_no_url(program: Program) -> None:
    first = await program.generate(some_requests(3))
    program.sql("UPDATE tasks SET at = at - ?", WEEK + 60)
    program.asked()
    again = await program.generate(some_requests(3))
    assert program.asked() == {}
    assert [one.paths for one in again] == [one.paths for one in first]


@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.parametrize("age", [0, WEEK + 60])
async def test_a_video_that_is_gone_or_cut_is_downloaded_again(
    program: Program, harm: str, age: float
) -> None:
    first = await program.generate(some_requests(3))
    program.sql("UPDATE tasks SET at = at - ?", age)
    program.asked()
    (path,) = first[1].paths
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-1])
    again = await program.generate(some_requests(3))
    assert all(outcome.ok for outcome in again)
    asked = program.asked()
    assert CREATE not in asked
    assert asked["GET storage"] == 1
    assert asked.get(STATUS, 0) <= 1
    assert [one.paths for one in again] == [one.paths for one in first]
    assert path.read_bytes() == program.emulator.video(again[1].task_ids[0])


async def test_downloads_are_recorded(program: Program) -> None:
    (outcome,) = await program.generate(some_requests(1))
    (path,), (task,) = outcome.paths, outcome.tasks
    async with Journal(program.path) as journal:
        record = await journal.find_task(task.task_id)
    assert record is not None
    assert (record.task, record.path, record.size) == (task, path, 20_000)
    assert record.digest == sha256(path.read_bytes()).hexdigest()


async def test_what_is_uncertain_is_reported_and_left_alone(program: Program) -> None:
    program.emulator.faults = Faults(drop_after_create={"prompt 1"})
    first = await program.generate(some_requests(3))
    assert program.asked()[CREATE] == 3
    for _ in range(2):
        again = await program.generate(some_requests(3))
        assert program.asked() == {}
        error = again[1].error
        assert isinstance(error, SubmissionUncertain)
        assert error.key == again[1].key == first[1].key
        assert "Server" in error.reason
        assert (again[0].ok, again[2].ok) == (True, True)
    async with program.client() as keevx:
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request("prompt 1"))
    assert program.asked() == {}


async def test_what_is_uncertain_is_sent_again_when_asked_for(program: Program) -> None:
    program.emulator.faults = Faults(drop_after_create={"prompt 1"})
    await program.submit(some_requests(3))
    again = await program.submit(some_requests(3), "resubmit")
    assert all(outcome.ok for outcome in again)
    assert program.emulator.creates == {"prompt 0": 1, "prompt 1": 2, "prompt 2": 1}
    program.asked()
    assert ids_of(await program.submit(some_requests(3))) == ids_of(again)
    assert program.asked() == {}


@pytest.mark.parametrize("way", ["refused", "cancelled", "unreachable"])
async def test_what_is_uncertain_stays_so_when_sending_it_again_comes_to_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    program.emulator.faults = Faults(drop_after_create=1)
    (first,) = await program.submit([a_request("one")])
    reason = str(first.error)
    if way == "refused":
        program.emulator.faults = Faults(refuse=1, refuse_status=400, refuse_code=100001)
        (again,) = await program.submit([a_request("one")], "resubmit")
        assert isinstance(again.error, APIError)
    elif way == "cancelled":
        program.emulator.faults = Faults()
        begin = Journal.mark_sending

        async def slowly(*args: Any) -> None:
            await begin(*args)
            await asyncio.sleep(60)

        monkeypatch.setattr(Journal, "mark_sending", slowly)
        async with program.client("resubmit", retry=RetryPolicy(grace=0.01)) as keevx:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(keevx.submit(a_request("one")), 0.05)
        monkeypatch.setattr(Journal, "mark_sending", begin)
    else:
        url = program.emulator.url
        await program.emulator.stop()
        async with program.client("resubmit", base_url=url) as keevx:
            assert not (await keevx.submit_many([a_request("one")])).outcomes[0].ok
        await program.emulator.start()
    program.asked()
    (last,) = await program.submit([a_request("one")])
    assert isinstance(last.error, SubmissionUncertain)
    assert str(last.error) == reason
    assert program.asked() == {}


async def test_what_was_refused_is_tried_again(program: Program) -> None:
    program.emulator.faults = Faults(
        refuse={"prompt 1"}, refuse_status=400, refuse_code=100001, refuse_message="no good"
    )
    first = await program.submit(some_requests(3))
    assert isinstance(first[1].error, APIError)
    async with Journal(program.path) as journal:
        (entry,) = [one async for one in journal.entries(State.REFUSED)]
        assert "no good" in entry.reason
    again = await program.submit(some_requests(3))
    assert all(outcome.ok for outcome in again)
    assert program.emulator.creates == {"prompt 0": 1, "prompt 1": 1, "prompt 2": 1}


async def test_a_key_stands_for_one_request(program: Program) -> None:
    async with program.client() as keevx:
        await keevx.submit(a_request("one"), key="mine")
    program.asked()
    async with program.client() as keevx:
        with pytest.raises(JournalError) as caught:
            await keevx.submit(a_request("other"), key="mine")
        await keevx.submit(a_request("one"), key="mine")
        with pytest.raises(JournalError, match="cannot be stored"):
            await keevx.submit(a_request("one"), key="a\0b")
    assert '"prompt":"one"' in str(caught.value)
    assert '"prompt":"other"' in str(caught.value)
    assert "'mine'" in str(caught.value)
    assert program.asked() == {}


async def test_one_key_in_one_run_is_one_create(program: Program) -> None:
    requests = [a_request("one") for _ in range(10)]
    outcomes = await program.submit(requests, key=lambda _: "mine")
    assert len({outcome.task_ids for outcome in outcomes}) == 1
    assert [outcome.key for outcome in outcomes] == ["mine"] * 10
    async with program.client() as keevx:
        both = await asyncio.gather(*(keevx.submit(a_request("two"), key="2") for _ in range(5)))
    assert len({submission.task_ids for submission in both}) == 1
    assert program.asked() == {CREATE: 2}


async def test_one_key_that_fails_is_tried_by_the_next(program: Program) -> None:
    program.emulator.faults = Faults(refuse=1, refuse_status=400, refuse_code=100001)
    outcomes = await program.submit([a_request("one")] * 3, key=lambda _: "mine")
    assert sorted(outcome.ok for outcome in outcomes) == [False, True, True]
    assert program.asked() == {CREATE: 2}
    assert program.emulator.creates.total() == 1


@pytest.mark.parametrize("concurrency", [1, 3, 32])
async def test_equal_requests_are_as_many_creates(program: Program, concurrency: int) -> None:
    requests = [a_request(name) for name in ("one", "two", "one", "one", "two")] * 4
    first = await program.submit(requests, concurrency=concurrency)
    assert len({outcome.task_ids for outcome in first}) == 20
    assert program.asked() == {CREATE: 20}
    again = await program.submit(requests, concurrency=7)
    assert program.asked() == {}
    assert {outcome.task_ids for outcome in again} == {outcome.task_ids for outcome in first}
    await program.submit([*requests, a_request("one")])
    assert program.asked() == {CREATE: 1}


async def test_equal_requests_of_which_some_were_refused(program: Program) -> None:
    program.emulator.faults = Faults(refuse=1, refuse_status=400, refuse_code=100001)
    first = await program.submit([a_request("one")] * 6, concurrency=2)
    assert [outcome.ok for outcome in first].count(False) == 1
    again = await program.submit([a_request("one")] * 6)
    assert all(outcome.ok for outcome in again)
    assert program.emulator.creates == {"one": 6}


async def test_the_other_kinds_of_input_resume_too(program: Program, tmp_path: Path) -> None:
    png = tmp_path / "start.png"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    requests = [a_request("ünïcode 🐕 \u2028"), a_request("a file", image_url=png)]
    first = await program.submit(requests)
    assert program.asked() == {CREATE: 2, "POST upload": 1}
    assert ids_of(await program.submit(requests)) == ids_of(first)
    assert program.asked() == {}


class Watching(Emulator):
    """Looks into a journal as each create arrives."""

    path: Path
    seen: list[str]

    def make(self, kind: Kind, body: Mapping[str, Any], raw: bytes) -> list[EmulatedTask]:
        found = on_disk(self.path, "SELECT state FROM entries WHERE body = ?", raw.decode())
        self.seen += [state for (state,) in found]
        return super().make(kind, body, raw)


def on_disk(path: Path, statement: str, *values: Any) -> list[Any]:
    """Ask the file, through another connection."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement, values).fetchall()


async def test_the_intent_is_on_disk_when_the_create_arrives(tmp_path: Path) -> None:
    async with Watching(0.02) as emulator:
        emulator.path, emulator.seen = tmp_path / "run.db", []
        program = Program(emulator, tmp_path)
        await program.submit(some_requests(50), concurrency=16)
    assert emulator.seen == ["sending"] * 50


async def test_the_ids_are_on_disk_before_anyone_has_them(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    def is_kept(ids: tuple[str, ...]) -> bool:
        found = on_disk(program.path, "SELECT state, task_ids FROM entries")
        return ("submitted", " ".join(ids)) in found

    def task_ids(outcome: Any, name: str, value: Any) -> None:
        if name == "task_ids" and value:
            kept.append(is_kept(value))
        object.__setattr__(outcome, name, value)

    monkeypatch.setattr(Outcome, "__setattr__", task_ids)
    async with program.client() as keevx:
        async for outcome in keevx.submit_many(some_requests(50), concurrency=16):
            assert is_kept(outcome.task_ids)
        submission = await keevx.submit(a_request("alone"))
        assert is_kept(submission.task_ids)
    assert kept == [True] * 50


@pytest.mark.parametrize("verb", ["submit", "submit_many", "generate_many"])
async def test_ids_that_cannot_be_written_are_reported(
    program: Program, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    async def fail(*_: Any) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(Journal, "mark_submitted", fail)
    async with program.client() as keevx:
        if verb == "submit":
            with pytest.raises(JournalError) as caught:
                await keevx.submit(a_request("one"))
            error: Any = caught.value
        else:
            (outcome,) = (await getattr(keevx, verb)([a_request("one")])).outcomes
            error = outcome.error
            assert outcome.task_ids == tuple(program.emulator.tasks)
    assert isinstance(error, JournalError)
    assert error.task_ids == tuple(program.emulator.tasks)
    assert (
        f"the disk is full. Keep these task ids, which are not in the journal: {error.task_ids[0]}"
        in str(error)
    )
    (last,) = await program.submit([a_request("one")])
    assert isinstance(last.error, SubmissionUncertain)
    assert program.emulator.creates == {"one": 1}


async def test_a_client_used_in_two_loops_keeps_its_journal(program: Program) -> None:
    keevx, ids = program.client(), set[tuple[str, ...]]()

    async def submit() -> None:
        ids.add((await keevx.submit(a_request("one"), key="mine")).task_ids)

    async def submit_and_close() -> None:
        await submit()
        await keevx.close()

    await asyncio.to_thread(asyncio.run, submit())
    await asyncio.to_thread(asyncio.run, submit_and_close())
    assert len(ids) == 1
    assert program.asked() == {CREATE: 1}


async def test_uncertain_ones_are_settled_by_the_command(program: Program, tmp_path: Path) -> None:
    emulator, rows = program.emulator, [request.to_dict() for request in some_requests(4)]
    file = written(tmp_path / "prompts.jsonl", [rows[0] | {"key": "a=b"}, *rows[1:]])

    async def command(*words: str | Path) -> tuple[int, str]:
        ran = await keevx(*words, cwd=tmp_path, **at(emulator))
        return ran.code, ran.out + ran.err

    run = ("run", file, "--journal", program.path, "--out", program.out)
    journal = ("journal", program.path)
    emulator.faults = Faults(drop_after_create={"prompt 0"}, drop_before_create={"prompt 2"})
    code, printed = await command(*run)
    assert code == 3, printed
    assert "2 uncertain" in printed
    code, printed = await command(*journal)
    assert code == 3
    lines = [one.split("  ") for one in printed.splitlines() if one.startswith("uncertain")]
    assert lines[0][1] == "a=b"
    assert [one[-1] for one in lines] == ["'prompt 0'", "'prompt 2'"]
    assert all(time.strftime("%Y-%m-%d", time.gmtime()) in one[2] for one in lines)
    assert "2 submitted, 2 uncertain" in printed
    (paid,) = [one for one, task in emulator.tasks.items() if task.prompt == "prompt 0"]

    code, printed = await command(*journal, "--settle", f"a=b={paid}")
    assert code == 3
    code, printed = await command(*journal, "--settle", f"{lines[1][1]}=none")
    assert code == 0, printed
    assert "1 planned, 3 submitted" in printed
    code, printed = await command(*journal, "--settle", f"a=b={paid}")
    assert code == 2
    assert "a=b is submitted; only an uncertain create can be settled" in printed
    for wrong in ("nobody", "=x", "a=", "a= "):
        code, printed = await command(*journal, "--settle", wrong)
        assert code == 2, printed

    emulator.faults = Faults()
    code, printed = await command(*run)
    assert code == 0, printed
    assert emulator.creates == {f"prompt {number}": 1 for number in range(4)}
    assert len(list(program.out.glob("*.mp4"))) == 4
