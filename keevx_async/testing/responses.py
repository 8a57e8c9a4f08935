"""How answers are given, and how they are lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from .state import State

Loss: TypeAlias = Callable[[web.Request, State, bytes], Awaitable[web.StreamResponse]]
"""A way for an answer to be lost: takes the body that should have been sent."""

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode


@attrs.frozen
class Refused(Exception):
    """A request refused in the API's envelope; `reason` is the book it is counted in."""

    reason: str
    status: int
    code: int
    message: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


def encode(data: object) -> bytes:
    """Data in the envelope of success."""
    return _DUMPS({"code": 0, "msg": "ok", "data": data}).encode()


def answer(
    body: bytes | Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    raw = body if isinstance(body, bytes) else _DUMPS(body).encode()
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def refusal(state: State, refused: Refused) -> web.Response:
    """The envelope of a refusal, which is counted."""
    state.refused[refused.reason] += 1
    body = {"code": refused.code, "msg": refused.message, "data": None}
    return answer(body, refused.status, refused.headers)


def html(status: int) -> web.Response:
    """What a gateway says that has never heard of the envelope."""
    page = f"<html><head><title>{status}</title></head><body><h1>Gateway</h1></body></html>"
    return web.Response(text=page, status=status, content_type="text/html")


async def flush(request: web.Request) -> None:
    """Wait until the kernel has all that was written: abort() throws the rest away."""
    # asyncio has no event for it but pause_writing, which is aiohttp's.
    while (transport := request.transport) and transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def drop(request: web.Request) -> web.Response:
    """Drop the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def dropped(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Drop the connection without a word."""
    return drop(request)


async def bad_gateway(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Answer 502 with HTML."""
    return html(502)


async def silent(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Say nothing until the emulator stops."""
    await state.closing.wait()
    return drop(request)


async def garbage(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Answer 200 with a body that is neither UTF-8 nor JSON."""
    return answer(b'\xff\xfe{"code":0,"data":{"task_ids":["i2v-')


async def half(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Send the headers and half of the body, then drop the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    try:
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        await flush(request)
    except ConnectionError:  # the client was faster
        pass
    drop(request)
    return response


LOSSES: Mapping[str, Loss] = {
    "drop_before_create": dropped,
    "drop_after_create": dropped,
    "error_after_create": bad_gateway,
    "silent_after_create": silent,
    "garbage_after_create": garbage,
    "half_answer": half,
}
AFTER_CREATE = tuple(LOSSES)[1:]
