"""Commands on a terminal of their own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.cli import COMMAND
from tests.support.forking import Start, python

if sys.platform != "win32":
    import termios

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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


async def on_a_terminal(
    columns: int, *arguments: str | Path, cwd: Path, **env: str
) -> tuple[int, asyncio.subprocess.Process]:
    """Start a command on a terminal that Ctrl-C on it signals; return the other end, and it."""
    screen, end = os.openpty()
    termios.tcsetwinsize(end, (30, columns))
    plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    whole = {**plain, "TERM": "xterm-256color", **env}
    try:
        process = await python(
            *(*COMMAND, *arguments),
            cwd=cwd,
            env=whole,
            streams=(end, end, end),
            how=Start(terminal=True),
        )
    finally:
        os.close(end)
    return screen, process


@asynccontextmanager
async def terminal(
    columns: int, *arguments: str | Path, cwd: Path, **env: str
) -> AsyncIterator[Terminal]:
    screen, process = await on_a_terminal(columns, *arguments, cwd=cwd, **env)
    shown = Terminal(screen, process)
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(screen)
        os.close(screen)
