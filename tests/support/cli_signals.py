"""Commands whose parent ignores a signal."""

import asyncio
import os
import subprocess
from pathlib import Path

from tests.support.cli import COMMAND
from tests.support.forking import Start, python


async def started_ignoring(
    name: str, *arguments: str | Path, cwd: Path, **env: str
) -> asyncio.subprocess.Process:
    streams = (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
    return await python(
        *(*COMMAND, *arguments),
        cwd=cwd,
        env={**os.environ, **env},
        streams=streams,
        how=Start(ignored=(name,)),
    )
