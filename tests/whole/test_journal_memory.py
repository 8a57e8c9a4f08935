"""A journal in memory leaves no file; an address is no path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keevx_async import ConfigurationError, Journal
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of, some_requests


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [":memory:", Path(":memory:")])
async def test_a_journal_in_memory_works_and_leaves_nothing(name: str | Path, folder: Path) -> None:
    async with Emulator() as emulator, Journal(name) as journal:
        async with keevx_of(emulator, journal=journal) as keevx:
            fan = await keevx.submit_many(some_requests(50))
        async with keevx_of(emulator, journal=journal) as keevx:
            for task_id in fan.task_ids[:2]:
                assert await journal.find_owner(task_id)
            entries = []
            async for entry in journal.entries():  # it can be written while it is read
                entries.append(entry)
                if len(entries) == 25:
                    await keevx.submit(a_request("another"), key="mine")
            assert len(entries) >= 50
            again = await keevx.submit(a_request("another"), key="mine")
        assert emulator.creates["another"] == 1
        assert again.task_ids
        assert not os.listdir(folder)


async def test_each_journal_in_memory_is_one_of_its_own() -> None:
    async with Journal(":memory:") as one, Journal(":memory:") as other:
        await one.mark_sending("mine", "image_to_video", b"{}")
        assert await other.find("mine") is None
    async with one:
        assert await one.find("mine") is None


@pytest.mark.parametrize(
    "address",
    ["file::memory:?cache=shared", "sqlite:///run.db", "file:run.db", "redis://:secret@host/0"],
)
def test_an_address_is_refused_in_words(address: str, folder: Path) -> None:
    for name in (address, Path(address)):
        with pytest.raises(ConfigurationError, match="must be the path of a file") as caught:
            Journal(name)
        assert "secret" not in str(caught.value)
    assert not list(folder.iterdir())
    Journal(r"C:\videos\run.db")
    Journal("C:/videos/run.db")
