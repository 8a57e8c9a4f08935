"""Journals that are damaged, killed or held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keevx_async import Journal

ROOT = Path(__file__).parents[2]


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")


def a_program(text: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a small program of its own process."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


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
    with a_program(DIES, path) as process:
        process.communicate()
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
