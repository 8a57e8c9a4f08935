"""Chooses the connection for an exchange, and records the bytes received on the connection.

aiohttp reuses any kept-alive connection, and only an exception's type indicates the fate of a
failed request. A paid create needs more: a connection that will not close during the request, no
leftover response from an earlier exchange, a record of whether any connection took the request,
and every byte received.

``CheckedConnector`` wraps any aiohttp connector, ours or a borrowed session's. A ``Tap`` sits
between each connection and aiohttp's own protocol. Both use only documented parts of aiohttp and
asyncio: ``BaseConnector.connect``, ``Connection.protocol``, ``.transport`` and ``.close``, and
``transport.set_protocol``.
"""

from __future__ import annotations

import asyncio
import re
import select
from contextvars import ContextVar
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

import aiohttp

from .framing import MAX_BODY
from .timeouts import Deadline, ExchangeTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL


MAX_IDLE = 2.0
"""The maximum idle time before reuse, in seconds. uvicorn and Node close idle connections after
5 s, some proxies after 2 s."""
PROBE = 0.05
"""Seconds for which a host's first idle connection must stay open to show that the host keeps
connections open."""
DISTRUST = 60.0
"""Seconds for which a create requires a new connection after a kept-alive connection is lost."""

_MAX_RECORDED = MAX_BODY + 2**18  # plus the header block and the chunk sizes
_ANSWER_BUFFER = 2**13  # one per connection; a larger response takes several reads
_DOWNLOAD_BUFFER = 2**18
_KEEP_ALIVE = re.compile(r"timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_CHUNKED = re.compile(rb"(?i)\ntransfer-encoding:[^\n]*chunked")
_LENGTH_LINE = re.compile(rb"(?i)\r\ncontent-length:[^\r\n]*")
_LAST_CHUNK = b"0\r\n\r\n"


class Attempt(Deadline):
    """One exchange: its deadline and its progress.

    Args:
        timer: see ``Deadline``.
        once: whether the request must not be sent twice, and so needs a safe connection.

    Attributes:
        once: whether the request must not be sent twice.
        connecting: whether a connector has started looking for a connection.
        tap: the connection that took the request; None until then.
    """

    __slots__ = ("connecting", "once", "tap")

    def __init__(self, timer: ExchangeTimer, *, once: bool) -> None:
        self._timer = timer  # inlined from Deadline: an Attempt is made for each create
        self._expired = False
        self.once = once
        self.connecting = False
        self.tap: Tap | None = None


ATTEMPT: ContextVar[Attempt | None] = ContextVar("keevx_async_attempt", default=None)
"""The running asyncio task's exchange. None for downloads, which may use any connection."""


class Tap(asyncio.BufferedProtocol):
    """Passes a transport's events on to aiohttp's protocol, and records the bytes received.

    It is a buffered protocol because asyncio otherwise allocates 256 KiB for each read, and a
    response needs less than 1 KiB. If malloc maps and unmaps that memory each time, this takes a
    quarter of a create's CPU time.

    Args:
        handler: aiohttp's protocol.
        transport: the connection's transport.
        download_buffer: the buffer to read downloads into. All of an event loop's connections may
            share it, because the loop fills it and reports the bytes in one step, and they are
            copied at once.

    Attributes:
        handler: aiohttp's protocol.
        received: the bytes received since the last request, up to a limit; None if not recorded.
        reused: whether the connection carried an exchange before this one.
        idle_since: when the connection's last exchange ended, on the loop's clock; None during an
            exchange and on a new connection.
    """

    __slots__ = (
        "_buffer",
        "_download_buffer",
        "_pass_on",
        "_size",
        "_transport",
        "_unread",
        "handler",
        "idle_since",
        "received",
        "reused",
    )

    def __init__(
        self, handler: ResponseHandler, transport: asyncio.Transport, download_buffer: memoryview
    ) -> None:
        self.received: list[bytes] | None = None
        self.reused = False
        self.idle_since: float | None = None
        self.handler = handler
        self._buffer = memoryview(b"")
        self._download_buffer = download_buffer
        self._pass_on = handler.data_received
        self._transport = transport
        self._unread = _unread_poll(transport)
        self._size = 0

    def begin(self) -> None:
        """Start an exchange, recording every byte received from now on.

        Calling it again starts a new record.
        """
        self.reused = self.idle_since is not None
        self.idle_since = None
        self.received = []
        self._size = 0

    def finish(self, body: bytes, now: float) -> None:
        """End an exchange after its whole response has arrived; the connection is now idle.

        Bytes received after the response are kept in ``received``, as if they had arrived while
        the connection was idle. The connection is then not reused.

        Args:
            body: the response's body, as it was sent.
            now: the current time on the loop's clock.
        """
        received = self.received or [b""]
        ends = (body or b"\r\n\r\n", _LAST_CHUNK)
        if received[-1].endswith(ends) or b"".join(received).endswith(ends):
            self.received = []
        self.idle_since = now

    def is_open(self) -> bool:
        """Return whether the idle connection is open and its socket has no unread bytes.

        Nothing is read, and the call does not block.
        """
        return not (self._transport.is_closing() or self._unread(0))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into: small for a response, large for a download."""
        if self.received is None:
            self._buffer = self._download_buffer
        elif len(self._buffer) != _ANSWER_BUFFER:
            self._buffer = memoryview(bytearray(_ANSWER_BUFFER))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Record the bytes and pass them on; bytes beyond ``_MAX_RECORDED`` are only passed on.

        aiohttp rejects a response with both chunks and a length and closes the connection, although
        chunks take precedence (RFC 9112, 6.3). Bytes that had not arrived by then, including ids,
        would be lost. So the length is removed from the header block that aiohttp sees.
        """
        data = bytes(self._buffer[:nbytes])
        received = self.received
        if received is not None and self._size < _MAX_RECORDED:
            if not received and b"hunked" in data:
                head, end, rest = data.partition(b"\r\n\r\n")
                if _CHUNKED.search(head):
                    received.append(data)
                    self._size += len(data)
                    self._pass_on(_LENGTH_LINE.sub(b"", head) + end + rest)
                    return
            received.append(data)
            self._size += len(data)
        self._pass_on(data)

    def eof_received(self) -> None:
        """Pass the event on; the transport then closes itself."""
        self.handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the event on."""
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass the event on."""
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass the event on."""
        self.handler.resume_writing()


def _unread_poll(transport: asyncio.Transport) -> Callable[[int], object]:
    """Return a function that polls a transport's socket, without waiting if called with 0.

    Its result is truthy if the socket has unread bytes, has been closed by the host or has failed.
    """
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:  # closed, which the transport reports itself
        return bool
    if not hasattr(select, "poll"):  # Windows, whose select() accepts any descriptor
        return lambda _: select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


class CheckedConnector(aiohttp.BaseConnector):
    """Hands out another connector's connections if they are safe for the current exchange.

    A request that must not be sent twice uses a new connection, or a connection that has been idle
    for less than two seconds (or half of the host's ``Keep-Alive: timeout=``, if that is less), is
    open, and has received nothing while idle. Any other connection is closed.

    Args:
        inner: the connector that owns the connections; it is never closed here.
    """

    def __init__(self, inner: aiohttp.BaseConnector) -> None:
        super().__init__()
        self.allowed_protocol_schema_set = inner.allowed_protocol_schema_set
        self._inner = inner
        self._max_idle = MAX_IDLE
        self._keeps = False
        self._distrusted_until = 0.0
        self._download_buffer = memoryview(bytearray(_DOWNLOAD_BUFFER))

    @property
    def closed(self) -> bool:
        """Whether the inner connector is closed."""
        return self._inner.closed

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection that is safe for the current exchange.

        Outside an exchange (for a download, for example), any connection is safe and nothing is
        recorded.
        """
        attempt = ATTEMPT.get()
        if attempt is None:
            connection = await self._inner.connect(req, traces, timeout)
            tap = _tap_of(connection, self._download_buffer)
            tap.received, tap.idle_since = None, self._loop.time()
            return connection
        attempt.connecting = True
        while True:
            connection = await self._inner.connect(req, traces, timeout)
            tap = _tap_of(connection, self._download_buffer)
            if tap.idle_since is None:  # it is new
                break
            if attempt.once and not self._keeps:
                try:
                    await self._probe(tap, tap.idle_since)
                except BaseException:
                    connection.close()
                    raise
            if self._is_safe(tap, tap.idle_since, attempt.once):
                break
            connection.close()
        tap.begin()
        attempt.tap = tap
        return connection

    async def _probe(self, tap: Tap, idle_since: float) -> None:
        """Find out from an idle connection whether this host keeps connections open at all.

        Some hosts close the connection after each response without announcing it, and the close
        arrives a moment later. Wait for that moment before reusing the first connection.
        """
        now = self._loop.time()
        if now - idle_since < self._max_idle and now >= self._distrusted_until:
            await asyncio.sleep(PROBE - (now - idle_since))
            now = self._loop.time()
            young = now - idle_since < self._max_idle and now >= self._distrusted_until
            self._keeps = young and tap.is_open()

    def _is_safe(self, tap: Tap, idle_since: float, once: bool) -> bool:
        # The first case that applies decides:
        # 1. Bytes arrived while the connection was idle: no, they would be read as the response.
        # 2. The request may be sent twice: yes, since aiohttp found the connection open.
        # 3. It was unrecorded or idle for too long, or another connection was lost recently: no.
        # 4. It was closed although it should still be open: no.
        # 5. Otherwise yes, once the host has shown that it keeps connections open.
        now, received = self._loop.time(), tap.received
        if received or (received is None and tap.handler.should_close):
            self.distrust(now)
            return False
        if not once:
            return True
        if received is None or now - idle_since >= self._max_idle or now < self._distrusted_until:
            return False
        if not tap.is_open():
            self.distrust(now)
            return False
        return self._keeps

    def distrust(self, now: float) -> None:
        """Send creates only on new connections for the next minute; a kept-alive one was lost.

        Args:
            now: the current time on the loop's clock.
        """
        self._keeps = False
        self._distrusted_until = now + DISTRUST

    def observe_keep_alive(self, value: str) -> None:
        """Limit the idle time before reuse to half of the timeout in a ``Keep-Alive`` header.

        Args:
            value: the header's value; a value without ``timeout=`` has no effect.
        """
        if match := _KEEP_ALIVE.search(value):
            self._max_idle = min(MAX_IDLE, int(match[1]) / 2)


class NoCookies(aiohttp.DummyCookieJar):
    """Stores no cookies and, unlike aiohttp's dummy jar, creates no objects per request."""

    _EMPTY: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        """Return no cookies, whatever the URL."""
        return self._EMPTY


def _tap_of(connection: Connection, download_buffer: memoryview) -> Tap:
    """Return a connection's tap, creating it if necessary."""
    handler = connection.protocol
    transport = None if handler is None else handler.transport
    if handler is None or transport is None:
        connection.close()
        raise aiohttp.ClientConnectionError("the connection was closed before it was used")
    tap = transport.get_protocol()
    if not isinstance(tap, Tap):
        tap = Tap(handler, transport, download_buffer)
        transport.set_protocol(tap)
    return tap
