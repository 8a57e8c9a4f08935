"""A journal belongs to one host and one account."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal import schema
from keevx_async.journal.owner import Owner, OwnerRecord, admit

HOST, OTHER = "https://api.keevx.com", "http://127.0.0.1:8080"
MINE = Owner(HOST, "sk-mine")


def admitted(record: OwnerRecord | None, owner: Owner, *, adopts: bool = False) -> bool:
    """Whether the record is changed."""
    return admit(record, owner, "run.db", "run: adopt", adopts=adopts) is not None


def test_it_belongs_to_its_first_client() -> None:
    record = admit(None, MINE, "run.db", "", adopts=False)
    assert record is not None
    assert (record.host, record.account) == (HOST, None)
    assert not admitted(record, MINE)


@pytest.mark.parametrize(
    ("owner", "whose"),
    [
        (Owner(OTHER, "sk-mine"), f"belongs to {HOST}, not to {OTHER}"),
        (Owner(HOST, "sk-other"), f"belongs to another API key of {HOST}"),
        (
            Owner(HOST, "sk-other", "b"),
            "another API key of https://api.keevx.com, not to account 'b'",
        ),
    ],
)
def test_another_is_refused_unless_it_is_handed_over(owner: Owner, whose: str) -> None:
    record = OwnerRecord.of(MINE)
    with pytest.raises(JournalError) as refused:
        admitted(record, owner)
    message = str(refused.value)
    assert whose in message
    assert "nothing was sent" in message
    assert "run: adopt" in message
    assert "\n" not in message
    assert "sk-" not in message
    assert admitted(record, owner, adopts=True)


def test_the_name_of_an_account_decides_over_the_key() -> None:
    named = OwnerRecord.of(Owner(HOST, "sk-1", "studio"))
    rotated = admit(named, Owner(HOST, "sk-2", "studio"), "run.db", "", adopts=False)
    assert rotated is not None
    assert not admitted(rotated, Owner(HOST, "sk-2"))  # the key of today, without the name
    with pytest.raises(JournalError, match="belongs to account 'studio'"):
        admitted(rotated, Owner(HOST, "sk-1"))
    with pytest.raises(JournalError, match="not to account 'other'"):
        admitted(rotated, Owner(HOST, "sk-2", "other"))


def test_a_name_is_added_to_the_record_of_its_key() -> None:
    record = admit(OwnerRecord.of(MINE), Owner(HOST, "sk-mine", "a"), "run.db", "", adopts=False)
    assert record is not None
    assert record.account == "a"
    assert not admitted(record, Owner(HOST, "sk-mine", "a"))


def test_the_digest_is_salted_and_too_short_to_confirm_a_guess() -> None:
    first, second = OwnerRecord.of(MINE), OwnerRecord.of(MINE)
    assert first.salt != second.salt
    assert first.digest != second.digest
    assert len(bytes.fromhex(first.digest)) == 4
    assert "sk-mine" not in repr(MINE)


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    journal = Journal(path)
    journal.attach(MINE)
    asyncio.run(journal.detach())
    assert all(b"sk-mine" not in file.read_bytes() for file in tmp_path.iterdir())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT host FROM owner").fetchall() == [(HOST,)]


def test_a_journal_of_version_1_takes_its_next_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", {0: schema.MIGRATIONS[0]})
        journal = Journal(path)
        journal.attach()
        asyncio.run(journal.mark_sending("k", "image_to_video", b"{}"))
        asyncio.run(journal.mark_submitted("k", ["i2v-1"]))
        asyncio.run(journal.detach())
    for owner in (MINE, MINE):
        journal = Journal(path)
        journal.attach(owner)
        entry = asyncio.run(journal.find("k"))
        assert entry is not None
        assert entry.task_ids == ("i2v-1",)
        asyncio.run(journal.detach())
    with pytest.raises(JournalError, match="belongs to another API key"):
        Journal(path).attach(Owner(HOST, "sk-other"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.version(),)


def test_a_refused_client_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    for owner in (MINE, Owner(OTHER, "k"), MINE):
        journal = Journal(path)
        if owner.host == OTHER:
            with pytest.raises(JournalError, match=f"{path} belongs to"):
                journal.attach(owner)
        else:
            journal.attach(owner)
            if asyncio.run(journal.find("k")) is None:
                asyncio.run(journal.mark_sending("k", "image_to_video", b"{}"))
            asyncio.run(journal.detach())


def test_a_host_for_which_nothing_was_made_keeps_nobody_out(tmp_path: Path) -> None:
    for owner in (Owner("http://api.keevx.con", "k"), MINE):
        journal = Journal(tmp_path / "run.db")
        journal.attach(owner)
        asyncio.run(journal.detach())
