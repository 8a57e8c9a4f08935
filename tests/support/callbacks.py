"""Callback receivers and the requests that they get."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Mount

from keevx_async import CallbackReceiver

SECRET = "correct horse battery staple"


BODY = b'{"code":0,"msg":"ok","task_type":"image_to_video","data":{"task_id":"i2v-1"}}'


class Told:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    async def __call__(self, key: str, task_id: str) -> None:
        self.all.append((key, task_id))


def a_receiver(url: str = "https://you.example/keevx", **changes: Any) -> CallbackReceiver:
    return CallbackReceiver(url, **{"secret": SECRET} | changes)


def token_of(receiver: CallbackReceiver, key: str = "key") -> str:
    return receiver.url_for(key).rpartition("/")[2]


def loopback() -> tuple[socket.socket, str]:
    """A socket bound to a free port, and its origin."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def in_aiohttp(**changes: Any) -> AsyncIterator[CallbackReceiver]:
    """A receiver in an aiohttp.web application on a real socket."""
    bound, origin = loopback()
    receiver = a_receiver(f"{origin}/hooks/keevx", **changes)
    app = web.Application()
    app.add_routes(receiver.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def in_starlette(**changes: Any) -> AsyncIterator[CallbackReceiver]:
    """A receiver mounted in a Starlette application under uvicorn."""
    bound, origin = loopback()
    receiver = a_receiver(f"{origin}/hooks/keevx", **changes)
    app = Starlette(routes=[Mount("/hooks/keevx", app=receiver.asgi_app())])
    async with under_uvicorn(app, bound):
        yield receiver


@asynccontextmanager
async def under_uvicorn(app: Any, bound: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="auto", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([bound]))  # serve() would take over the signals
    try:
        while not server.started:
            assert not serving.done(), serving
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await serving
        bound.close()


Served = Callable[..., Any]


SERVED = [pytest.param(in_aiohttp, id="aiohttp"), pytest.param(in_starlette, id="asgi")]


async def posted(url: str, **body: Any) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, **body) as answer:
        await answer.read()
        return answer.status
