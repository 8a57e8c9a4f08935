"""`keevx run` keeps a journal without being asked: no item is paid for twice."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import at, end_of, keevx, start, written
from tests.support.cli_run import CREATE, takes
from tests.support.emulator import until
from tests.support.journal import kept_in, writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "p.jsonl", takes(20))


def once() -> dict[str, int]:
    return {f"take {number}": 1 for number in range(20)}


def has_made(emulator: Emulator, count: int) -> bool:
    return emulator.creates.total() >= count


def journal_in(folder: Path) -> Path:
    return folder / "videos" / "keevx.db"


async def test_the_same_line_twice_makes_nothing_twice(tmp_path: Path, file: Path) -> None:
    async with Emulator(seconds=0.02) as emulator:
        first = await keevx("run", file, cwd=tmp_path, **at(emulator))
        again = await keevx("run", file, cwd=tmp_path, **at(emulator))
        assert emulator.creates == once()
    assert (first.code, again.code) == (0, 0)
    named = "keevx: journal videos/keevx.db: run the same command again to resume"
    assert first.err.splitlines()[0] == again.err.splitlines()[0] == named
    assert "20 of 20 were made by an earlier run and are not made again; pass --fresh" in again.err
    assert "made by an earlier run" not in first.err


async def test_killed_and_run_again_makes_nothing_twice(tmp_path: Path, file: Path) -> None:
    slow = Faults(latency=0.02)
    async with Emulator(seconds=0.2, faults=slow) as emulator:
        for made in (3, 9, 15):
            run = ("run", file, "--concurrency", "2")
            process = await start(*run, cwd=tmp_path, **at(emulator))
            await until(partial(has_made, emulator, made), process)
            process.kill()
            await end_of(process)
        emulator.faults = Faults()
        ran = await keevx("run", file, cwd=tmp_path, **at(emulator))
        # What was in flight when it was killed is uncertain, and is left alone.
        assert set(emulator.creates.values()) == {1}
        uncertain = [e for e in await kept_in(journal_in(tmp_path)) if e.state == "uncertain"]
        assert ran.code == (3 if uncertain else 0), ran.err
        assert len(emulator.creates) + len(uncertain) >= 20
        assert len(uncertain) <= 6


async def test_the_same_line_for_another_host_or_key_sends_nothing(
    tmp_path: Path, file: Path
) -> None:
    async with Emulator(seconds=0.02) as emulator, Emulator(seconds=0.02) as other:
        await keevx("run", file, cwd=tmp_path, **at(emulator))
        made = dict(emulator.requests)
        host = await keevx("run", file, cwd=tmp_path, **at(other))
        key = await keevx("run", file, cwd=tmp_path, **at(emulator) | {"KEEVX_API_KEY": "sk-b"})
        assert not other.requests
        assert dict(emulator.requests) == made
        for ran, whose in ((host, f"belongs to {emulator.url}"), (key, "another API key")):
            assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
            assert whose in ran.err
            assert "run: keevx journal videos/keevx.db --adopt" in ran.err
        adopt = ("journal", "videos/keevx.db", "--adopt")
        rotated = at(emulator) | {"KEEVX_API_KEY": "sk-b"}
        assert (await keevx(*adopt, cwd=tmp_path, **rotated)).code == 0
        assert (await keevx("run", file, cwd=tmp_path, **rotated)).code == 0
        assert emulator.creates == once()


async def test_fresh_makes_new_ones_and_can_be_resumed(tmp_path: Path, file: Path) -> None:
    async with Emulator(seconds=0.02) as emulator:
        await keevx("run", file, cwd=tmp_path, **at(emulator))
        asked = await keevx("run", file, "--fresh", cwd=tmp_path, **at(emulator))
        assert asked.code == 2
        assert "--fresh makes and pays for 20 of 20 again: pass --yes" in asked.err
        assert emulator.creates == once()
        fresh = await keevx("run", file, "--fresh", "--yes", cwd=tmp_path, **at(emulator))
        assert fresh.code == 0, fresh.err
        assert emulator.creates == dict.fromkeys(once(), 2)
        again = await keevx("run", file, cwd=tmp_path, **at(emulator))
        assert "20 of 20 were made" in again.err
        assert emulator.creates == dict.fromkeys(once(), 2)
        # No id of the first ones is lost.
        entries = await kept_in(journal_in(tmp_path))
        assert {i for entry in entries for i in entry.task_ids} == set(emulator.tasks)


async def test_without_a_journal_there_is_none(tmp_path: Path, file: Path) -> None:
    async with Emulator(seconds=0.02) as emulator:
        ran = await keevx("run", file, "--no-journal", cwd=tmp_path, **at(emulator))
        assert ran.code == 0
        assert not journal_in(tmp_path).exists()
        both = ("run", file, "--no-journal", "--journal", "x.db")
        assert (await keevx(*both, cwd=tmp_path, **at(emulator))).code == 2


@pytest.mark.skipif(os.name != "posix", reason="permissions are Unix's")
async def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(
    tmp_path: Path, file: Path
) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    async with Emulator() as emulator:
        ran = await keevx("run", file, "--out", "taken/videos", cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        ran = await keevx("run", file, "--journal", "taken/j.db", cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert "taken/j.db" in ran.err
        assert not emulator.requests[CREATE]


async def test_a_run_is_watched_while_it_goes_on(tmp_path: Path, file: Path) -> None:
    async with Emulator(seconds=4, spread=0, faults=Faults(latency=0.05)) as emulator:
        run = await start("run", file, "--concurrency", "2", cwd=tmp_path, **at(emulator))
        # Two slots: the ids of two were written before.
        await until(lambda: has_made(emulator, 4), run)
        status = ("status", "--journal", "videos/keevx.db")
        now = await keevx(*status, "--json", cwd=tmp_path)
        shown = await keevx("journal", "videos/keevx.db", cwd=tmp_path)
        watched = await keevx(*status, "--watch", cwd=tmp_path)
        await end_of(run)
        assert run.returncode == 0
    told = json.loads(now.out)
    assert told["live"] is True
    assert told["uncertain"] == 0
    assert told["submitted"] >= 2
    assert "submitted" in shown.out
    assert watched.code == 0
    lines = watched.out.splitlines()
    assert len(lines) >= 2
    assert "20 downloaded" in lines[-1]
    assert lines[-1].endswith("no run is using it")


async def test_a_reader_does_not_keep_a_run_from_beginning(tmp_path: Path, file: Path) -> None:
    async with Emulator(seconds=0.02) as emulator:
        await keevx("run", file, cwd=tmp_path, **at(emulator))
        async with writing(journal_in(tmp_path)):
            held = await keevx("run", file, cwd=tmp_path, **at(emulator))
            shown = await keevx("journal", "videos/keevx.db", cwd=tmp_path)
        assert (held.code, held.err.count("\n")) == (2, 1)
        assert "keevx status --journal" in held.err
        assert shown.code == 0
        assert "20 submitted" in shown.out
