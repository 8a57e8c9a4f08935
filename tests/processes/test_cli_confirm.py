"""Above 100 videos a terminal is asked before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.cli_run import takes
from tests.support.cli_terminal import terminal

pytest.importorskip("termios", reason="pseudo-terminals are Unix's")
QUESTION = r"This makes 104 videos, 624 s\. Continue\? \[y/N\]"


@pytest.mark.parametrize(("answer", "code", "made"), [(b"y\r", 0, 104), (b"\r", 4, 0)])
async def test_a_terminal_is_asked(tmp_path: Path, answer: bytes, code: int, made: int) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    async with (
        Emulator(seconds=0.01) as emulator,
        terminal(100, "run", file, "--out", "o", cwd=tmp_path, **at(emulator)) as shown,
    ):
        await shown.shows(QUESTION)
        assert not emulator.tasks
        shown.press(answer)
        assert await shown.end() == code
        assert len(emulator.tasks) == made
        assert ("nothing was sent" in shown.text) is (not made)


@pytest.mark.parametrize("more", [("--yes",), ("--max-videos", "100"), ("--limit", "25")])
async def test_it_is_not_asked(tmp_path: Path, more: tuple[str, ...]) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    async with (
        Emulator(seconds=0.01) as emulator,
        terminal(100, "run", file, "--out", "o", *more, cwd=tmp_path, **at(emulator)) as shown,
    ):
        assert await shown.end() in (0, 4)
        assert len(emulator.tasks) >= 100
        assert "Continue?" not in shown.text


async def test_what_the_journal_has_is_not_asked_about(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    run = ("run", file, "--out", "o", "--journal", tmp_path / "run.db")
    async with Emulator(seconds=0.01) as emulator:
        assert (await keevx(*run, cwd=tmp_path, **at(emulator))).code == 0
        async with terminal(100, *run, cwd=tmp_path, **at(emulator)) as shown:
            assert await shown.end() == 0
        assert len(emulator.tasks) == 104
        assert "Continue?" not in shown.text
