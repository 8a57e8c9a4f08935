"""Starts programs that are to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def spawn(*arguments: object, url: str = "", out: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *map(str, arguments),
        cwd=ROOT,
        env={**os.environ, "KEEVX_API_KEY": "test-key", "KEEVX_BASE_URL": url, "COLUMNS": "200"},
        stdout=out,
        stderr=out,
    )
