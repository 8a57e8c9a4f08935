"""Journals that cannot be used: a clear error before anything is paid, and nothing paid after."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal.protocol import State
from keevx_async.journal.schema import version
from keevx_async.testing import Emulator, Faults
from tests.support.cli import end_of
from tests.support.client import a_request, keevx_of, some_requests
from tests.support.forking import ROOT, python
from tests.support.journal import gives_out_no_key, kept_in, opened_and_closed, writing
from tests.support.journal_faults import POSIX, held, killed, text, write
from tests.support.thorough import THOROUGH


def others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
        database.commit()


def others_empty(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 77")


def newer(path: Path) -> None:
    asyncio.run(write(path, 1))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version() + 1}")


def corrupt(path: Path) -> None:
    asyncio.run(write(path, 200))
    middle = path.stat().st_size // 4096 // 2
    with path.open("r+b") as file:
        file.seek(middle * 4096)
        file.write(os.urandom(4096))


def cut_short(path: Path) -> None:
    asyncio.run(write(path, 200))
    os.truncate(path, path.stat().st_size // 2)


def a_folder(path: Path) -> None:
    path.mkdir()


def no_folder(path: Path) -> None:
    path.parent.rmdir()


def no_folder_but_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


def without_its_log(path: Path) -> None:
    killed(path).unlink()


def with_half_its_log(path: Path) -> None:
    left = killed(path)
    os.truncate(left, left.stat().st_size // 2)


def with_a_damaged_log(path: Path) -> None:
    left = killed(path)
    with left.open("r+b") as file:
        file.seek(left.stat().st_size // 2)
        file.write(bytes(4096))


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (text, "not a database"),
    (others, "a database, but not a journal"),
    (others_empty, "a database, but not a journal"),
    (newer, "by a newer keevx_async"),
    (corrupt, "is damaged"),
    (cut_short, "is damaged|malformed"),
    (a_folder, "is a folder; name a file"),
    (no_folder, "No such file or directory"),
    (no_folder_but_a_file, "Not a directory"),
    pytest.param(with_half_its_log, r"has lost \d+ commits", marks=POSIX),  # type: ignore[list-item]
    pytest.param(with_a_damaged_log, r"has lost \d+ commits", marks=POSIX),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("spoil", "said"), UNUSABLE)
def test_an_unusable_journal_is_told_before_anything_is_paid(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "folder" / "run.db"
    path.parent.mkdir()
    spoil(path)
    asyncio.run(nothing_is_paid(path, said))


@POSIX
def test_nothing_is_paid_with_a_journal_that_lost_its_log(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    without_its_log(path)
    asyncio.run(nothing_is_paid(path, r"has lost \d+ commits", is_readable=True))


async def nothing_is_paid(path: Path, said: str, *, is_readable: bool = False) -> None:
    async with Emulator() as emulator:
        before = content(path)
        opening = nullcontext() if is_readable else pytest.raises(JournalError, match=said)
        with opening:
            async with keevx_of(emulator, journal=path):
                pass
        keevx = keevx_of(emulator, journal=path)  # as at the top level of a notebook
        for _ in range(2):  # it says the same when asked again
            with pytest.raises(JournalError, match=said) as caught:
                await keevx.submit(a_request())
            assert str(path) in str(caught.value)
        for verb in (keevx.submit_many, keevx.generate_many):
            with pytest.raises(JournalError, match=said):
                await verb(some_requests(3))
        await keevx.close()
        assert not emulator.requests
        assert content(path) == before


def content(path: Path) -> list[bytes]:
    """What is in the file, and in its log."""
    files = (path, Path(f"{path}-wal"))
    return [one.read_bytes() for one in files if one.is_file() and one.stat().st_size]


@POSIX
def test_a_journal_goes_on_after_a_kill_when_its_log_is_whole_or_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.db"
    left = killed(path)
    kept = left.read_bytes()
    left.unlink()
    asyncio.run(gives_out_no_key(path, "has lost"))
    left.write_bytes(kept)
    assert [entry.state for entry in asyncio.run(kept_in(path))] == [State.SUBMITTED] * 20
    without_its_log(tmp_path / "other.db")
    (tmp_path / "other.db-lock").unlink()
    with caplog.at_level(logging.WARNING):
        asyncio.run(gives_out_no_key(tmp_path / "other.db", "has lost the content of its -wal"))
    give_up = caplog.messages[-1].rpartition(f"run: sqlite3 {tmp_path / 'other.db'} ")[2]
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute(give_up.strip('"'))
        database.commit()
    assert asyncio.run(kept_in(tmp_path / "other.db")) == []


async def test_an_old_copy_is_told_from_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    await write(path, 1)
    shutil.copy(path, tmp_path / "copy.db")
    await write(path, 2)
    shutil.copy(tmp_path / "copy.db", path)
    with pytest.raises(JournalError, match="an old copy"):
        Journal(path).attach()


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """A folder that this process cannot write into; root has to stand back for that."""
    folder = Path(tempfile.mkdtemp())
    asyncio.run(write(folder / "old.db", 1))
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@POSIX
@pytest.mark.parametrize("name", ["new.db", "old.db"])
def test_a_read_only_folder(name: str) -> None:
    with read_only_folder() as folder:
        asyncio.run(nothing_is_paid(folder / name, "Permission denied"))


@POSIX
def test_a_read_only_file() -> None:
    with read_only_folder() as folder:
        journal = Journal(folder / "old.db")
        os.seteuid(os.getuid())
        folder.chmod(0o777)
        (folder / "old.db").chmod(0o444)
        (folder / "old.db-lock").chmod(0o666)
        if os.getuid() == 0:
            os.seteuid(65534)
        with pytest.raises(JournalError, match="read-only database"):
            journal.attach()


def test_two_processes_on_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    (tmp_path / "link.db").symlink_to(path)
    with held(path) as process:
        for name in ("run.db", "link.db"):
            asyncio.run(nothing_is_held(tmp_path / name))
        process.kill()
    assert asyncio.run(kept_in(path)) == []


async def nothing_is_held(path: Path) -> None:
    async with Emulator() as emulator:
        with pytest.raises(JournalError, match="held by another process"):
            async with keevx_of(emulator, journal=path):
                pass
        assert not emulator.requests


async def test_two_journals_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with writing(path) as first, writing(path) as second:
        await first.set_note("a", "1")
        await first.mark_sending("mine", "image_to_video", b"{}")
        entry = await second.find("mine")
        assert entry is not None
        assert await second.get_note("a") == "1"
    await opened_and_closed(path)


COUNT = 3_000 if THOROUGH else 1_000
FULL = """
import asyncio, json, resource, sys
from keevx_async import Keevx, JournalError
from tests.support.client import some_requests
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
async def main():
    try:
        async with Keevx("test-key", base_url=sys.argv[1], journal=sys.argv[2]) as keevx:
            fan = await keevx.submit_many(some_requests(int(sys.argv[4])), concurrency=16)
    except JournalError as error:
        print(json.dumps({"ids": [], "errors": [str(error)], "kept": []}))
        return
    kept = [one for error in fan.errors for one in getattr(error, "task_ids", ())]
    print(json.dumps({"ids": fan.task_ids, "errors": [*map(str, fan.errors)], "kept": kept}))
asyncio.run(main())
"""


async def on_a_disk_of(size: int, emulator: Emulator, path: Path) -> dict[str, list[str]]:
    """Submit the requests where no file may be larger."""
    # Pipes, not files: the limit would hold for those too.
    program = ("-c", FULL, emulator.url, path, size, COUNT)
    process = await python(*program, cwd=ROOT, env=dict(os.environ))
    printed, err = await end_of(process)
    assert process.returncode == 0, err
    result: dict[str, list[str]] = json.loads(printed)
    return result


@POSIX
async def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        result = await on_a_disk_of(1000, emulator, tmp_path / "run.db")
        assert "cannot be used as a journal" in result["errors"][0]
        assert not emulator.requests


@POSIX
@pytest.mark.slow
async def test_a_disk_that_fills_up_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator(faults=Faults(latency=(0.0, 0.02))) as emulator:
        result = await on_a_disk_of(2_000_000, emulator, path)
        assert "Nothing more is sent; fix the problem" in result["errors"][0]
        made = len(emulator.tasks)
        assert 100 < made < COUNT
        assert len(result["errors"]) + made >= COUNT
        assert set(emulator.creates.values()) == {1}
        assert sorted(result["ids"]) == sorted(emulator.tasks)
        assert set(result["kept"]) <= set(result["ids"])
        async with Journal(path) as journal:
            known = {one async for entry in journal.entries() for one in entry.task_ids}
            lost = [one async for one in journal.entries(State.UNCERTAIN)]
        # Of the ids that could not be written at first, some may have been written since: the
        # writer tries them again. The others are in the error, and their creates are uncertain.
        missing = set(emulator.tasks) - known
        assert missing <= set(result["kept"])
        assert len(lost) == len(missing)
        assert len(result["kept"]) <= 16

        again = await on_a_disk_of(100_000_000, emulator, path)
        assert set(emulator.creates.values()) == {1}
        assert len(emulator.creates) == COUNT
        assert len(again["errors"]) == len(lost)


async def test_pages_that_are_damaged_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    await write(path, 400)
    async with writing(path) as journal:
        with path.open("r+b") as file:
            file.seek(3 * 4096)
            file.write(os.urandom(path.stat().st_size - 3 * 4096))
        with pytest.raises(JournalError, match=r"cannot be read.*Nothing more is sent"):
            await claim_all(journal)
        with pytest.raises(JournalError, match="cannot be read"):
            await journal.mark_sending("new", "image_to_video", b"{}")
        with pytest.raises(JournalError):
            [one async for one in journal.entries()]


async def claim_all(journal: Journal) -> None:
    for number in range(400):
        await journal.claim("image_to_video", b"{}", f"no key {number}")
