"""Signed callback URLs, and the receiving end.

The vendor signs nothing (keevx-api.md, "Callback"), so the URL itself is the secret. What comes
in is a hint: nothing in it is believed that Keevx does not confirm when asked.

A token is base64url of: HMAC-SHA256 (32 bytes), expiry (5 bytes), the create's key (the rest).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from aiohttp import web

from ..errors import CallbackRejected, ConfigurationError, InvalidRequest, Violation
from ..models.sources import to_secret, url_text
from ..models.validators import is_url

log = logging.getLogger("keevx_async")

LONGEST_BODY = 64 * 1024
"""Bytes; more is not read."""
LONGEST_KEY = 512
"""Bytes of UTF-8, so that no URL is longer than LONGEST_PUBLIC + 733 characters."""
LONGEST_PUBLIC = 1024
SHORTEST_SECRET = 16
TOKEN_TTL = 7 * 24 * 3600
"""Seconds that a URL is good for: as long as the vendor keeps a result."""
BODY_TIMEOUT = 10.0
"""Seconds in which a body has to come."""

_MAC, _UNTIL = 32, 5
_LONGEST_TOKEN = ((_MAC + _UNTIL + LONGEST_KEY) * 4 + 2) // 3
# Ids end up in query paths, and in the journal between spaces.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")

Sink = Callable[[str, str], Awaitable[None]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class CallbackReceiver:
    """Makes a signed URL for each create, and takes what is posted to it.

    Give it to ``Keevx(callbacks=…)`` and serve it on the same event loop:
    ``app.add_routes(receiver.routes())`` in aiohttp, ``app.mount("/keevx", receiver.asgi_app())``
    in FastAPI or Starlette, ``async with receiver.serving(host, port)`` on its own, or call
    ``await receiver.receive(token, body)`` from any other framework. A server's access log
    should leave out its URLs: whoever has one may post to it for as long as it is good.

    Args:
        public_url: where Keevx reaches it, such as ``https://you.example/keevx``.
        secret: at least 16 characters or bytes, the same in every process that serves it.
        clock: tells the time in seconds since the epoch; tests pass their own.

    Raises:
        ConfigurationError: the URL or the secret cannot be used.
    """

    def __init__(
        self, public_url: str, *, secret: str | bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self.public_url: str = _public(public_url)
        self._secret = _key_of(secret)
        self._clock = clock
        self._sinks: list[Sink] = []

    def __repr__(self) -> str:
        return f"<CallbackReceiver {self.public_url}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CallbackReceiver holds a secret and cannot be pickled or copied")

    def attach(self, sink: Sink) -> None:
        """Have sink told the key and the task id of each genuine callback."""
        self._sinks.append(sink)

    def detach(self, sink: Sink) -> None:
        """Tell sink no more."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def url_for(self, key: str) -> str:
        """Return the callback URL of the create that is known by key.

        Raises:
            InvalidRequest: the key is empty, no text, or longer than 512 bytes.
        """
        until = int(self._clock()) + TOKEN_TTL
        payload = until.to_bytes(_UNTIL, "big") + _named(key)
        return f"{self.public_url}/{_text(self._sign(payload) + payload)}"

    async def receive(self, token: str, body: bytes) -> None:
        """Take one callback.

        Args:
            token: the last part of the URL that it was posted to; a slash after it is ignored.
            body: what was posted, at most 64 KiB.

        Raises:
            CallbackRejected: it is not signed by us, has expired, or is no callback. Answer as
                if it were not so, and a stranger learns nothing.
            KeevxError: it is genuine, but could not be looked into or written down now. Answer
                with 500, in case Keevx posts it again.
        """
        await self._tell(self.verify(token), body)

    def verify(self, token: str) -> str:
        """Return the key that a token was made for.

        Raises:
            CallbackRejected: it is not ours, or has expired.
        """
        raw = _bytes(token.rstrip("/"))
        mac, payload = raw[:_MAC], raw[_MAC:]
        genuine = hmac.compare_digest(mac, self._sign(payload))
        if not genuine or int.from_bytes(payload[:_UNTIL], "big") < self._clock():
            raise CallbackRejected("the callback's URL is not signed by us, or has expired")
        return payload[_UNTIL:].decode()

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, b"keevx callback 1:" + payload, sha256)

    async def _tell(self, key: str, body: bytes) -> None:
        """Tell every sink, also when one of them fails."""
        task_id = task_of(body)
        failed: Exception | None = None
        for sink in list(self._sinks):
            try:
                await sink(key, task_id)
            except Exception as error:  # noqa: BLE001 - raised below, when all have been told
                failed = error
        if failed is not None:
            raise failed

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an ``aiohttp.web`` application.

        A slash that a proxy or the sender puts at the end of a callback's URL changes nothing.
        """
        path = urlsplit(self.public_url).path
        return [web.post(f"{path}/{{token}}{slash}", self._handle) for slash in ("", "/")]

    async def _handle(self, request: web.Request) -> web.Response:
        chunks = request.content.iter_chunked(LONGEST_BODY)
        return web.Response(status=await self._take(request.match_info["token"], chunks))

    def asgi_app(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return an ASGI application to mount."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            if scope["type"] != "http":  # the specification's way to say that it has no lifespan
                raise ValueError(f"keevx_async takes callbacks over http, not {scope['type']}")
            status = 405
            if scope["method"] == "POST":
                token = str(scope["path"]).rstrip("/").rpartition("/")[2]
                status = await self._take(token, _asgi_chunks(receive))
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return app

    @asynccontextmanager
    async def serving(
        self, host: str = "127.0.0.1", port: int = 0
    ) -> AsyncGenerator[tuple[str, int]]:
        """Serve it alone while the block runs; the block is given the host and the port.

        Args:
            host: the address to listen at.
            port: 0 for a free one.

        Raises:
            ConfigurationError: it cannot listen there.
        """
        app = web.Application()
        app.add_routes(self.routes())
        # No access log: the URLs are secret.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            found: tuple[str, int] = runner.addresses[0][:2]
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(f"cannot listen at {host}:{port}: {error.strerror}") from error
        try:
            yield found
        finally:
            await runner.cleanup()

    async def _take(self, token: str, chunks: AsyncIterator[bytes]) -> int:
        """Return the HTTP status of the answer: one for all, as long as we are in order.

        A stranger's body is not even read.
        """
        if not self._sinks:
            return 503  # nobody is there to be told: whoever it is may come again
        try:
            await self._tell(self.verify(token), await _bounded(chunks))
        except CallbackRejected:
            return 204
        except Exception:
            log.exception("a callback could not be taken")
            return 500
        return 204


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    whole = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in chunks:
                whole += chunk
                if len(whole) > LONGEST_BODY:
                    break
    except Exception as error:
        raise CallbackRejected("the callback's body did not come whole") from error
    return bytes(whole)


async def _asgi_chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("gone before the body's end")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def task_of(body: bytes) -> str:
    """Return the id of the task that a callback tells of; no other word of it is used.

    Raises:
        CallbackRejected: it is no callback.
    """
    if len(body) > LONGEST_BODY:
        raise CallbackRejected("the callback's body is larger than 64 KiB")
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raw = None
    data: Any = cast(dict[str, Any], raw).get("data") if isinstance(raw, dict) else None
    task_id: Any = cast(dict[str, Any], data).get("task_id") if isinstance(data, dict) else None
    if not isinstance(task_id, str) or _TASK_ID.fullmatch(task_id) is None:
        raise CallbackRejected("the callback's body tells of no task")
    return task_id


def _public(given: object) -> str:
    url = url_text(given)
    if not is_url(url) or len(url) > LONGEST_PUBLIC or any(letter in url for letter in "?#@{}"):
        raise ConfigurationError(
            f"the callbacks' public URL is {url!r}, not like https://you.example/keevx: an "
            f"http(s) URL without query and user, of at most {LONGEST_PUBLIC} characters"
        )
    return url.rstrip("/")


def _key_of(secret: object) -> bytes:
    key = to_secret(secret)
    key = key.encode() if isinstance(key, str) else key
    if not isinstance(key, bytes) or len(key) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"the callback secret is shorter than {SHORTEST_SECRET} bytes, or none; "
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return key


def _named(key: str) -> bytes:
    """Return a create's key as it stands in its token."""
    try:
        named = key.encode()
    except UnicodeEncodeError:
        named = b""
    if not 0 < len(named) <= LONGEST_KEY:
        message = (
            f"is no text of 1 to {LONGEST_KEY} bytes, and stands in the callback's URL; "
            "give the create a shorter key"
        )
        raise InvalidRequest([Violation("key", key, "length", message)])
    return named


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(token: str) -> bytes:
    """Return a token's bytes; of one that we would not have written so, none."""
    try:
        text = token.encode("ascii") if len(token) <= _LONGEST_TOKEN else b""
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
    return raw if _text(raw) == token else b""
