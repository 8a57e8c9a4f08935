"""Signs callback URLs and receives callbacks.

The vendor does not sign callbacks (keevx-api.md, "Callback"), so the URL itself is the secret. A
callback is only a hint: nothing in it is trusted until Keevx confirms it in a status query.

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
from ..models.converters import to_secret, url_text
from ..models.validators import is_url

log = logging.getLogger("keevx_async.submission")

MAX_BODY = 64 * 1024
"""The maximum number of bytes read from a callback's body."""
MAX_KEY = 512
"""The maximum length of a key, in bytes of UTF-8. It limits URLs to MAX_PUBLIC_URL + 733
characters."""
MAX_PUBLIC_URL = 1024
"""The maximum length of the public URL, in characters."""
MIN_SECRET = 16
"""The minimum length of the secret, in bytes."""
TOKEN_TTL = 7 * 24 * 3600
"""Seconds for which a URL is valid: as long as the vendor keeps a result."""
BODY_TIMEOUT = 10.0
"""Seconds within which a body must arrive."""

_MAC, _UNTIL = 32, 5
_MAX_TOKEN = ((_MAC + _UNTIL + MAX_KEY) * 4 + 2) // 3
# Ids are used in query paths, and are separated by spaces in the journal.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")

Sink = Callable[[str, str], Awaitable[None]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class CallbackReceiver:
    """Provides a signed callback URL for each create, and receives the callbacks.

    Pass the receiver to ``Keevx(callbacks=…)`` and serve it on the same event loop:
    ``app.add_routes(receiver.routes())`` in aiohttp, ``app.mount("/keevx", receiver.asgi_app())``
    in FastAPI or Starlette, ``async with receiver.serving(host, port)`` standalone, or call
    ``await receiver.receive(token, body)`` from any other framework. Keep these URLs out of your
    access logs: anyone who has a URL can post to it for the 7 days that it is valid.

    Several clients may share a receiver. A receiver holds a secret, so it cannot be pickled or
    copied.

    Args:
        public_url: the URL at which Keevx reaches the receiver, such as
            ``https://you.example/keevx``.
        secret: at least 16 bytes, the same in every process that serves the URL. With the same
            secret, callbacks that arrive after a restart are still accepted.
        clock: returns the time in seconds since the epoch; tests pass their own.

    Raises:
        ConfigurationError: the URL or the secret is invalid.
    """

    def __init__(
        self, public_url: str, *, secret: str | bytes, clock: Callable[[], float] = time.time
    ) -> None:
        url, key = url_text(public_url), to_secret(secret)
        if not is_url(url) or len(url) > MAX_PUBLIC_URL or any(char in url for char in "?#@{}"):
            raise ConfigurationError(
                f"the public URL must look like https://you.example/keevx: an http(s) URL without "
                f"a query or user, of at most {MAX_PUBLIC_URL} characters (got {url!r})"
            )
        key = key.encode() if isinstance(key, str) else key
        if not isinstance(key, bytes) or len(key) < MIN_SECRET:
            raise ConfigurationError(
                f"the callback secret must be at least {MIN_SECRET} bytes long; "
                "create one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        self.public_url: str = url.rstrip("/")
        self._secret = key
        self._clock = clock
        self._sinks: list[Sink] = []

    def __repr__(self) -> str:
        return f"<CallbackReceiver {self.public_url}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CallbackReceiver holds a secret and cannot be pickled or copied")

    def attach(self, sink: Sink) -> None:
        """Start passing the key and task id of each genuine callback to sink."""
        self._sinks.append(sink)

    def detach(self, sink: Sink) -> None:
        """Stop passing callbacks to sink. This has no effect if sink is not attached."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def url_for(self, key: str) -> str:
        """Return a create's callback URL, which is valid for 7 days.

        Args:
            key: the create's key, which is readable in the URL.

        Raises:
            InvalidRequest: the key is empty, longer than 512 bytes, or not valid text.
        """
        try:
            name = key.encode()
        except UnicodeEncodeError:
            name = b""
        if not 0 < len(name) <= MAX_KEY:
            message = f"must be 1 to {MAX_KEY} bytes of text, since it is part of the callback URL"
            raise InvalidRequest([Violation("key", key, "length", message)])
        until = int(self._clock()) + TOKEN_TTL
        payload = until.to_bytes(_UNTIL, "big") + name
        return f"{self.public_url}/{_text(self._sign(payload) + payload)}"

    async def receive(self, token: str, body: bytes) -> None:
        """Receive one callback and pass it to every sink, even if one of them fails.

        Receiving the same callback again has no effect.

        Args:
            token: the last part of the callback's URL; a trailing slash is ignored.
            body: the body of the POST, at most 64 KiB.

        Raises:
            CallbackRejected: the token is not ours or has expired, or the body is not a callback.
                Respond as if the callback were accepted, so that a stranger learns nothing.
            KeevxError: the callback is genuine, but could not be confirmed or recorded now. Respond
                with a 500, in case Keevx posts it again.
        """
        await self._pass_on(self.verify(token), body)

    async def _pass_on(self, key: str, body: bytes) -> None:
        task_id = task_of(body)
        failure: Exception | None = None
        for sink in list(self._sinks):
            try:
                await sink(key, task_id)
            except Exception as error:  # noqa: BLE001 - raised below, after the other sinks
                failure = error
        if failure is not None:
            raise failure

    def verify(self, token: str) -> str:
        """Return the key that a token was made for. The signature check takes constant time.

        Raises:
            CallbackRejected: the token is not ours, or has expired.
        """
        token = token.rstrip("/")
        try:
            text = token.encode("ascii") if len(token) <= _MAX_TOKEN else b""
            raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        if _text(raw) != token:  # base64 can encode some bytes in several ways; accept only ours
            raw = b""
        mac, payload = raw[:_MAC], raw[_MAC:]
        genuine = hmac.compare_digest(mac, self._sign(payload))
        if not genuine or int.from_bytes(payload[:_UNTIL], "big") < self._clock():
            raise CallbackRejected(
                "the callback URL was not signed with this receiver's secret, or has expired"
            )
        return payload[_UNTIL:].decode()

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, b"keevx callback 1:" + payload, sha256)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an ``aiohttp.web`` application.

        They match the public URL's path followed by a token, with or without a trailing slash.
        """

        async def handle(request: web.Request) -> web.Response:
            chunks = request.content.iter_chunked(MAX_BODY)
            return web.Response(status=await self._respond(request.match_info["token"], chunks))

        path = urlsplit(self.public_url).path
        return [web.post(f"{path}/{{token}}{slash}", handle) for slash in ("", "/")]

    def asgi_app(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return an ASGI application to mount at the path of the public URL.

        The token is the last part of the path. Any method other than POST gets a 405 response.
        """

        async def chunks(receive: Receive) -> AsyncIterator[bytes]:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError("disconnected before the end of the body")
                yield message.get("body", b"")
                more = message.get("more_body", False)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            if scope["type"] != "http":  # how ASGI apps signal that they do not support lifespan
                raise ValueError(f"callbacks are accepted only over http, not {scope['type']}")
            status = 405
            if scope["method"] == "POST":
                token = str(scope["path"]).rstrip("/").rpartition("/")[2]
                status = await self._respond(token, chunks(receive))
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return app

    @asynccontextmanager
    async def serving(
        self, host: str = "127.0.0.1", port: int = 0
    ) -> AsyncGenerator[tuple[str, int]]:
        """Run a callback server during the ``async with`` block, and yield its host and port.

        The server writes no access log, since the URLs are secret.

        Args:
            host: the address to listen on.
            port: the port; 0 to use any free port.

        Raises:
            ConfigurationError: the server cannot listen on that address.
        """
        app = web.Application()
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            address: tuple[str, int] = runner.addresses[0][:2]
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        try:
            yield address
        finally:
            await runner.cleanup()

    async def _respond(self, token: str, chunks: AsyncIterator[bytes]) -> int:
        """Receive a callback; return the HTTP status of the response."""
        # 1. No client is attached: 503, so that the sender may try again.
        # 2. Received or rejected: 204 for both, so that a stranger learns nothing. A token that is
        #    not ours is rejected before the body is read.
        # 3. Genuine, but could not be confirmed or recorded: 500.
        if not self._sinks:
            return 503
        try:
            key, body = self.verify(token), bytearray()
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    async for chunk in chunks:
                        body += chunk
                        if len(body) > MAX_BODY:
                            break
            except Exception as error:
                raise CallbackRejected("the callback's body did not arrive in full") from error
            await self._pass_on(key, bytes(body))
        except CallbackRejected:
            return 204
        except Exception:
            log.exception("could not process a callback")
            return 500
        return 204


def task_of(body: bytes) -> str:
    """Return the task id in a callback's body; nothing else in the body is used.

    Raises:
        CallbackRejected: the body is too large, is not JSON, or has no task id that is valid in a
            path.
    """
    if len(body) > MAX_BODY:
        raise CallbackRejected("the callback's body is larger than 64 KiB")
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raw = None
    data: Any = cast(dict[str, Any], raw).get("data") if isinstance(raw, dict) else None
    task_id: Any = cast(dict[str, Any], data).get("task_id") if isinstance(data, dict) else None
    if not isinstance(task_id, str) or _TASK_ID.fullmatch(task_id) is None:
        raise CallbackRejected("the callback's body contains no valid task id")
    return task_id


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
