"""Journals that are damaged, killed or held."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keevx_async import Journal
from tests.support.forking import ROOT, TIME_LIMIT, can_fork, fork_server

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")


def run_program(text: str, *arguments: object) -> tuple[int, str]:
    """Run a small program in a process of its own; return its exit code and what it printed."""
    words = ["-c", text, *map(str, arguments)]
    if can_fork({}):
        code, out, _ = fork_server().run(words, b"", ROOT, dict(os.environ))
        return code, out.decode()
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=ROOT, input="", capture_output=True, text=True, check=False, timeout=TIME_LIMIT
    )
    return done.returncode, done.stdout


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a journal, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, path],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
            process.communicate(timeout=TIME_LIMIT)
        finally:
            process.kill()


async def write(path: Path, count: int) -> None:
    async with Journal(path) as journal:
        for number in range(count):
            body = json.dumps({"prompt": f"prompt {number} " + "x" * 500}).encode()
            if await journal.find(f"key {number}") is not None:
                continue  # what has ids is never begun again
            await journal.mark_sending(f"key {number}", "image_to_video", body)
            await journal.mark_submitted(f"key {number}", [f"i2v-{number}"])


def text(path: Path) -> None:
    path.write_text("This is a letter, and no database. " * 200)


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.journal_faults import write
from keevx_async.journal.database import Database
Database.close = lambda _: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(write(Path(sys.argv[1]), 20))
"""


def killed(path: Path) -> Path:
    """Write twenty entries and die; return the write-ahead log that is left."""
    code, _ = run_program(DIES, path)
    assert code == -signal.SIGKILL
    left = Path(f"{path}-wal")
    assert left.stat().st_size > 4096
    return left


HOLDS = """
import sys
from keevx_async import Journal
Journal(sys.argv[1]).attach()
print("held", flush=True)
sys.stdin.read()
"""
