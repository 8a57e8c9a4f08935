"""A server that takes uploads."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import (
    Keevx,
)
from tests.support.client import RETRY


class Host:
    """A Keevx that takes uploads only, and keeps what it saw of each."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[bytes] = []
        self.parts: list[Any] = []
        self.lengths: list[int | None] = []
        self.under_way = self.most = 0
        self.keeping = True
        self.before: Callable[[web.Request], Awaitable[None]] | None = None
        self.answers: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/upload/file"):
            return web.Response(status=500)
        self.lengths.append(request.content_length)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self._take(request)
        finally:
            self.under_way -= 1
        if (status := self.answers.pop(0) if self.answers else 200) != 200:
            return web.Response(status=status, text="busy")
        url = f"https://cdn.example/{len(self.parts)}.png"
        return web.json_response({"code": 0, "success": True, "result": {"url": url}})

    async def _take(self, request: web.Request) -> None:
        if self.before is not None:
            await self.before(request)
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            content = b""
            while piece := await part.read_chunk(2**16):
                content += piece if self.keeping else b""
            self.parts.append(part.headers)
            self.sent.append(content)


@asynccontextmanager
async def hosting() -> AsyncIterator[tuple[Host, Keevx]]:
    host, app = Host(), web.Application()
    app.router.add_post("/{path:.*}", host.handle)
    async with TestServer(app, shutdown_timeout=0.05) as server:
        host.url = str(server.make_url("")).rstrip("/")
        async with Keevx("test-key", base_url=host.url, retry=RETRY) as keevx:
            yield host, keevx
