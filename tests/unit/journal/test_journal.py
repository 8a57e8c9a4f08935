"""The journal by itself: who has a key, what is read, what is written, how a file grows up."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal, JournalError, Task
from keevx_async.journal import schema
from keevx_async.journal.database import MAX_GAP, READ_AHEAD, ReadAhead
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import State
from tests.support.journal import entry_of, kept, kept_in, opened, opened_and_closed

KIND = "image_to_video"
BODY = b'{"prompt":"one"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def a_body(number: int) -> bytes:
    return json.dumps({"prompt": f"prompt {number}"}).encode()


async def fill(path: Path, count: int) -> list[str]:
    """Write so many submitted entries; return their keys."""
    async with Journal(path) as journal:
        keys = [(await journal.claim(KIND, a_body(n), None)).key for n in range(count)]
        await asyncio.gather(
            *(journal.mark_sending(k, KIND, a_body(n)) for n, k in enumerate(keys))
        )
        await asyncio.gather(*(journal.mark_submitted(k, [f"i2v-{n}"]) for n, k in enumerate(keys)))
    return keys


async def test_it_is_open_while_anyone_uses_it(path: Path) -> None:
    journal = Journal(path)
    assert repr(journal) == f"<Journal {path}>"
    with pytest.raises(JournalError, match="is not open"):
        await journal.find("mine")
    await journal.release("mine")
    journal.attach()
    async with journal:
        await journal.detach()
        assert await journal.find("mine") is None
    with pytest.raises(JournalError, match="is not open"):
        await journal.mark_sending("mine", KIND, BODY)
    assert not [one for one in threading.enumerate() if one.name == "keevx-journal"]
    async with journal:
        assert await journal.find("mine") is None
    with pytest.raises(ValueError, match=r"must be 'report' or 'resubmit' \(got 'ignore'\)"):
        Journal(path, on_uncertain="ignore")  # type: ignore[arg-type]


async def test_a_change_of_folder_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with Journal("run.db") as journal:
        await journal.mark_sending("mine", KIND, BODY)
        monkeypatch.chdir("elsewhere")
        assert [entry.key async for entry in journal.entries()] == ["mine"]
        assert await journal.find_owner("i2v-1") is None
        await journal.mark_downloaded(
            Task(task_id="i2v-1", status="SUCCEEDED"), Path("1.mp4"), 1, ""
        )
        record = await journal.find_task("i2v-1")
    assert record is not None
    assert record.path == tmp_path / "elsewhere" / "1.mp4"


async def test_a_path_that_is_not_text_is_kept_like_a_missing_file(path: Path) -> None:
    async with Journal(path) as journal:
        task = Task(task_id="i2v-1", status="SUCCEEDED")
        await journal.mark_downloaded(task, Path("/videos/\udcff.mp4"), 1, "")
        record = await journal.find_task("i2v-1")
    assert record is not None
    assert record.path == Path("/videos/?.mp4")


async def test_the_time_a_url_was_received_outlives_its_download(path: Path) -> None:
    task = Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://example.com/1")
    async with Journal(path) as journal:
        await journal.mark_ended(task)
        await journal.mark_planned("a barrier")
        first = await journal.find_task("i2v-1")
        await journal.mark_downloaded(task, Path("/1.mp4"), 1, "")
        second = await journal.find_task("i2v-1")
        await journal.mark_ended(task)
        await journal.mark_planned("a barrier")
        third = await journal.find_task("i2v-1")
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.at == second.at < third.at
    assert (third.path, third.size) == (Path("/1.mp4"), 1)


async def test_a_key_has_one_holder_at_a_time(path: Path) -> None:
    async with Journal(path) as journal:
        order: list[int] = []

        async def lock_file(number: int) -> None:
            await journal.claim(KIND, BODY, "mine")
            order.append(number)
            await asyncio.sleep(0)
            assert order[-1] == number
            await journal.release("mine")

        holders = [asyncio.ensure_future(lock_file(number)) for number in range(6)]
        await asyncio.sleep(0)
        holders[3].cancel()
        await asyncio.wait(holders)
        assert sorted(order) == [0, 1, 2, 4, 5]


async def test_a_waiter_sees_what_the_holder_did(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.claim(KIND, BODY, "mine")
        waiting = asyncio.ensure_future(journal.claim(KIND, BODY, "mine"))
        await asyncio.sleep(0)
        await journal.mark_sending("mine", KIND, BODY)
        await journal.mark_submitted("mine", ["i2v-1"])
        assert not waiting.done()
        await journal.release("mine")
        entry = (await waiting).entry
        assert entry is not None
        assert entry.task_ids == ("i2v-1",)


async def test_a_key_that_was_given_by_number_may_be_asked_for_by_name(path: Path) -> None:
    async with Journal(path.with_name("other.db")) as journal:
        number = (await journal.claim(KIND, BODY, None)).key
    async with Journal(path) as journal:
        await journal.claim(KIND, BODY, number)
        await journal.mark_sending(number, KIND, BODY)
        await journal.mark_submitted(number, ["i2v-1"])
        await journal.release(number)
        assert (await journal.claim(KIND, BODY, None)).key != number
        entry = await entry_of(journal, number)
        assert entry.task_ids == ("i2v-1",)


async def test_notes_are_kept(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.set_note("durations", "[1, 2]")
        await journal.set_note("durations", "[3]")
    async with Journal(path) as journal:
        assert await journal.get_note("durations") == "[3]"
        assert await journal.get_note("colour") is None


async def test_many_writes_share_a_commit(path: Path) -> None:
    async with Journal(path) as journal:
        await asyncio.gather(*(journal.mark_sending(f"{n}", KIND, BODY) for n in range(500)))
        assert len([one async for one in journal.entries()]) == 500
    async with Journal(path) as journal:
        commits = int(await journal.get_note(schema.COMMITS) or 0)
    assert commits < 50


async def test_a_write_that_fails_stops_creates_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Journal(path) as journal:
        await journal.mark_sending("first", KIND, BODY)
        writer, fails = opened(journal).writer, True
        commit = writer._commit

        def failing(rows: Any) -> None:
            if fails:
                raise sqlite3.OperationalError("disk is full")
            commit(rows)

        monkeypatch.setattr(writer, "_commit", failing)
        with pytest.raises(JournalError, match=r"disk is full. Nothing more is sent"):
            await journal.mark_sending("second", KIND, BODY)
        await journal.mark_ended(
            Task(task_id="i2v-2", status="FAILED")
        )  # a note is no reason to stop
        with pytest.raises(JournalError, match="disk is full"):
            await journal.mark_submitted("first", ["i2v-1"])
        fails = False
        await journal.mark_submitted("first", ["i2v-1"])  # what was paid is written when it can be
        with pytest.raises(JournalError, match="disk is full"):
            await journal.mark_sending("third", KIND, BODY)
        assert [entry.key async for entry in journal.entries()] == ["first"]
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
    async with Journal(path) as journal:
        entry = await entry_of(journal, "first")
        assert entry.task_ids == ("i2v-1",)


def test_a_loop_that_has_gone_harms_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    journal.attach()
    try:
        held = threading.Event()
        writer = opened(journal).writer
        commit = writer._commit

        def slow(rows: Any) -> None:
            held.wait()
            commit(rows)

        monkeypatch.setattr(writer, "_commit", slow)
        loop = asyncio.new_event_loop()
        writing = loop.create_task(journal.mark_sending("mine", KIND, BODY))
        loop.call_soon(loop.stop)
        loop.run_forever()
        writing.cancel()
        loop.run_until_complete(asyncio.wait([writing]))
        loop.close()
        held.set()
        asyncio.run(journal.mark_sending("yours", KIND, BODY))
        assert [one.key for one in asyncio.run(kept(journal))] == ["mine", "yours"]
    finally:
        asyncio.run(journal.detach())


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = asyncio.run(fill(path, 3))
    more = ("ALTER TABLE entries ADD COLUMN cost REAL", "UPDATE entries SET cost = 1.5")
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, 2: more, 3: ("SELECT 1",)})
    asyncio.run(opened_and_closed(path))
    found = asyncio.run(kept_in(path))
    assert [entry.key for entry in found] == keys
    assert {entry.state for entry in found} == {State.SUBMITTED}
    assert [entry.task_ids for entry in found] == [("i2v-0",), ("i2v-1",), ("i2v-2",)]
    assert ask(path, "PRAGMA user_version") == [(4,)]
    assert ask(path, "SELECT DISTINCT cost FROM entries") == [(1.5,)]
    monkeypatch.undo()
    with pytest.raises(JournalError, match=r"newer keevx_async \(version 4\); upgrade"):
        Journal(path).attach()


def test_an_upgrade_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(fill(path, 3))
    bad = ("DELETE FROM entries", "no such word")
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, 2: bad})
    with pytest.raises(JournalError, match=r"cannot be used as a journal.*syntax error"):
        Journal(path).attach()
    monkeypatch.undo()
    assert len(asyncio.run(kept_in(path))) == 3


def test_an_empty_file_of_ours_is_filled(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    assert asyncio.run(kept_in(path)) == []


def ask(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


class Shelf:
    """Numbered rows, and how often each way of reading was used."""

    def __init__(self, count: int) -> None:
        self.rows = [(number + 1, f"key {number}") for number in range(count)]
        self.looked_up = 0
        self.fetched = 0
        self.ahead = ReadAhead(self.fetch)

    def fetch(self, row: int, most: int) -> list[tuple[Any, ...]]:
        self.fetched += 1
        return list(self.rows[row : row + most])

    def find(self, number: int, *, quiet: bool = True) -> None:
        key = f"key {number}"
        row = self.ahead.get(key)
        if row is None:
            row = self.rows[number]
            self.looked_up += 1
            self.ahead.observe(row, quiet=quiet)
        assert row == self.rows[number]


def test_rows_that_follow_each_other_are_read_ahead() -> None:
    shelf = Shelf(10_000)
    for number in range(10_000):
        shelf.find(number)
    assert shelf.looked_up == shelf.fetched == -(-10_000 // (READ_AHEAD + 1))


def test_rows_nearly_in_order_are_read_ahead() -> None:
    shelf, order = Shelf(10_000), list(range(10_000))
    shuffle = random.Random(1).shuffle
    for start in range(0, 10_000, MAX_GAP // 2):
        part = order[start : start + MAX_GAP // 2]
        shuffle(part)
        order[start : start + MAX_GAP // 2] = part
    for number in order:
        shelf.find(number)
    assert shelf.looked_up < 1500
    assert shelf.fetched < 200


def test_rows_in_no_order_are_not() -> None:
    shelf, order = Shelf(100_000), list(range(100_000))
    random.Random(1).shuffle(order)
    for number in order[:5000]:
        shelf.find(number)
    assert shelf.fetched < 20


def test_nothing_is_read_ahead_while_something_is_being_written() -> None:
    shelf = Shelf(100)
    for number in range(100):
        shelf.find(number, quiet=False)
    assert shelf.fetched == 0


async def test_an_entry_read_ahead_and_changed_since_is_read_again(path: Path) -> None:
    keys = await fill(path, 20)
    with closing(sqlite3.connect(path)) as database, database:
        unmade = "UPDATE entries SET state = ?, task_ids = NULL WHERE key = ?"
        database.executemany(unmade, [("uncertain", keys[5]), ("planned", keys[6])])
    async with Journal(path) as journal:
        assert await journal.find(keys[0]) is not None
        assert await journal.find(keys[1]) is not None
        await journal.settle(keys[5], ["i2v-found"])
        await journal.mark_sending(keys[6], KIND, a_body(6))
        await journal.mark_submitted(keys[6], ["i2v-new"])
        found = [await journal.find(key) for key in keys]
        assert [one.task_ids[-1] for one in found if one is not None] == [
            *[f"i2v-{number}" for number in range(5)],
            "i2v-found",
            "i2v-new",
            *[f"i2v-{number}" for number in range(7, 20)],
        ]


async def test_in_a_large_file_every_order_finds_every_entry(path: Path) -> None:
    keys = await fill(path, 3000)
    for seed in range(3):
        order = list(range(3000))
        if seed:
            random.Random(seed).shuffle(order)
        async with Journal(path) as journal:
            for number in order:
                claim = await journal.claim(KIND, a_body(number), None)
                assert claim.key == keys[number]
                assert claim.entry is not None
                assert claim.entry.task_ids == (f"i2v-{number}",)


async def test_no_journal_keeps_no_create_without_a_key(path: Path) -> None:
    journal = NullJournal()
    journal.attach()
    first, second = [(await journal.claim(KIND, BODY, None)).key for _ in range(2)]
    assert first != second
    task = Task(task_id="i2v-1", status="FAILED")
    await journal.mark_sending(first, KIND, BODY)
    await journal.mark_submitted(first, ["i2v-1"])
    await journal.mark_uncertain(first, "")
    await journal.mark_refused(first, "")
    await journal.mark_planned(first)
    await journal.settle(first, [])
    assert await journal.add_ids(first, ["i2v-1"], 1) is None
    await journal.mark_downloaded(task, path, 1, "")
    await journal.mark_ended(task)
    await journal.release(first)
    assert (
        await journal.find(first),
        await journal.find_task("i2v-1"),
        await journal.find_owner("i2v-1"),
    ) == (
        None,
        None,
        None,
    )
    assert [one async for one in journal.entries()] == []
    await journal.detach()
