"""The service of docs/examples in a process of its own, and someone who calls it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from keevx_async.testing import Emulator
from tests.support.client import a_request
from tests.support.ports import free_port
from tests.support.signals import default_signals

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
SECRET = "correct horse battery staple"
PATIENCE = 120.0  # seconds in which it starts, or stops
# As `python service.py`, but the file is not the main module, which multiprocessing imports in each
# worker before uvicorn's code there runs: where that takes five seconds, as on a busy machine,
# uvicorn kills the worker and starts another, for ever.
START = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
exec(compile(pathlib.Path(sys.argv[1], "service.py").read_bytes(), "service.py", "exec"))
"""


class Caller(NamedTuple):
    """Someone who calls the service, and what it had printed when it could be called."""

    session: aiohttp.ClientSession
    origin: str
    printed: str = ""

    async def order(self, key: str, prompt: str = "a dog runs", **changes: Any) -> tuple[int, Any]:
        body = a_request(prompt).to_dict() | changes
        return await self._said("POST", "/videos", json=body, headers={"Idempotency-Key": key})

    async def status(self, task_id: str) -> tuple[int, Any]:
        return await self._said("GET", f"/videos/{task_id}")

    async def _said(self, method: str, path: str, **request: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.origin + path, **request) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def a_process(
    emulator: Emulator, folder: Path, port: int | None = None, **settings: str
) -> AsyncGenerator[tuple[Any, Caller]]:
    """The service as it is run, and someone who calls it."""
    port = port or free_port()
    origin = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "KEEVX_API_KEY": "test-key", "KEEVX_BASE_URL": emulator.url, "PORT": str(port),
        "CALLBACK_URL": f"{origin}/keevx", "CALLBACK_SECRET": SECRET, **settings,
    }  # fmt: skip
    with default_signals():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, EXAMPLES, cwd=folder, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(PATIENCE):
                printed = await _started(process, session, origin)
            yield process, Caller(session, origin, printed)
    finally:
        if process.returncode is None:
            process.terminate()
        await ended(process)


async def _started(
    process: asyncio.subprocess.Process, session: aiohttp.ClientSession, origin: str
) -> str:
    assert process.stdout
    printed = b""
    while not (b"startup complete" in printed and b"running on" in printed):
        line = await process.stdout.readline()
        assert line, printed.decode()
        printed += line
    # Of several workers each prints that it has started before it listens.
    while process.returncode is None:
        with suppress(aiohttp.ClientConnectorError):
            async with session.get(f"{origin}/ready"):
                break
        await asyncio.sleep(0.05)
    return printed.decode()


async def ended(process: asyncio.subprocess.Process) -> str:
    """Return what a stopped service still prints; one that goes on is killed with its workers."""
    try:
        async with asyncio.timeout(PATIENCE):
            printed, _ = await process.communicate()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    return printed.decode()
