"""Many rows in one commit: each is written as it is, in order, whatever the size of its group."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.journal.protocol import Entry
from keevx_async.journal.writer import MAX_ROWS

KIND = "image_to_video"
NASTY = 'quotes " and \\ and \n, a NUL \0, an emoji \U0001f3ac, [brackets], a $.path and 1e999'


def body(number: int) -> bytes:
    return json.dumps({"prompt": f"{number} {NASTY}"}, ensure_ascii=False).encode()


async def submit(journal: Journal, number: int) -> None:
    key = f"shot {number} {NASTY[:-1]}".replace("\0", "")
    claim = await journal.claim(KIND, body(number), key)
    await journal.mark_sending(claim.key, KIND, body(number))
    await journal.mark_submitted(claim.key, [f"i2v-{number}", f"an id {number} with % and ü"])
    await journal.release(claim.key)


@pytest.mark.parametrize("count", [1, 2, 3, MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + 1, 5 * MAX_ROWS])
async def test_what_is_written_together_is_read_back_exactly(tmp_path: Path, count: int) -> None:
    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        await asyncio.gather(*(submit(journal, number) for number in range(count)))
    async with Journal(path) as journal:
        entries: list[Entry] = [entry async for entry in journal.entries()]
    assert len(entries) == count
    for number, entry in enumerate(entries):
        assert entry.body == body(number).decode()
        assert entry.task_ids == (f"i2v-{number}", f"an id {number} with % and ü")
        assert entry.is_submitted


async def test_the_last_of_several_rows_of_a_key_stands(tmp_path: Path) -> None:
    async with Journal(tmp_path / "run.db") as journal:
        claim = await journal.claim(KIND, body(0), "mine")
        await journal.mark_sending(claim.key, KIND, body(0))
        await asyncio.gather(
            *(journal.mark_uncertain("mine", f"reason {number}") for number in range(100)),
            journal.mark_uncertain("mine", "the last reason", ["i2v-1"]),
        )
        entry = await journal.find("mine")
        assert entry is not None
        assert (entry.reason, entry.task_ids) == ("the last reason", ("i2v-1",))
        await journal.release("mine")
