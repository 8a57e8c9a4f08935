"""A journal that was copied without its log can be read, and nothing is sent with it."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal.protocol import Entry, State
from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, written
from tests.support.client import a_request, keevx_of, some_requests


async def copied(emulator: Emulator, folder: Path) -> tuple[Path, list[str]]:
    """A journal that lost the last of three creates; return it and the ids of the first two."""
    path, copy = folder / "run.db", folder / "copy.db"
    async with keevx_of(emulator, journal=path) as client:
        ids = (await client.submit_many(some_requests(2))).task_ids
    async with keevx_of(emulator, journal=path) as client:
        await client.submit(a_request("in the log"))
        shutil.copy(path, copy)
    return copy, ids


async def entries_of(journal: Journal) -> list[Entry]:
    return [entry async for entry in journal.entries()]


async def test_it_is_opened_to_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Emulator(seconds=0.02) as emulator:
        copy, ids = await copied(emulator, tmp_path)
        before = copy.read_bytes()
        with caplog.at_level(logging.WARNING):
            async with keevx_of(emulator, journal=copy) as client:
                assert (await client.wait(ids[0])).succeeded
                assert len([task async for task in client.wait_many(ids)]) == 2
        (record,) = caplog.records
        assert record.name == "keevx_async.journal"
        assert f"{copy} has lost the content of its -wal file" in record.getMessage()
        async with Journal(copy) as journal:
            assert [entry.state for entry in await entries_of(journal)] == [State.SUBMITTED] * 2
        assert copy.read_bytes() == before


async def test_nothing_is_sent(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        copy, _ = await copied(emulator, tmp_path)
        before, made = copy.read_bytes(), emulator.creates.copy()
        said = "has lost the content of its -wal file"
        async with keevx_of(emulator, journal=copy) as client:
            for _ in range(2):
                with pytest.raises(JournalError, match=said):
                    await client.submit(a_request("prompt 0"))
                with pytest.raises(JournalError, match=said):
                    await client.submit(a_request(), key="mine", timeout=1)
                with pytest.raises(JournalError, match=said):
                    await client.generate(a_request("new"))
            for verb in (client.submit_many, client.generate_many):
                with pytest.raises(JournalError, match=said):
                    await verb(some_requests(3))
        async with Journal(copy) as journal:
            with pytest.raises(JournalError, match=said):
                await journal.settle("k", [])
        with pytest.raises(JournalError, match=said):
            async with keevx_of(emulator, journal=Journal(copy, adopt=True)):
                pass
        assert emulator.creates == made
        assert copy.read_bytes() == before


async def test_it_belongs_to_its_owner_all_the_same(tmp_path: Path) -> None:
    async with Emulator() as emulator, Emulator() as other:
        copy, _ = await copied(emulator, tmp_path)
        with pytest.raises(JournalError, match=f"belongs to {emulator.url}"):
            async with keevx_of(other, journal=copy):
                pass


async def test_all_of_its_files_make_it_whole_again(tmp_path: Path) -> None:
    path, copy = tmp_path / "run.db", tmp_path / "copy.db"
    async with Emulator() as emulator:
        async with keevx_of(emulator, journal=path) as client:
            (first,) = (await client.submit(a_request())).task_ids
            for end in ("", "-wal"):
                shutil.copy(f"{path}{end}", f"{copy}{end}")
        shutil.move(f"{copy}-wal", f"{copy}-kept")
        async with keevx_of(emulator, journal=copy) as client:
            with pytest.raises(JournalError):
                await client.submit(a_request())
        shutil.move(f"{copy}-kept", f"{copy}-wal")
        async with keevx_of(emulator, journal=copy) as client:
            again = await client.submit(a_request())
        assert (again.task_ids, again.reused) == ((first,), True)


async def test_the_commands_show_it_and_run_nothing(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", [GOOD])
    async with Emulator() as emulator:
        copy, _ = await copied(emulator, tmp_path)
        made = emulator.creates.copy()
        for more in ((), ("--dry-run",), ("--fresh", "--yes")):
            ran = await keevx("run", file, "--journal", copy, *more, cwd=tmp_path, **at(emulator))
            assert ran.code == 2
            assert "has lost the content of its -wal file" in ran.err
            assert ran.err.count("\n") == 1
        for show in (("journal", copy), ("status", "--journal", copy)):
            shown = await keevx(*show, "--json", cwd=tmp_path, **at(emulator))
            assert shown.code == 0
            assert json.loads(shown.out.splitlines()[-1])["submitted"] == 2
            assert "has lost the content of its -wal file" in shown.err
            assert shown.err.count("\n") == 1
        assert emulator.creates == made
