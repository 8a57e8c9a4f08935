"""`keevx run` as a person sees it: a real pseudo-terminal, the Emulator as Keevx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import at, written
from tests.support.cli_run import results, takes
from tests.support.cli_terminal import terminal

pytest.importorskip("termios", reason="pseudo-terminals are Unix's")

CTRL_C = b"\x03"


async def test_progress_is_live_and_ctrl_c_keeps_what_is_known(tmp_path: Path) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(300)), tmp_path / "out"
    journal = ("--journal", tmp_path / "run.db")
    run = ("run", file, "--yes", "--out", out, *journal, "--concurrency", "4")
    faults = Faults(latency=0.05)
    async with Emulator(
        seconds=0.6, spread=0.5, faults=faults, fail_prompts={"take 2"}
    ) as emulator:
        async with terminal(100, *run, cwd=tmp_path, **at(emulator)) as shown:
            await shown.shows(r"[1-9]\d*/300 .*%.*\d/(s|min).* left")
            await shown.shows(r"[1-9]\d* submitted · \d+ waiting · [1-9]\d* done · 1 failed")
            await shown.shows(r"\u2717    2  take 2  ")
            shown.press(CTRL_C)
            await shown.shows("nothing new starts")
            assert await shown.end() == 130
            last = shown.text.rpartition("nothing new starts")[2]
            assert re.search(r"p\.jsonl:3\n", last)
            assert re.search(r"\d+ of 300 done, 1 failed, 0 uncertain", last)
            assert re.search(r"Resume without paying twice:\s+keevx run", last)
            assert "Traceback" not in shown.text
            assert "\x1b[?25h" in shown.raw.rpartition("\x1b[?25l")[2]  # the cursor is back
            assert not re.search(r"^\u2713 .*mp4", shown.text, re.MULTILINE)  # there are many
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)


@pytest.mark.parametrize(("count", "told"), [(5, 5), (30, 5)])
async def test_of_many_unfinished_tasks_a_handful_is_told(
    tmp_path: Path, count: int, told: int
) -> None:
    file = written(tmp_path / "p.jsonl", takes(count))
    async with (
        Emulator(seconds=30) as emulator,
        terminal(100, "run", file, cwd=tmp_path, **at(emulator)) as shown,
    ):
        await shown.shows(f"{count} submitted")
        shown.press(CTRL_C)
        assert await shown.end() == 130
        assert len(re.findall(r"^~ +\d+  take \d+ ", shown.text, re.MULTILINE)) == told
        assert f"0 uncertain, {count} unfinished; files and results.jsonl are" in shown.text
        assert len(results(tmp_path / "videos")) == count


@pytest.mark.parametrize(
    ("env", "columns", "colour"),
    [({}, 100, True), ({"NO_COLOR": "1"}, 100, False), ({}, 30, True)],
    ids=["plain", "no colour", "narrow"],
)
async def test_no_line_of_a_live_screen_is_wider_than_it(
    tmp_path: Path, env: dict[str, str], columns: int, colour: bool
) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with (
        Emulator(seconds=1.0) as emulator,
        terminal(columns, "run", file, cwd=tmp_path, **env, **at(emulator)) as shown,
    ):
        assert await shown.end() == 0
        live = [
            one
            for one in shown.text.splitlines()
            if re.search(r"\d left|elapsed|submitted|^\u2713", one)
        ]
        assert live
        assert max(map(len, live)) <= columns
        assert bool(re.search(r"\x1b\[(\d+;)*3\dm", shown.raw)) is colour
        assert "3 of 3 done" in shown.text
        assert len(re.findall(r"^\u2713  \d  .*mp4", shown.text, re.MULTILINE)) == 3


async def test_a_dumb_terminal_is_written_to_in_lines(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with (
        Emulator(seconds=0.5) as emulator,
        terminal(100, "run", file, cwd=tmp_path, TERM="dumb", **at(emulator)) as shown,
    ):
        assert await shown.end() == 0
        assert "\x1b" not in shown.raw
        assert "3 of 3 done" in shown.raw


async def test_prompts_are_not_awaited_from_a_keyboard(tmp_path: Path) -> None:
    async with terminal(100, "run", "-", cwd=tmp_path, KEEVX_API_KEY="k") as shown:
        assert await shown.end() == 2
        assert "pipe the input in, or pass a file" in " ".join(shown.text.split())
