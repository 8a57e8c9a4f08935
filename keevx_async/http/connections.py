"""Which connection an exchange goes out on, and what arrived on it.

aiohttp hands out any kept connection, and tells by an exception's type alone what became of a
request. A paid create needs more: a connection that will not be closed under it, no answer left
over from before, whether a connection took the request at all, and every byte that came back.

``CheckedConnector`` stands before any aiohttp connector, ours or a lent one, and a ``Tap``
between each connection and aiohttp's own protocol. Both rest on what aiohttp and asyncio
document: ``BaseConnector.connect``, ``Connection.protocol``, ``.transport`` and ``.close``, and
``transport.set_protocol``.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp

from .framing import LONGEST_BODY

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

LONGEST_IDLE = 2.0
"""Seconds. uvicorn and Node close kept connections after 5, some proxies after 2."""
PROBE = 0.05
"""Seconds for which a host's first kept connection must stay open to show that it keeps any."""
DISTRUST = 60.0
"""Seconds for which creates take new connections only, once a kept one was lost."""

_MOST_RECORDED = LONGEST_BODY + 2**18  # the header block and the chunks' sizes come on top
_KEEP_ALIVE = re.compile(r"timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_CHUNKED = re.compile(rb"(?i)\ntransfer-encoding:[^\n]*chunked")
_LENGTH_LINE = re.compile(rb"(?i)\r\ncontent-length:[^\r\n]*")
_LAST_CHUNK = b"0\r\n\r\n"


class Attempt:
    """One exchange on its way to a connection.

    Attributes:
        once: the request must not be sent twice, so it is particular about its connection.
        connecting: a connector began to look for a connection.
        tap: the connection that took the request; None until one has.
    """

    __slots__ = ("connecting", "once", "tap")

    def __init__(self, *, once: bool) -> None:
        self.once = once
        self.connecting = False
        self.tap: Tap | None = None


ATTEMPT: ContextVar[Attempt | None] = ContextVar("keevx_async_attempt", default=None)
"""The exchange that the running task makes; None for downloads, which need no care."""


class Tap(asyncio.Protocol):
    """Hands on what a transport says, and keeps what came since the last request.

    Attributes:
        handler: aiohttp's protocol.
        received: what came, up to a bound; None while it is not watched.
        reused: the connection has carried an exchange before this one.
        idle_since: when its last exchange ended, in seconds of the loop's clock; None during one.
    """

    __slots__ = ("_looks", "_size", "_transport", "handler", "idle_since", "received", "reused")

    def __init__(self, handler: ResponseHandler, transport: asyncio.Transport) -> None:
        self.received: list[bytes] | None = None
        self.reused = False
        self.idle_since: float | None = None
        self.handler = handler
        self._transport = transport
        self._looks = _looks_at(transport)
        self._size = 0

    def begin(self) -> None:
        """Begin an exchange: keep what comes from here on."""
        self.reused = self.idle_since is not None
        self.idle_since = None
        self.received = []
        self._size = 0

    def finish(self, body: bytes, now: float) -> None:
        """End an exchange that brought a whole answer, whose body as sent is given.

        Where more came with the answer than belongs to it, it counts as having come while idle.
        """
        received = self.received or [b""]
        ends = (body or b"\r\n\r\n", _LAST_CHUNK)
        if received[-1].endswith(ends) or b"".join(received).endswith(ends):
            self.received = []
        self.idle_since = now

    def leave_unwatched(self, now: float) -> None:
        """Let an exchange pass without recording it."""
        self.received, self.idle_since = None, now

    def is_open(self) -> bool:
        """Tell whether the idle connection is open, even by what lies unread in its socket."""
        return not (self._transport.is_closing() or self._looks(0))

    def data_received(self, data: bytes) -> None:
        """Record and hand on."""
        if self.received is not None and self._size < _MOST_RECORDED:
            begins = not self._size
            self.received.append(data)
            self._size += len(data)
            if begins and b"hunked" in data:
                data = _without_length(data)
        self.handler.data_received(data)

    def eof_received(self) -> None:
        """Hand on; the transport then closes itself."""
        self.handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on."""
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on."""
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        self.handler.resume_writing()


def _without_length(data: bytes) -> bytes:
    """Return the beginning of a chunked answer without a length beside.

    aiohttp refuses an answer with both and closes the connection, although chunks outweigh the
    length (RFC 9112, 6.3); what had not arrived by then, ids included, would be lost.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if _CHUNKED.search(head):
        head = _LENGTH_LINE.sub(b"", head)
    return head + end + rest


def _looks_at(transport: asyncio.Transport) -> Callable[[int], object]:
    """Return what tells whether bytes, an end or an error lie unread in a transport's socket."""
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:  # closed, which the transport knows too
        return bool
    if not hasattr(select, "poll"):  # Windows, whose select() has no bound on descriptors
        return lambda _: select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


class CheckedConnector(aiohttp.BaseConnector):
    """Hands out the connections of another connector, and looks at each first.

    A request that must not be sent twice goes out on a connection that is new, or that has been
    idle for less than two seconds (or half of what the host's ``Keep-Alive: timeout=`` says, if
    that is less), is open, and has brought nothing while idle. Any other is closed.

    Args:
        inner: where connections come from and go back to; it is never closed here.
    """

    def __init__(self, inner: aiohttp.BaseConnector) -> None:
        super().__init__()
        self.allowed_protocol_schema_set = inner.allowed_protocol_schema_set
        self._inner = inner
        self._longest_idle = LONGEST_IDLE
        self._keeps = False
        self._distrusted_until = 0.0

    @property
    def closed(self) -> bool:
        """Whether the other connector is closed."""
        return self._inner.closed

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection that is fit for the exchange under way."""
        attempt = ATTEMPT.get()
        if attempt is None:
            connection = await self._inner.connect(req, traces, timeout)
            _tap_of(connection).leave_unwatched(self._loop.time())
            return connection
        attempt.connecting = True
        once = attempt.once
        while True:
            connection = await self._inner.connect(req, traces, timeout)
            tap = _tap_of(connection)
            idle_since = tap.idle_since
            if idle_since is None:  # it is new
                break
            if once and not self._keeps:
                try:
                    await self._probe(tap, idle_since)
                except BaseException:
                    connection.close()
                    raise
            if self._is_fit(tap, idle_since, once):
                break
            connection.close()
        tap.begin()
        attempt.tap = tap
        return connection

    async def _probe(self, tap: Tap, idle_since: float) -> None:
        """Learn from a kept connection whether this host keeps connections at all.

        Some hosts close after each answer without saying so, and the end comes a moment later:
        on the first connection that is to be used again, that moment is waited for.
        """
        now = self._loop.time()
        if self._is_young(idle_since, now):
            await asyncio.sleep(PROBE - (now - idle_since))
            self._keeps = self._is_young(idle_since, self._loop.time()) and tap.is_open()

    def _is_fit(self, tap: Tap, idle_since: float, once: bool) -> bool:
        """Tell whether a used connection may carry the request.

        1. Something came on it while it was idle: it would be taken for the answer.
        2. The request may be sent twice: aiohttp's own judgement does.
        3. It was idle for too long, nobody watched it, or a kept one was lost a moment ago.
        4. It was closed within the time in which it should have been kept.
        """
        now = self._loop.time()
        received = tap.received
        if received or (received is None and tap.handler.should_close):
            self.distrust(now)
            return False
        if not once:
            return True
        if received is None or not self._is_young(idle_since, now):
            return False
        if not tap.is_open():
            self.distrust(now)
            return False
        return self._keeps

    def _is_young(self, idle_since: float, now: float) -> bool:
        return now - idle_since < self._longest_idle and now >= self._distrusted_until

    def distrust(self, now: float) -> None:
        """Take new connections for a while: one that was idle for a moment was lost."""
        self._keeps = False
        self._distrusted_until = now + DISTRUST

    def heed(self, keep_alive: str) -> None:
        """Take an answer's ``Keep-Alive`` header into account: half of its time is safe."""
        if found := _KEEP_ALIVE.search(keep_alive):
            self._longest_idle = min(LONGEST_IDLE, int(found[1]) / 2)


def _tap_of(connection: Connection) -> Tap:
    """Return the tap of a connection, put in if it is new or new to us."""
    transport, handler = connection.transport, connection.protocol
    if transport is None or handler is None:
        connection.close()
        raise aiohttp.ClientConnectionError("the connection was closed before it was used")
    tap = transport.get_protocol()
    if not isinstance(tap, Tap):
        tap = Tap(handler, transport)
        transport.set_protocol(tap)
    return tap
