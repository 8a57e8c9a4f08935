"""Starts programs that are to be killed."""

from __future__ import annotations

import asyncio
import os
import subprocess

from tests.support.forking import ROOT, python


async def spawn(*arguments: object, url: str = "", out: int) -> asyncio.subprocess.Process:
    env = {**os.environ, "KEEVX_API_KEY": "test-key", "KEEVX_BASE_URL": url, "COLUMNS": "200"}
    streams = (subprocess.DEVNULL, out, out)
    return await python("-m", *arguments, cwd=ROOT, env=env, streams=streams)
