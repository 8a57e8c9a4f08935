"""A journal that another program has locked, or that cannot be written for a while."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal, JournalError
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of
from tests.support.journal import opened


def locked() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


def failing(journal: Journal, patch: pytest.MonkeyPatch, errors: list[Exception | None]) -> None:
    """Have the next commits fail in turn; None stands for one that does not."""
    writer = opened(journal).writer
    commit = writer._commit

    def next_one(rows: Any) -> None:
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error
        commit(rows)

    patch.setattr(writer, "_commit", next_one)


async def test_a_file_that_is_locked_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator, Journal(path) as journal:
        failing(journal, monkeypatch, [locked(), None, locked(), None])
        async with keevx_of(emulator, journal=journal) as keevx:
            submission = await keevx.submit(a_request())
        assert [entry.task_ids async for entry in journal.entries()] == [submission.task_ids]
        assert "locked by another program" in caplog.text


@pytest.mark.parametrize("when", ["with the next commit", "as it is closed"])
async def test_ids_that_could_not_be_written_are_in_the_error_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator:
        async with Journal(path) as journal, keevx_of(emulator, journal=journal) as keevx:
            failing(journal, monkeypatch, [None, locked(), locked()])
            with pytest.raises(JournalError, match="Keep these task ids") as caught:
                await keevx.submit(a_request())
            assert list(caught.value.task_ids) == list(emulator.tasks)
            with pytest.raises(JournalError, match="Nothing more is sent"):
                await keevx.submit(a_request("another"))
            if when == "with the next commit":
                await journal.set_note("a note", "of something else")
                await asyncio.to_thread(lambda: opened(journal).writer.stop())
                assert await journal.find_owner(caught.value.task_ids[0])
        async with keevx_of(emulator, journal=path) as keevx:
            again = await keevx.submit(a_request())
        assert again.task_ids == caught.value.task_ids
        assert set(emulator.creates.values()) == {1}


async def test_ids_that_never_could_be_written_leave_the_create_uncertain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    full = sqlite3.OperationalError("database or disk is full")
    async with Emulator() as emulator:
        async with Journal(path) as journal, keevx_of(emulator, journal=journal) as keevx:
            failing(journal, monkeypatch, [None, *[full] * 20])
            with pytest.raises(JournalError) as caught:
                await keevx.submit(a_request())
            assert list(caught.value.task_ids) == list(emulator.tasks)
        async with Journal(path) as journal:
            (entry,) = [one async for one in journal.entries()]
            assert entry.state == "uncertain"
