"""`--fresh` asks once before it pays again, and `--dry-run` disturbs no run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.cli_run import takes
from tests.support.journal import writing


@pytest.mark.parametrize(("answer", "code", "made"), [(b"y\r", 0, 6), (b"n\r", 4, 3)])
async def test_a_terminal_is_asked_before_it_is_paid_again(
    tmp_path: Path, answer: bytes, code: int, made: int
) -> None:
    pytest.importorskip("termios", reason="pseudo-terminals are Unix's")
    from tests.support.cli_terminal import terminal

    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.01) as emulator:
        assert (await keevx("run", file, cwd=tmp_path, **at(emulator))).code == 0
        async with terminal(100, "run", file, "--fresh", cwd=tmp_path, **at(emulator)) as shown:
            await shown.shows(r"--fresh makes and pays for 3 of 3 again\. Continue\? \[y/N\]")
            shown.press(answer)
            assert await shown.end() == code
        assert len(emulator.tasks) == made
        assert ("nothing was sent" in shown.text) is (made == 3)


async def test_what_is_many_and_made_before_is_asked_in_one_question(tmp_path: Path) -> None:
    pytest.importorskip("termios", reason="pseudo-terminals are Unix's")
    from tests.support.cli_terminal import terminal

    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    run = ("run", file, "--fresh")
    async with Emulator(seconds=0.01) as emulator:
        assert (await keevx("run", file, cwd=tmp_path, **at(emulator))).code == 0
        async with terminal(200, *run, cwd=tmp_path, **at(emulator)) as shown:
            await shown.shows(r"26 of 26 again\. This makes 104 videos, 624 s\. Continue\?")
            shown.press(b"\r")
            assert await shown.end() == 4
        assert shown.text.count("Continue?") == 1
        assert len(emulator.tasks) == 104
        agreed = await keevx(*run, "--yes", cwd=tmp_path, **at(emulator))
        assert agreed.code == 0
        assert len(emulator.tasks) == 208


async def test_a_dry_run_takes_no_lock_and_sees_what_a_run_has_made(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.01) as emulator:
        first = await keevx("run", file, "--limit", "2", cwd=tmp_path, **at(emulator))
        assert first.code == 0
    dry = ("run", file, "--dry-run", "--json")
    async with writing(tmp_path / "videos" / "keevx.db"):  # as by a run that goes on
        for more, requests in (((), 1), (("--fresh",), 3)):
            plan = await keevx(*dry, *more, cwd=tmp_path)
            assert plan.code == 0, plan.err
            assert json.loads(plan.out)["requests"] == requests
