"""An Emulator and the plain HTTP calls to it."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp import web

from keevx_async.testing import Emulator

PATH = "/v1/image_to_video"


UPLOAD = "/v1/figure-resource/upload/file"


BODY = {
    "model": "V",
    "prompt": "a dog runs",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
    "image_url": "https://example.com/start.jpg",
}


PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Caller:
    """A bare aiohttp session that speaks to one emulator."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator, self.session = emulator, session

    async def post(self, **changes: Any) -> tuple[int, Any]:
        async with self.session.post(self.emulator.url + PATH, json=BODY | changes) as response:
            return response.status, await response.json(content_type=None)

    async def create(self, **changes: Any) -> list[str]:
        status, answer = await self.post(**changes)
        assert (status, answer["code"], answer["msg"]) == (200, 0, "ok")
        ids: list[str] = answer["data"]["task_ids"]
        return ids

    async def query(self, task_id: str) -> tuple[int, Any]:
        async with self.session.get(f"{self.emulator.url}{PATH}/{task_id}") as response:
            return response.status, await response.json(content_type=None)

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task's data once it has ended."""
        task = self.emulator.tasks[task_id]
        await asyncio.sleep(max(0.0, task.ready_at - task.clock()) + 0.001)
        status, answer = await self.query(task_id)
        assert status == 200
        data: dict[str, Any] = answer["data"]
        return data

    async def upload(self, content: bytes, name: str = "file") -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field(name, io.BytesIO(content), filename="start.png")
        async with self.session.post(self.emulator.url + UPLOAD, data=form) as response:
            return response.status, await response.json(content_type=None)


@contextlib.asynccontextmanager
async def calling(seconds: float = 0.02, **settings: Any) -> AsyncIterator[Caller]:
    headers = {"Authorization": "Bearer test-key"}
    async with (
        Emulator(seconds, **settings) as emulator,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        yield Caller(emulator, session)


async def until(
    holds: Callable[[], object], process: asyncio.subprocess.Process | None = None
) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: the process that should bring it about has ended.
        TimeoutError: it takes minutes, which is long enough on any machine.
    """
    async with asyncio.timeout(120):
        while not holds():
            assert process is None or process.returncode is None, f"ended: {process.returncode}"
            await asyncio.sleep(0.002)


def stop_clock_until_refused(emulator: Emulator) -> None:
    """Stop an emulator's clock until it has refused a create for its rate.

    However slowly creates come, its bucket is not refilled before it is empty.
    """
    clock, began = emulator.clock, emulator.clock()
    emulator.clock = lambda: clock() if emulator.refused["rate"] else began


def envelope(code: int, msg: str) -> dict[str, Any]:
    return {"code": code, "msg": msg, "data": None}


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, asyncio.Queue[Any]]]:
    """A callback address, and what comes in there."""
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(request: web.Request) -> web.Response:
        heard.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/callback", hear)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/callback", heard
    await runner.cleanup()
