"""Nobody agrees to pay and is then refused: access is checked before the question."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from keevx_async.cli.output.results_file import Results
from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.cli_run import takes
from tests.support.cli_terminal import terminal

pytest.importorskip("termios", reason="pseudo-terminals are Unix's")


async def test_the_journal_of_another_host_or_key_is_refused_before_the_question(
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.01) as emulator, Emulator(seconds=0.01) as real:
        assert (await keevx("run", file, "--out", "o", cwd=tmp_path, **at(emulator))).code == 0
        run = ("run", file, "--out", "o", "--fresh")
        other_key = at(emulator) | {"KEEVX_API_KEY": "sk-other"}
        for env, owner in ((at(real), emulator.url), (other_key, "another API key")):
            async with terminal(100, *run, cwd=tmp_path, **env) as shown:
                assert await shown.end() == 2
            assert "belongs to" in shown.text
            assert owner in shown.text
            assert "Continue?" not in shown.text
        assert len(emulator.tasks) == 3
        assert not real.tasks


async def test_a_refused_key_is_reported_before_the_question(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    async with Emulator(api_key="sk-right") as emulator:
        env = at(emulator) | {"KEEVX_API_KEY": "sk-wrong"}
        run = ("run", file, "--out", "o")
        async with terminal(100, *run, cwd=tmp_path, **env) as shown:
            assert await shown.end() == 2
        assert "Continue?" not in shown.text
    assert not (tmp_path / "o").exists()


async def test_an_answer_of_no_leaves_nothing_behind(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    async with (
        Emulator(seconds=0.01) as emulator,
        terminal(100, "run", file, "--out", "o", cwd=tmp_path, **at(emulator)) as shown,
    ):
        await shown.shows(r"Continue\? \[y/N\]")
        shown.press(b"n\r")
        assert await shown.end() == 4
    assert not (tmp_path / "o").exists()


async def test_a_folder_that_another_run_writes_is_reported_before_the_question(
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    with closing(Results(tmp_path / "o")):
        async with Emulator() as emulator:
            run = ("run", file, "--out", "o")
            async with terminal(100, *run, cwd=tmp_path, **at(emulator)) as shown:
                assert await shown.end() == 2
    assert "another keevx run is writing to" in shown.text
    assert "Continue?" not in shown.text
