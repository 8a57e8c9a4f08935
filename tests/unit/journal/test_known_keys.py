"""A new create needs no query, and no entry is ever overlooked: it would be paid for again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal import database
from keevx_async.journal.database import SLOTS_PER_KEY, KnownKeys
from keevx_async.journal.protocol import State
from keevx_async.journal.reader import Queries

KIND = "image_to_video"
FULL = (1 << 12) // SLOTS_PER_KEY  # keys


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with few slots, so that few keys fill them."""
    monkeypatch.setattr(database, "SLOTS", 1 << 12)


async def submit(journal: Journal, body: bytes) -> str:
    claim = await journal.claim(KIND, body, None)
    await journal.mark_sending(claim.key, KIND, body)
    await journal.mark_submitted(claim.key, [f"i2v-{claim.key}"])
    await journal.release(claim.key)
    return claim.key


def test_a_key_that_was_read_or_added_is_never_unknown() -> None:
    in_file = [f"old-{number}" for number in range(FULL // 4)]
    keys = KnownKeys(len(in_file), lambda: in_file)
    early = [f"early-{number}" for number in range(FULL // 4)]
    for key in early:
        keys.add(key)
    assert keys.may_have("anything")  # until the file has been read
    keys.complete()
    later = [f"later-{number}" for number in range(5 * FULL // 2)]  # the slots double twice
    for key in later:
        keys.add(key)
    assert all(map(keys.may_have, [*in_file, *early, *later]))
    assert sum(keys.may_have(f"new-{number}") for number in range(10_000)) < 2_400


def test_few_new_keys_are_queried() -> None:
    rows = 5 * FULL // 2
    keys = KnownKeys(rows, lambda: (f"old-{number}" for number in range(rows)))
    keys.complete()
    assert sum(keys.may_have(f"new-{number}") for number in range(10_000)) < 1_500


def test_keys_that_were_not_all_read_are_all_queried() -> None:
    def read() -> Iterator[str]:
        yield "old"
        raise OSError("the disk has gone")

    keys = KnownKeys(2, read)
    with pytest.raises(OSError, match="gone"):
        keys.complete()
    assert keys.may_have("not read yet")


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
    assert len(queries) < 10  # two keys may share a slot


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
            with pytest.raises(JournalError, match="belongs to another request"):
                await journal.claim(KIND, b"another", key)
        # The keys are free again, and are the next to be claimed.
        for body, key in ((b"the first new one", keys[2]), (b"recorded afterwards", keys[3])):
            assert await journal.find(key) is None
            claim = await journal.claim(KIND, body, None)
            assert (claim.key, claim.entry) == (key, None)
            await journal.release(claim.key)


async def test_an_entry_that_is_not_on_disk_yet_is_found_by_the_next_claim(tmp_path: Path) -> None:
    async with Journal(tmp_path / "run.db") as journal:
        writes = [
            asyncio.ensure_future(journal.mark_uncertain(f"queued-{number}", "lost", ["i2v-1"]))
            for number in range(500)
        ]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        await submit(journal, b"new")  # reads the file's keys while those rows are on their way
        await asyncio.wait(writes)
        assert all(write.cancelled() for write in writes[::2])
        for number in range(500):
            with pytest.raises(JournalError, match="belongs to another request"):
                await journal.claim(KIND, b"another", f"queued-{number}")


async def test_settling_and_adding_ids_always_query(tmp_path: Path) -> None:
    """What another process has written despite the lock is found, or its create is not sent."""
    path = tmp_path / "run.db"
    async with Journal(path) as journal:
        await submit(journal, b"new")  # reads the file's keys
        with closing(sqlite3.connect(path)) as other, other:
            other.executemany(
                "INSERT INTO entries (key, state, reason, kind, body, at) VALUES (?,?,?,?,?,?)",
                [(key, "uncertain", "lost", KIND, "foreign", 5.0) for key in "abc"],
            )
        entry = await journal.find("a")
        assert entry is not None
        assert entry.state is State.UNCERTAIN
        await journal.settle("a", ["i2v-1"])
        assert await journal.add_ids("b", ["i2v-2"], 1) is not None
        claim = await journal.claim(KIND, b"foreign", "c")
        with pytest.raises(JournalError, match="has become uncertain"):
            await journal.mark_sending(claim.key, KIND, b"foreign")
        await journal.release(claim.key)
        states = {entry.key: entry.state async for entry in journal.entries()}
    assert [states[key] for key in "abc"] == ["submitted", "submitted", "uncertain"]


async def test_clients_that_share_a_file_find_each_others_entries(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Journal(path) as one:
        key = await submit(one, b"first")
        async with Journal(path) as other:
            later = await submit(one, b"second")
            for body, expected in ((b"first", key), (b"second", later)):
                other.attach()
                claim = await other.claim(KIND, body, None)
                assert claim.entry is not None
                assert (claim.key, claim.entry.state) == (expected, State.SUBMITTED)
                await other.release(claim.key)
                await other.detach()


async def test_a_journal_in_memory_finds_its_entries() -> None:
    async with Journal(":memory:") as journal:
        keys = [await submit(journal, b"%d" % number) for number in range(10)]
        assert await submit(journal, b"0") == keys[0][:-1] + "2"
        for number, key in enumerate(keys):
            claim = await journal.claim(KIND, b"%d" % number, key)
            assert claim.entry is not None
            await journal.release(key)
