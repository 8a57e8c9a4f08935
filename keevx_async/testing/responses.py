"""Answers of the Emulator, and the ways in which an answer is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from .state import State

Loss: TypeAlias = Callable[[web.Request, State, bytes], Awaitable[web.StreamResponse]]
"""Loses an answer; called with the body that should have been sent."""

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode


@attrs.frozen
class Refused(Exception):
    """A request is refused in the API's envelope.

    Attributes:
        reason: the key of ``Emulator.refused`` under which it is counted.
        status: the HTTP status.
        code: the envelope's code.
        message: the envelope's message.
        headers: of the answer.
    """

    reason: str
    status: int
    code: int
    message: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


def encode(data: object) -> bytes:
    """Return data in the envelope of success, as JSON."""
    return _DUMPS({"code": 0, "msg": "ok", "data": data}).encode()


def answer(
    body: bytes | Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON answer; a body of bytes is sent as it is."""
    raw = body if isinstance(body, bytes) else _DUMPS(body).encode()
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def refusal(state: State, refused: Refused) -> web.Response:
    """Count a refusal, and return it in the API's envelope."""
    state.refused[refused.reason] += 1
    body = {"code": refused.code, "msg": refused.message, "data": None}
    return answer(body, refused.status, refused.headers)


def html(status: int) -> web.Response:
    """Return the HTML page of a gateway, which has no envelope."""
    page = f"<html><head><title>{status}</title></head><body><h1>Gateway</h1></body></html>"
    return web.Response(text=page, status=status, content_type="text/html")


async def flush(request: web.Request) -> None:
    """Wait until the kernel has everything that was written; abort() would discard the rest."""
    # The only event that asyncio has for this is pause_writing, which aiohttp uses itself.
    while (transport := request.transport) and transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def drop(request: web.Request) -> web.Response:
    """Drop the connection. The response that is returned is never sent."""
    # abort() sends a reset or closes at once, as a connection that was lost; close() would first
    # send what is buffered.
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def dropped(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Drop the connection without an answer."""
    return drop(request)


async def bad_gateway(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Answer 502 with HTML."""
    return html(502)


async def silent(request: web.Request, state: State, body: bytes) -> web.StreamResponse:
    """Send no answer until the emulator stops, then drop the connection."""
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
"""The faults that lose an answer, by name."""
AFTER_CREATE = tuple(LOSSES)[1:]
"""Those among them after which the task exists."""
