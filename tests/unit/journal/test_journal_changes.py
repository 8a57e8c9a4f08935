"""An intent is refused where its entry has changed; ids are only ever added to."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket

from keevx_async import Journal, JournalError
from keevx_async.docket import RedisJournal
from keevx_async.journal.lock import Lock
from keevx_async.journal.protocol import State
from tests.support.journal import entry_of

KIND, BODY = "image_to_video", b'{"prompt":"one"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which locks hold nobody off."""

    def held(lock: Lock) -> tuple[int, tuple[int, int]]:
        return lock._open(lock._path, "it cannot be opened"), (0, id(lock))

    monkeypatch.setattr(Lock, "_lock_journal", held)


@pytest.mark.usefixtures("unlocked")
@pytest.mark.parametrize("key", ["mine", None])
@pytest.mark.parametrize("before", ["nothing", "planned", "uncertain", "died"])
@pytest.mark.parametrize("after", ["begun", "submitted", "put back"])
async def test_of_two_runs_that_planned_the_same_one_sends(
    path: Path, key: str | None, before: str, after: str
) -> None:
    if before != "nothing":
        async with Journal(path) as journal:
            claim = await journal.claim(KIND, BODY, key)
            await journal.mark_sending(claim.key, KIND, BODY)
            if before == "planned":
                await journal.mark_planned(claim.key)
            elif before == "uncertain":
                await journal.mark_uncertain(claim.key, "who knows")
    async with Journal(path) as one, Journal(path) as other:
        mine = await one.claim(KIND, BODY, key)
        theirs = await other.claim(KIND, BODY, key)
        assert mine.key == theirs.key
        await other.mark_sending(theirs.key, KIND, BODY)
        if after == "submitted":
            await other.mark_submitted(theirs.key, ["i2v-1"])
        elif after == "put back":
            await other.mark_planned(theirs.key)
        beside = one.mark_sending("beside", KIND, b"{}")  # of the same commit
        results = await asyncio.gather(
            one.mark_sending(mine.key, KIND, BODY), beside, return_exceptions=True
        )
        assert isinstance(results[0], JournalError)
        assert "Nothing was sent" in str(results[0])
        assert results[1] is None
        await one.mark_sending("later", KIND, b"{}")  # nothing else is stopped


async def test_a_create_is_tried_again_within_one_claim(path: Path) -> None:
    async with Journal(path) as journal:
        claim = await journal.claim(KIND, BODY, None)
        for _ in range(3):
            await journal.mark_sending(claim.key, KIND, BODY)
            await journal.mark_planned(claim.key)
        await journal.mark_sending(claim.key, KIND, BODY)
        await journal.mark_submitted(claim.key, ["i2v-1"])


async def only_added(journal: Journal | RedisJournal) -> None:
    await journal.claim(KIND, BODY, "mine")
    await journal.mark_sending("mine", KIND, BODY)
    await journal.mark_uncertain("mine", "lost", ["i2v-1", "i2v 2"])
    await journal.mark_uncertain("mine", "lost", ["i2v-3"])
    assert set((await entry_of(journal, "mine")).task_ids) == {"i2v-1", "i2v 2", "i2v-3"}
    with pytest.raises(JournalError, match="mine"):  # what has ids is never sent again
        await journal.mark_sending("mine", KIND, BODY)
    await journal.mark_planned("mine")
    await journal.mark_submitted("mine", ["i2v-1", "i2v-4"])
    for late in (journal.mark_planned("mine"), journal.mark_refused("mine", "no")):
        await late
        entry = await entry_of(journal, "mine")
        assert entry.state is State.SUBMITTED
        assert set(entry.task_ids) == {"i2v-1", "i2v 2", "i2v-3", "i2v-4"}
    assert await journal.find_owner("i2v 2") == "mine"


async def test_ids_are_only_ever_added_to_in_sqlite(path: Path) -> None:
    async with Journal(path) as journal:
        await only_added(journal)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM entries").fetchall() == [(1,)]


async def test_ids_are_only_ever_added_to_in_redis() -> None:
    async with (
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
        RedisJournal(client) as journal,
    ):
        await only_added(journal)
