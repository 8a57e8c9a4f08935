"""Commands on a terminal of their own."""

from __future__ import annotations

import asyncio
import codecs
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
        self._closed = asyncio.Event()
        # A read may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        asyncio.get_running_loop().add_reader(screen, self._read)

    def _read(self) -> None:
        try:
            written = os.read(self._screen, 65536)
        except OSError:  # Linux: the other end was closed
            written = b""
        self.raw += self._decoder.decode(written)
        if not written:
            asyncio.get_running_loop().remove_reader(self._screen)
            self._closed.set()

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.raw).replace("\r", "\n")

    async def shows(self, pattern: str) -> None:
        async with asyncio.timeout(120):
            while not re.search(pattern, self.text):
                assert not self._closed.is_set(), self.text
                await asyncio.sleep(0.02)

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    async def end(self) -> int:
        """Return its exit code, once all that it has written was read."""
        async with asyncio.timeout(120):
            code = await self.process.wait()
            await self._closed.wait()
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
