"""Where `keevx run` writes: results.jsonl, standard output and error, and what may befall them."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import closing
from pathlib import Path

import pytest

from keevx_async.cli.output.results_file import Results
from keevx_async.testing import Emulator
from tests.support.cli import COMMAND, at, end_of, keevx, written
from tests.support.cli_run import CREATE, lines, results, takes
from tests.support.forking import python


async def test_a_file_that_is_no_results_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "results.jsonl", takes(2))
    before = file.read_text()
    async with Emulator() as emulator:
        ran = await keevx("run", file, "--out", tmp_path, cwd=tmp_path, **at(emulator))
        assert not emulator.requests[CREATE]
    assert ran.code == 2
    assert "choose another --out" in ran.err
    assert file.read_text() == before


async def test_results_of_a_template_stand_in_its_folder(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(2))
    run = ("run", file, "--out", "v/{index:05d}-{task_id}", "--no-journal")
    async with Emulator(seconds=0.02, fail_prompts={"take 1"}) as emulator:
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
    assert ran.code == 1
    assert "results.jsonl are in v (" in ran.err
    assert f"{Path('v/results.jsonl')} has the ids so far" in ran.err
    assert sorted(path.name[:5] for path in (tmp_path / "v").iterdir()) == [
        "00000", "index", "resul", "resul", "thumb",
    ]  # fmt: skip
    assert len(results(tmp_path / "v")) == 2


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
async def test_a_bad_template_is_told_before_anything_is_sent(
    tmp_path: Path, dry: list[str]
) -> None:
    file = written(tmp_path / "p.jsonl", takes(1))
    async with Emulator() as emulator:
        ran = await keevx("run", file, "--out", "v/{no}", *dry, cwd=tmp_path, **at(emulator))
        assert not emulator.requests
    assert ran.code == 2
    assert "unknown field {no}" in ran.err
    assert os.listdir(tmp_path) == ["p.jsonl"]


async def test_two_runs_do_not_write_the_same_results(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(1))
    async with Emulator() as emulator:
        with closing(Results(tmp_path / "videos")):
            ran = await keevx("run", file, cwd=tmp_path, **at(emulator))
        assert not emulator.requests
    assert ran.code == 2
    path = Path("videos/results.jsonl")
    assert f"another keevx run is writing to {path}; choose another --out" in ran.err


@pytest.mark.parametrize("joined", [False, True], ids=["stdout", "both"])
async def test_a_reader_that_goes_away_does_not_end_paid_work(tmp_path: Path, joined: bool) -> None:
    out = tmp_path / "out"
    async with Emulator(seconds=0.2, fail_prompts={"take 0"}) as emulator:
        reading, writing = os.pipe()
        os.close(reading)
        err = await ended(tmp_path, emulator, stdout=writing, stderr=writing if joined else None)
        os.close(writing)
        assert b"Traceback" not in err
    assert [item["status"] for item in results(out).values()].count("done") == 4
    assert "unfinished" not in {item["status"] for item in results(out).values()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
async def test_a_full_disk_does_not_end_paid_work(tmp_path: Path) -> None:
    async with Emulator(seconds=0.2, fail_prompts={"take 0"}) as emulator:
        full = os.open("/dev/full", os.O_WRONLY)
        err = await ended(tmp_path, emulator, stdout=full)
        await ended(tmp_path, emulator, stdout=full, stderr=full)
        os.close(full)
    assert err.count(b"keevx: stopped writing to standard output: No space left on device") == 1
    statuses = [item["status"] for item in lines((tmp_path / "out/results.jsonl").read_text())]
    assert (statuses.count("done"), len(statuses)) == (8, 10)


async def ended(
    folder: Path, emulator: Emulator, *, stdout: int, stderr: int | None = None
) -> bytes:
    """Run five prompts, the first of which fails; return what is told on standard error."""
    file = written(folder / "p.jsonl", takes(5))
    process = await python(
        *(*COMMAND, "run", file, "--out", folder / "out", "--no-journal"),
        cwd=folder,
        env={**os.environ, **at(emulator)},
        streams=(DEVNULL, stdout, PIPE if stderr is None else stderr),
    )
    _, err = await end_of(process)
    assert process.returncode == 1, err
    return err or b""
