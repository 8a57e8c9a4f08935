"""Runs the keevx command in a process and reads what it printed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keevx_async.testing import Emulator
from tests.support.forking import TIME_LIMIT, can_fork, fork_server, python
from tests.support.json_lines import check_json_lines
from tests.support.signals import default_signals

COMMAND = ("-m", "keevx_async.cli")  # after the interpreter
GOOD: dict[str, Any] = {
    "model": "V",
    "prompt": "A dog",
    "image_url": "https://example.com/start.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
}


PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def written(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Ran:
    """A command that has ended; what it printed as JSON is as its schema says."""

    def __init__(self, code: int, out: bytes, err: bytes, words: Sequence[str] = ()) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()
        assert "Traceback" not in self.err, self.err
        own = words[: words.index("--")] if "--" in words else words
        if "--json" in own:
            check_json_lines(self.out)


async def start(*arguments: str | Path, cwd: Path, **env: str) -> asyncio.subprocess.Process:
    """Start a command, in a process that is forked where that makes no difference."""
    words, whole = (*COMMAND, *map(str, arguments)), {**os.environ, "COLUMNS": "200", **env}
    if can_fork(env):
        return await python(*words, cwd=cwd, env=whole)
    with default_signals():
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            cwd=cwd,
            env=whole,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def fed(given: bytes, *arguments: str | Path, cwd: Path, **env: str) -> Ran:
    """Run a command to its end, in a process that is forked where that makes no difference."""
    words = [str(one) for one in arguments]
    if can_fork(env):
        whole = {**os.environ, "COLUMNS": "200", **env}
        ran = await asyncio.to_thread(fork_server().run, [*COMMAND, *words], given, cwd, whole)
        return Ran(*ran, words)
    process = await start(*arguments, cwd=cwd, **env)
    out, err = await end_of(process, given)
    assert process.returncode is not None
    return Ran(process.returncode, out, err, words)


async def keevx(*arguments: str | Path, cwd: Path, **env: str) -> Ran:
    return await fed(b"", *arguments, cwd=cwd, **env)


async def line_with(stream: asyncio.StreamReader | None, text: str) -> str:
    """Read lines until one contains a text, and return it.

    Raises:
        AssertionError: the stream has ended without one; it has what came instead.
    """
    assert stream is not None
    read = b""
    async with asyncio.timeout(TIME_LIMIT):
        while line := await stream.readline():
            if text in line.decode():
                return line.decode()
            read += line
    raise AssertionError(f"no {text!r} in {read.decode()!r}")


async def end_of(
    process: asyncio.subprocess.Process, given: bytes | None = None
) -> tuple[bytes, bytes]:
    """Return what a process still prints before it ends; one that does not end is killed.

    Raises:
        TimeoutError: it did not end by itself.
    """
    try:
        async with asyncio.timeout(TIME_LIMIT):
            return await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def at(emulator: Emulator) -> dict[str, str]:
    return {"KEEVX_API_KEY": "test-key", "KEEVX_BASE_URL": emulator.url}
