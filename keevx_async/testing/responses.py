"""The Emulator's responses, and the ways in which it loses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from .state import State

Loss: TypeAlias = Callable[[web.Request, State, bytes], Awaitable[web.StreamResponse]]
"""Loses a response; called with the body that should have been sent."""

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode


@attrs.frozen
class Refused(Exception):
    """Raised to refuse a request with an error in the API's envelope.

    Attributes:
        reason: the key under which ``Emulator.refused`` counts the refusal.
        status: the HTTP status.
        code: the envelope's code.
        message: the envelope's message.
        headers: the response's headers.
    """

    reason: str
    status: int
    code: int
    message: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


def encode(data: object) -> bytes:
    """Return the data in a success envelope, as JSON."""
    return _DUMPS({"code": 0, "msg": "ok", "data": data}).encode()


def answer(
    body: bytes | Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON response; a body of bytes is sent unchanged."""
    raw = body if isinstance(body, bytes) else _DUMPS(body).encode()
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def refusal(state: State, refused: Refused) -> web.Response:
    """Count a refusal, and return it in the API's envelope."""
    state.refused[refused.reason] += 1
    body = {"code": refused.code, "msg": refused.message, "data": None}
    return answer(body, refused.status, refused.headers)


def html(status: int) -> web.Response:
    """Return a gateway's HTML page, which has no envelope."""
    page = f"<html><head><title>{status}</title></head><body><h1>Gateway</h1></body></html>"
    return web.Response(text=page, status=status, content_type="text/html")


async def flush(request: web.Request) -> None:
    """Wait until the kernel has all written data, because abort() discards the rest."""
    # asyncio's only event for this is pause_writing, which aiohttp itself uses.
    while (transport := request.transport) and transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def drop(request: web.Request) -> web.Response:
    """Drop the connection. The returned response is never sent."""
    # abort() sends a reset or closes at once, like a lost connection; close() would first send any
    # buffered data.
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def dropped(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Drop the connection without a response."""
    return drop(request)


async def bad_gateway(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Return 502 with HTML."""
    return html(502)


async def silent(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Send no response until the emulator stops, then drop the connection."""
    await state.closing.wait()
    return drop(request)


async def garbage(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Return 200 with a body that is neither UTF-8 nor JSON."""
    return answer(b'\xff\xfe{"code":0,"data":{"task_ids":["i2v-')


async def half(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Send the headers and half of the body, then drop the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    try:
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        await flush(request)
    except ConnectionError:  # the client closed it first
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
"""The faults that lose a response, by name."""
AFTER_CREATE = tuple(LOSSES)[1:]
"""The faults in ``LOSSES`` that strike after the tasks are made."""
