"""The service of docs/examples in a process of its own, and someone who calls it."""

import asyncio
import os
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


class Caller(NamedTuple):
    """Someone who calls the service."""

    session: aiohttp.ClientSession
    origin: str

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
            sys.executable, EXAMPLES / "service.py", cwd=folder, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    try:
        assert process.stdout
        async with asyncio.timeout(100), aiohttp.ClientSession() as session:
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
            yield process, Caller(session, origin)
    finally:
        if process.returncode is None:
            process.terminate()  # uvicorn ends its workers; a killed one would leave them behind
        await process.communicate()
