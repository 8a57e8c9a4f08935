"""`keevx status`, `wait` and `download` after a run: its ids from its results, or from a pipe."""

from pathlib import Path

from keevx_async.testing import Emulator
from tests.support.cli import at, fed, keevx, written
from tests.support.cli_run import lines, takes


async def test_results_of_a_run_are_followed_up(tmp_path: Path) -> None:
    prompts = written(tmp_path / "prompts.jsonl", takes(3, generate_count=2))
    async with Emulator(0.02) as emulator:
        ran = await keevx("run", prompts, cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        file = "videos/results.jsonl"
        for argument in (file, f"@{file}"):
            ran = await keevx("status", argument, cwd=tmp_path, **at(emulator))
            assert ran.code == 0
            assert {line.split()[0] for line in ran.out.splitlines()} == {*emulator.tasks}
        ran = await keevx("download", file, "--out", "copy", cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        copies = {path.stem: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert copies == {task_id: emulator.video(task_id) for task_id in emulator.tasks}


async def test_ids_are_piped_from_one_command_to_the_next(tmp_path: Path) -> None:
    prompts = written(tmp_path / "prompts.jsonl", takes(2))
    async with Emulator(0.02) as emulator:
        events = await keevx("run", prompts, "--json", cwd=tmp_path, **at(emulator))
        waited = await fed(events.out.encode(), "wait", "-", "--json", cwd=tmp_path, **at(emulator))
        assert waited.code == 0, waited.err
        assert {one["task_id"] for one in lines(waited.out)} == {*emulator.tasks}
        fetched = await fed(
            waited.out.encode(), "download", "-", "--out", "more", cwd=tmp_path, **at(emulator)
        )
        assert fetched.code == 0, fetched.err
    assert len([*(tmp_path / "more").iterdir()]) == 2


async def test_an_empty_pipe_is_reported_and_nothing_is_asked(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        ran = await fed(b"", "wait", "-", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (2, "keevx: there are no task ids in stdin\n")
        assert not emulator.requests
