"""Creates that a journal answers at once although their keys are named, or their bodies repeat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.errors import JournalError
from keevx_async.journal import database
from keevx_async.journal.protocol import Entry

KIND = "image_to_video"


def body(number: int) -> bytes:
    return json.dumps({"prompt": f"prompt {number}"}).encode()


async def submit(journal: Journal, number: int, key: str | None) -> None:
    claim = await journal.claim(KIND, body(number), key)
    await journal.mark_sending(claim.key, KIND, body(number))
    await journal.mark_submitted(claim.key, [f"i2v-{number}"])
    await journal.release(claim.key)


def recall(journal: Journal, number: int, key: str | None = None) -> Entry | None:
    return journal.recall(KIND, lambda: body(number), key)


async def claim(journal: Journal, number: int, key: str | None = None) -> Entry | None:
    found = await journal.claim(KIND, body(number), key)
    await journal.release(found.key)
    return found.entry


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Journal]:
    """Twenty creates with named keys, of which the first was just met again."""
    async with Journal(tmp_path / "run.db") as journal:
        for number in range(20):
            await submit(journal, number, f"shot-{number}")
    async with Journal(tmp_path / "run.db") as journal:
        journal.attach()
        await claim(journal, 0, "shot-0")
        yield journal
        await journal.detach()


async def test_a_named_create_is_recalled(named: Journal) -> None:
    for number in range(1, 20):
        entry = recall(named, number, f"shot-{number}")
        assert entry is not None
        assert (entry.key, entry.task_ids) == (f"shot-{number}", (f"i2v-{number}",))
    again = recall(named, 5, "shot-5")  # a name means the same create each time
    assert again is not None


async def test_a_named_key_of_another_request_is_left_to_a_claim(named: Journal) -> None:
    assert recall(named, 2, "shot-1") is None
    assert named.recall("image_generate", lambda: body(1), "shot-1") is None
    with pytest.raises(JournalError, match="belongs to another request"):
        await claim(named, 2, "shot-1")


async def test_a_named_key_that_another_caller_has_is_left_to_a_claim(named: Journal) -> None:
    await named.claim(KIND, body(1), "shot-1")
    assert recall(named, 1, "shot-1") is None
    await named.release("shot-1")
    assert recall(named, 2, "shot-2") is not None


async def test_a_request_whose_files_must_be_read_is_left_to_a_claim(named: Journal) -> None:
    assert named.recall(KIND, lambda: None, "shot-1") is None
    assert named.recall(KIND, lambda: None) is None
    assert recall(named, 1, "shot-1") is not None


async def test_a_named_create_without_ids_is_left_to_a_claim(named: Journal) -> None:
    assert recall(named, 1, "shot-1") is not None
    await named.claim(KIND, body(50), "new")
    await named.mark_sending("new", KIND, body(50))
    await named.mark_uncertain("new", "lost")
    await named.release("new")
    assert recall(named, 50, "new") is None


async def test_repeated_bodies_are_recalled_by_their_running_numbers(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        for number in range(30):
            claimed = await journal.claim(KIND, body(number % 2), None)
            await journal.mark_sending(claimed.key, KIND, body(number % 2))
            await journal.mark_submitted(claimed.key, [f"i2v-{number}"])
            await journal.release(claimed.key)
    async with Journal(path) as journal:
        journal.attach()
        for number in range(4):  # a body's first repetition is left to a claim
            entry = recall(journal, number % 2) or await claim(journal, number % 2)
            assert entry is not None
            assert entry.task_ids == (f"i2v-{number}",)
        entries = [recall(journal, number % 2) for number in range(4, 30)]
        ids = [entry.task_ids for entry in entries if entry is not None]
        assert ids == [(f"i2v-{number}",) for number in range(4, 30)]
        # The next of them is new: a claim gives it the next number.
        assert recall(journal, 0) is None
        new = await journal.claim(KIND, body(0), None)
        assert (new.entry, new.key.rpartition("-")[2]) == (None, "16")
        await journal.detach()


async def test_reading_goes_on_where_the_rows_read_ahead_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "READ_AHEAD", 4)
    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        for number in range(20):
            await submit(journal, number, None)
    async with Journal(path) as journal:
        journal.attach()
        assert await claim(journal, 0) is not None
        assert all(recall(journal, number) is not None for number in range(1, 20))
        assert recall(journal, 20) is None
        # A row that changed while it was read ahead is not answered from memory.
        await submit(journal, 20, None)
        assert recall(journal, 20) is None
        await journal.detach()
