"""The writer thread: every row that was queued is written, and it says when all of them are."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal.encoding import state_row
from keevx_async.journal.protocol import State
from keevx_async.journal.schema import connect, upgrade
from keevx_async.journal.writer import NOTE, Row, Writer
from tests.support.emulator import until

KIND = "image_to_video"


class Gated(Writer):
    """A writer whose commits wait until the gate is open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection, None, 0, "run.db")
        self.gate = threading.Event()
        self.began = threading.Event()

    def _commit(self, rows: Any) -> None:
        self.began.set()
        assert self.gate.wait(60)
        super()._commit(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Gated]:
    connection = connect(path)
    upgrade(connection, 0)
    made = Gated(connection)
    made.start()
    yield made
    made.gate.set()
    made.stop()
    connection.close()


def note(number: int) -> Row:
    return [NOTE, f"note {number}", str(number)]


def notes_in(path: Path) -> int:
    with closing(connect(path)) as connection:
        counted = connection.execute("SELECT count(*) FROM notes WHERE name LIKE 'note %'")
        return int(counted.fetchone()[0])


async def test_it_is_idle_only_when_every_row_has_been_written(writer: Gated) -> None:
    seen = [writer.idle]
    writer.put(note(0))
    seen.append(writer.idle)  # queued
    await asyncio.to_thread(writer.began.wait, 60)
    seen.append(writer.idle)  # being committed
    assert seen == [True, False, False]
    last = writer.write(note(1))
    writer.gate.set()
    await last
    await until(lambda: writer.idle)


async def test_what_is_queued_when_it_is_stopped_is_written(writer: Gated, path: Path) -> None:
    writer.put(note(0))
    await asyncio.to_thread(writer.began.wait, 60)
    for number in range(1, 500):
        writer.put(note(number))
    stopping = asyncio.ensure_future(asyncio.to_thread(writer.stop))
    writer.gate.set()
    await stopping
    assert notes_in(path) == 500
    with pytest.raises(JournalError, match="closed"):
        writer.put(note(500))


async def test_waiters_of_two_loops_are_each_resolved_on_their_own(writer: Gated) -> None:
    resolved: list[threading.Thread] = []

    async def write(number: int) -> None:
        await writer.write(note(number))
        resolved.append(threading.current_thread())

    async def several() -> None:
        await asyncio.gather(*(write(number) for number in range(20)))

    others = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(2)]
    for other in others:
        other.start()
    writer.gate.set()
    await several()
    for other in others:
        await asyncio.to_thread(other.join, 60)
    assert all(resolved.count(thread) == 20 for thread in (*others, threading.current_thread()))


async def test_ids_that_could_not_be_written_are_not_read_ahead_without_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read ahead, the entry would stay without its ids once they have been written."""
    keys = [f"key-{number}" for number in range(5)]
    async with Journal(path) as journal:
        for key in keys:
            await journal.mark_uncertain(key, "lost")
    commit = Writer._commit

    tries = 0

    def full_at_first(self: Writer, rows: list[Row]) -> None:
        nonlocal tries
        is_paid = state_row(keys[4], State.SUBMITTED, "", ["i2v-paid"]) in rows
        if is_paid and not tries:
            tries = 1
            raise sqlite3.OperationalError("database or disk is full")
        commit(self, rows)
        tries += is_paid

    monkeypatch.setattr(Writer, "_commit", full_at_first)
    async with Journal(path) as journal:
        journal.attach()
        with pytest.raises(JournalError, match="disk is full"):
            await journal.mark_submitted(keys[4], ["i2v-paid"])
        for key in keys[:3]:
            assert await journal.find(key) is not None
        await journal.set_note("the disk", "has space again")
        await until(lambda: tries == 2)
        entry = await journal.find(keys[4])
        assert entry is not None
        assert (entry.state, entry.task_ids) == (State.SUBMITTED, ("i2v-paid",))
        await journal.detach()
