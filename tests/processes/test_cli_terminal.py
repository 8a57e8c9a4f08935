"""`keevx run` as a person sees it: a real pseudo-terminal, the Emulator as Keevx."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import at, written
from tests.support.cli_run import results, takes
from tests.support.cli_terminal import ITS_OWN
from tests.support.signals import default_signals

termios = pytest.importorskip("termios", reason="pseudo-terminals are Unix's")

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = b"\x03"


class Terminal:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, screen: int, process: asyncio.subprocess.Process) -> None:
        self.raw = ""
        self.process = process
        self._screen = screen
        asyncio.get_running_loop().add_reader(screen, self._read)

    def _read(self) -> None:
        try:
            self.raw += os.read(self._screen, 65536).decode(errors="replace")
        except OSError:  # Linux: the other end was closed
            asyncio.get_running_loop().remove_reader(self._screen)

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.raw).replace("\r", "\n")

    async def shows(self, pattern: str) -> None:
        async with asyncio.timeout(120):
            while not re.search(pattern, self.text):  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.02)

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    async def end(self) -> int:
        code = await asyncio.wait_for(self.process.wait(), 120)
        await asyncio.sleep(0.05)  # what was written last is read
        return code


@asynccontextmanager
async def terminal(
    columns: int, *arguments: str | Path, cwd: Path, **env: str
) -> AsyncIterator[Terminal]:
    screen, end = os.openpty()
    termios.tcsetwinsize(end, (30, columns))
    plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    try:
        with default_signals():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", ITS_OWN, *map(str, arguments),
                cwd=cwd, env={**plain, "TERM": "xterm-256color", **env},
                stdin=end, stdout=end, stderr=end, start_new_session=True,
            )  # fmt: skip
    finally:
        os.close(end)
    shown = Terminal(screen, process)
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(screen)
        os.close(screen)


@pytest.mark.asyncio
async def test_progress_is_live_and_ctrl_c_keeps_what_is_known(tmp_path: Path) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(300)), tmp_path / "out"
    run = ("run", file, "--out", out, "--journal", tmp_path / "run.db", "--concurrency", "4")
    faults = Faults(latency=0.05)
    async with Emulator(
        seconds=0.6, spread=0.5, faults=faults, fail_prompts={"take 2"}
    ) as emulator:
        async with terminal(100, *run, cwd=tmp_path, **at(emulator)) as shown:
            await shown.shows(r"[1-9]\d*/300 .*%.*\d/(s|min).* left")
            await shown.shows(r"[1-9]\d* submitted · \d+ waiting · [1-9]\d* done · 1 failed")
            await shown.shows(r"p\.jsonl:3:\s+task\s+i2v-\w+\s+failed")
            shown.press(CTRL_C)
            await shown.shows("nothing new starts")
            assert await shown.end() == 130
            last = shown.text.rpartition("nothing new starts")[2]
            assert re.search(r"\d+ of 300 done, 1 failed, 0 uncertain", last)
            assert re.search(r"Resume without paying twice:\s+keevx run", last)
            assert "Traceback" not in shown.text
            assert "\x1b[?25h" in shown.raw.rpartition("\x1b[?25l")[2]  # the cursor is back
            assert not re.search(r"^i2v-\w+  \S+mp4", shown.text, re.MULTILINE)  # there are many
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)


@pytest.mark.asyncio
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
        assert len(re.findall(r"^i2v-\w+  unfinished", shown.text, re.MULTILINE)) == told
        assert f"0 uncertain, {count} unfinished; files and results.jsonl are" in shown.text
        assert len(results(tmp_path / "videos")) == count


@pytest.mark.asyncio
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
        live = [one for one in shown.text.splitlines() if re.search(r"\d left|submitted", one)]
        assert live
        assert max(map(len, live)) <= columns
        assert bool(re.search(r"\x1b\[(\d+;)*3\dm", shown.raw)) is colour
        assert "3 of 3 done" in shown.text
        assert len(re.findall(r"^i2v-\w+  \S+mp4", shown.text, re.MULTILINE)) == 3


@pytest.mark.asyncio
async def test_a_dumb_terminal_is_written_to_in_lines(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with (
        Emulator(seconds=0.5) as emulator,
        terminal(100, "run", file, cwd=tmp_path, TERM="dumb", **at(emulator)) as shown,
    ):
        assert await shown.end() == 0
        assert "\x1b" not in shown.raw
        assert "3 of 3 done" in shown.raw


@pytest.mark.asyncio
async def test_prompts_are_not_awaited_from_a_keyboard(tmp_path: Path) -> None:
    async with terminal(100, "run", "-", cwd=tmp_path, KEEVX_API_KEY="k") as shown:
        assert await shown.end() == 2
        assert "pipe the prompts in, or pass a file" in " ".join(shown.text.split())
