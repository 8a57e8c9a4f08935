"""The journal's lock and its witness: one run at a time, and nothing lost passes for whole."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.cli.output.results_file import FileLock
from keevx_async.journal.lock import Lock
from keevx_async.journal.protocol import Entry, State
from tests.support.journal import gives_out_no_key, kept_in, opened, opened_and_closed, writing
from tests.support.journal_faults import HOLDS, POSIX, held, killed, run_program, write

IN_USE = "copied or moved without that file"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@POSIX
@pytest.mark.parametrize("how", [shutil.copy, shutil.move])
def test_a_journal_that_was_brought_elsewhere_without_its_log_is_refused(
    path: Path, tmp_path: Path, how: object
) -> None:
    killed(path)
    (tmp_path / "elsewhere").mkdir()
    there = tmp_path / "elsewhere" / "run.db"
    assert callable(how)
    how(path, there)
    for _ in range(2):  # looking changes nothing
        asyncio.run(gives_out_no_key(there, IN_USE))


def test_a_copy_taken_while_a_run_is_on_is_refused(path: Path, tmp_path: Path) -> None:
    with held(path):
        shutil.copy(path, tmp_path / "copy.db")
    asyncio.run(gives_out_no_key(tmp_path / "copy.db", IN_USE))


@POSIX
def test_a_copy_is_whole_with_its_log_or_after_a_clean_close(path: Path, tmp_path: Path) -> None:
    killed(path)
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{tmp_path / 'copy.db'}{end}")
    assert len(asyncio.run(kept_in(tmp_path / "copy.db"))) == 20
    asyncio.run(opened_and_closed(tmp_path / "copy.db"))
    shutil.copy(tmp_path / "copy.db", tmp_path / "second.db")
    assert len(asyncio.run(kept_in(tmp_path / "second.db"))) == 20


@POSIX
def test_a_log_that_another_program_moved_into_the_journal_is_not_missed(path: Path) -> None:
    log = killed(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("SELECT count(*) FROM entries").fetchall()
    assert not log.exists()
    assert [one.state for one in asyncio.run(kept_in(path))] == [State.SUBMITTED] * 20


@POSIX
def test_the_witness_of_another_journal_is_none(path: Path, tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "copy.db", 1))
    killed(path)
    shutil.copy(path, tmp_path / "copy.db")
    asyncio.run(gives_out_no_key(tmp_path / "copy.db", "has lost"))


@pytest.mark.parametrize("gone", ["removed", "emptied"])
def test_no_second_run_comes_in_where_the_lock_file_is_gone(path: Path, gone: str) -> None:
    beside = Path(f"{path}-lock")
    with held(path):
        os.link(path, path.with_name("hard.db"))
        beside.unlink() if gone == "removed" else os.truncate(beside, 0)
        for name in ("run.db", "hard.db"):
            with pytest.raises(JournalError, match="held by another process"):
                Journal(path.with_name(name)).attach()


async def test_a_second_journal_of_one_process_leaves_the_first_its_lock(path: Path) -> None:
    async with writing(path):
        for name in ("run.db", "hard.db"):
            if name == "hard.db":
                os.link(path, path.with_name(name))
            await opened_and_closed(path.with_name(name))  # shares the file
        code, printed = await asyncio.to_thread(run_program, HOLDS, path)
        assert "held" not in printed.split()
        assert code == 1


async def test_a_lock_file_that_is_emptied_during_a_run_ends_nothing(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.mark_sending("first", "image_to_video", b"{}")
        os.truncate(f"{path}-lock", 0)
        await journal.mark_submitted("first", ["i2v-1"])
        await journal.mark_sending("second", "image_to_video", b"{}")
    assert len(await kept_in_async(path)) == 2


async def test_a_witness_that_cannot_be_written_whole_stops_creates(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal(path) as journal:
        await journal.mark_sending("first", "image_to_video", b"{}")
        monkeypatch.setattr(os, "write", lambda *_: 3)
        await journal.mark_submitted("first", ["i2v-1"])
        await asyncio.to_thread(until_written, journal)
        monkeypatch.undo()
        with pytest.raises(JournalError, match=r"-lock cannot be written.*No space"):
            await journal.mark_sending("second", "image_to_video", b"{}")
    (entry,) = await kept_in_async(path)
    assert entry.task_ids == ("i2v-1",)


def until_written(journal: Journal) -> None:
    """Wait for the witness too, which is written once those who wait have been woken."""
    while not opened(journal).writer.idle:
        time.sleep(0.001)


async def kept_in_async(path: Path) -> list[Entry]:
    async with Journal(path) as journal:
        return [one async for one in journal.entries()]


@pytest.fixture
def text_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Windows' C runtime: what was not opened as binary is text."""
    binary, real_open, real_read, real_write = 0x8000, os.open, os.read, os.write
    texts: set[int] = set()

    def opening(path: str, flags: int, mode: int = 0o777) -> int:
        file = real_open(path, flags & ~binary, mode)
        (texts.discard if flags & binary else texts.add)(file)
        return file

    def reading(file: int, size: int) -> bytes:
        read = real_read(file, size)
        return read.replace(b"\r\n", b"\n").partition(b"\x1a")[0] if file in texts else read

    def writing(file: int, what: bytes) -> int:
        return real_write(file, what.replace(b"\n", b"\r\n") if file in texts else what)

    monkeypatch.setattr(os, "O_BINARY", binary, raising=False)
    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "read", reading)
    monkeypatch.setattr(os, "write", writing)
    yield
    monkeypatch.undo()
    assert not texts, "a file of ours was opened as text"


@pytest.mark.usefixtures("text_mode")
@pytest.mark.parametrize("number", [1, 10, 13, 26, 266, 2570, 0x1A0D0A])
def test_the_witness_keeps_every_number_in_windows_text_mode(path: Path, number: int) -> None:
    first = Lock(path)
    first.committed(number)
    first.close()
    again = Lock(path)
    again.check(number)
    with pytest.raises(JournalError, match="has lost 1 commits"):
        again.check(number - 1)
    again.close()
    FileLock(path.with_name("results.lock")).release()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only: the lock is the open file's")
async def test_reading_the_journal_as_a_file_does_not_free_it(path: Path, tmp_path: Path) -> None:
    async with Journal(path):
        shutil.copy(path, tmp_path / "copy.db")
        code, _ = await asyncio.to_thread(run_program, HOLDS, path)
        assert code == 1
