"""A new create needs no query, and no entry is ever overlooked: it would be paid for again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.journal.database import MARKS_PER_KEY, MIN_MARKS, KnownKeys
from keevx_async.journal.protocol import State
from keevx_async.journal.reader import Queries

KIND = "image_to_video"


async def submit(journal: Journal, body: bytes) -> str:
    claim = await journal.claim(KIND, body, None)
    await journal.mark_sending(claim.key, KIND, body)
    await journal.mark_submitted(claim.key, [f"i2v-{claim.key}"])
    await journal.release(claim.key)
    return claim.key


def test_a_key_that_was_read_or_added_is_never_unknown() -> None:
    in_file = [f"old-{number}" for number in range(1_000)]
    keys = KnownKeys(len(in_file), lambda: in_file)
    early = [f"early-{number}" for number in range(1_000)]
    for key in early:
        keys.add(key)
    assert keys.may_have("anything")  # until the file has been read
    keys.complete()
    # Enough keys that the marks are copied twice.
    later = [f"later-{number}" for number in range(3 * MIN_MARKS // MARKS_PER_KEY)]
    for key in later:
        keys.add(key)
    assert all(map(keys.may_have, [*in_file, *early, *later]))


def test_few_new_keys_are_queried() -> None:
    rows = 3 * MIN_MARKS // MARKS_PER_KEY
    keys = KnownKeys(rows, lambda: (f"old-{number}" for number in range(rows)))
    keys.complete()
    new = [f"new-{number}" for number in range(10_000)]
    assert sum(map(keys.may_have, new)) < len(new) / 5


def test_the_file_is_read_once() -> None:
    reads = 0

    def read() -> Iterator[str]:
        nonlocal reads
        reads += 1
        yield "old"

    keys = KnownKeys(1, read)
    keys.complete()
    keys.complete()
    assert reads == 1


async def test_a_new_create_needs_no_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    select = Queries.select

    def counting(self: Queries, statement: str, *values: object) -> object:
        queries.append(statement)
        return select(self, statement, *values)

    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        await submit(journal, b"old")
    async with Journal(path) as journal:
        await submit(journal, b"the first new one")  # reads the file's keys
        monkeypatch.setattr(Queries, "select", counting)
        for number in range(100):
            await submit(journal, b"%d" % number)
    assert len(queries) < 10  # two keys may have the same hash


async def test_every_entry_is_found_however_it_came_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        keys = [await submit(journal, b"from an earlier run")]
    async with Journal(path) as journal:
        await journal.mark_refused("recorded before the keys were read", "no")
        keys.append("recorded before the keys were read")
        keys.append(await submit(journal, b"the first new one"))
        keys.append(await submit(journal, b"recorded afterwards"))
        for key in keys:
            assert await journal.find(key) is not None
        await journal.set_aside(keys[2:])
        aside = [entry.key async for entry in journal.entries() if "@" in entry.key]
        assert len(aside) == 2
        for key in aside:
            entry = await journal.find(key)
            assert entry is not None
            assert entry.state is State.SUBMITTED
        # The keys are free again, and are the next to be claimed.
        for body, key in ((b"the first new one", keys[2]), (b"recorded afterwards", keys[3])):
            assert await journal.find(key) is None
            claim = await journal.claim(KIND, body, None)
            assert claim.key == key
            await journal.release(claim.key)
