"""Commands whose parent ignores a signal."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support.signals import default_signals

IGNORING = """
import os, signal, sys
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "keevx_async.cli", *sys.argv[2:]])
"""


async def started_ignoring(
    name: str, *arguments: str | Path, cwd: Path, **env: str
) -> asyncio.subprocess.Process:
    with default_signals():
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", IGNORING, name, *map(str, arguments), cwd=cwd,
            env={**os.environ, **env}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
