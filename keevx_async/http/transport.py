"""One exchange over aiohttp: what was sent, and all that came back. Nothing here is repeated."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict, istr
from yarl import URL

from ..errors import ConfigurationError
from .certificates import tls_context
from .connections import ATTEMPT, Attempt, CheckedConnector
from .framing import LONGEST_BODY, decode_body, read_answer
from .pool import check_lent, open_pool
from .proxies import find_proxy, is_socks
from .socks import require_socks
from .timeouts import Deadline, ExchangeTimer
from .verdict import TransportError

log = logging.getLogger("keevx_async")

CLIENT_CLOSED = "this client was closed; make a new Keevx()"

MAX_CONNECT = 10.0
_KEEP_ALIVE = istr("Keep-Alive")
_CONTENT_ENCODING = istr("Content-Encoding")
SHORTEST_SECRET = 8
_OPEN_HEADERS = ("Authorization", "User-Agent")


class HttpRequest(NamedTuple):
    """One request.

    Attributes:
        method: such as ``POST``.
        path: below the base URL.
        body: JSON, or a form.
        allowance: seconds that it may take on top of the timeout, since its body is large.
    """

    method: str
    path: str
    body: bytes | aiohttp.FormData | None = None
    allowance: float = 0.0


class HttpResponse(NamedTuple):
    """One answer.

    Attributes:
        status: the HTTP status.
        headers: looked up without regard to case.
        body: decoded, at most 1 MiB of it.
        complete: False where the body ended before its framing said so: the connection broke,
            the framing was malformed, time ran out, or it was longer than 1 MiB. ``body`` then
            holds what had arrived.
        reason: what broke it off, without URL query, key or body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True
    reason: str = ""


def exchange_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return a timeout for one exchange.

    Connecting gets its own, shorter one: a connect that times out is known not to have sent
    anything, a whole exchange that does is not.
    """
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(MAX_CONNECT, seconds / 2))


def _without_total(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return what aiohttp still has to watch where Deadlines watch the whole."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=timeout.connect,
        sock_read=timeout.sock_read,
        sock_connect=timeout.sock_connect,
        ceil_threshold=timeout.ceil_threshold,
    )


class Transport(Protocol):
    """The seam that tests script: one request, one answer, or a Fault."""

    async def exchange(self, call: HttpRequest) -> HttpResponse:
        """Send call once and return the whole answer, or raise Fault."""
        ...


# Looked up along an exception's bases, nearest first: was the request, as far as can be
# known, sent? False only where aiohttp raises it before the first byte of a request. Asked only
# where no connector of ours saw the request, as under a mock.
SENT: dict[type[BaseException], bool] = {
    aiohttp.ClientConnectorError: False,  # refused, DNS, TLS, certificate, proxy, unix socket
    aiohttp.ConnectionTimeoutError: False,  # connect timeout, wait for the pool
    aiohttp.ServerFingerprintMismatch: False,
    aiohttp.ClientHttpProxyError: False,  # the proxy refused CONNECT
    aiohttp.InvalidURL: False,
    aiohttp.NonHttpUrlClientError: False,
    aiohttp.InvalidUrlRedirectClientError: True,  # of a redirect: there was an answer
    aiohttp.NonHttpUrlRedirectClientError: True,
    aiohttp.ClientError: True,
    OSError: True,  # TimeoutError included: aiohttp's whole-exchange timeout
}


def translate(error: Exception) -> TransportError:
    """Translate what aiohttp raised: was the request sent, and what was seen."""
    sent = next((SENT[base] for base in type(error).__mro__ if base in SENT), True)
    return TransportError(_reason(error), sent=sent)


def _was_sent(error: BaseException, attempt: Attempt) -> bool:
    """Tell whether Keevx may have seen the request.

    1. A connection took it: it may have.
    2. A connector looked for a connection and returned none: it cannot have, whatever the error.
    3. No connector was asked, and aiohttp refused what it was given: likewise.
    4. No connector was asked, and the error looks like one of an exchange: whoever raised it in
       aiohttp's stead (a mock) means what the exception's type says.
    """
    if attempt.tap is not None:
        return True
    if attempt.connecting:
        return False
    if isinstance(error, aiohttp.ClientError | OSError):
        return translate(error).sent
    return isinstance(error, asyncio.CancelledError)


def _reason(error: Exception) -> str:
    """Name an error without its URL, whose query may hold a signature."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    said = str(cause or "") if cause else ""
    if isinstance(error, TimeoutError) and not said:
        said = "timed out"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class Interruption(NamedTuple):
    """The first argument of a ``CancelledError`` that leaves an exchange other than a GET.

    Attributes:
        sent: False only where no connection had taken the request.
        reply: what had come of an answer, if any.
    """

    sent: bool
    reply: HttpResponse | None


def interruption_of(error: asyncio.CancelledError) -> Interruption:
    """Return how far a cancelled exchange had come; where nothing says so, it was sent."""
    found = next((one for one in error.args if isinstance(one, Interruption)), None)
    return found or Interruption(sent=True, reply=None)


class _LoopState(NamedTuple):
    """What is used on one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    connector: CheckedConnector
    deadlines: ExchangeTimer
    pool: AsyncGenerator[aiohttp.ClientSession]
    detours: dict[str | None, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession]]]
    """Sessions for hosts that are behind another SOCKS proxy than the API is, by that proxy."""


class AiohttpTransport:
    """Owns the connection pool: one for each event loop it is used in, opened when needed.

    Args:
        base_url: where the API lies.
        headers: sent with every API call, never to another host.
        timeout: for one exchange.
        session: a borrowed session, never closed. Its connector, headers, proxy and trace
            configs are used, and with ``trust_env`` the environment's proxies. Nothing else of
            it is: not its middlewares, cookies, timeouts or ``raise_for_status``, for they could
            change what an answer means, or send a paid request twice.

    Raises:
        ConfigurationError: the session has a header that cannot be sent, or a login of its own.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.host: str = urlsplit(base_url).netloc.rpartition("@")[2]
        self.timeout = timeout
        self.base_url: str = base_url.rstrip("/")
        self._headers = CIMultiDict(headers)
        self._json_headers = CIMultiDict({**headers, "Content-Type": "application/json"})
        self._parts = _without_total(timeout)
        if session is not None:
            check_lent(session, urlsplit(base_url).hostname or "")
        self._borrowed = session
        self._closed = False
        self._state: _LoopState | None = None
        self._proxies: dict[str, str | None] = {}
        self._tls = True if session is not None else tls_context(os.environ)
        proxy = self._find_proxy(self.base_url)
        self._api_socks: str | None = proxy if is_socks(proxy) else None
        self._api_proxy: str | None = None if self._api_socks else proxy

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transport holds the API key and cannot be pickled or copied")

    def secrets(self) -> list[str]:
        """Return what must not be quoted from an answer, which may echo our request's headers.

        The API key, and the values of extra headers that are long enough to be one.
        """
        key = self._headers.get("Authorization", "").removeprefix("Bearer ")
        others = [value for name, value in self._headers.items() if name not in _OPEN_HEADERS]
        return [key, *(value for value in others if len(value) >= SHORTEST_SECRET)]

    async def session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop, opened if need be.

        Raises:
            ConfigurationError: this was closed, or the borrowed session was.
        """
        return (self._ready() or await self._open()).session

    def _ready(self) -> _LoopState | None:
        """Return what there is for the running loop, if it can be used."""
        here = self._state
        if here is None or here.loop is not asyncio.get_running_loop() or here.session.closed:
            return None
        if self._borrowed is not None and self._borrowed.closed:
            return None
        return here

    async def _open(self) -> _LoopState:
        if self._closed:
            raise ConfigurationError(CLIENT_CLOSED)
        loop, lent = asyncio.get_running_loop(), self._borrowed
        if lent is not None and lent.closed:
            raise ConfigurationError("the session given as session= is closed; give an open one")
        if lent is not None and getattr(lent, "_loop", loop) is not loop:
            raise ConfigurationError(
                "the session given as session= belongs to another event loop; "
                "make it in the one that it is used in"
            )
        pool = open_pool(self.timeout, lent, self._tls, self._api_socks)
        session = await anext(pool)
        connector = session.connector
        assert isinstance(connector, CheckedConnector)  # noqa: S101 - for type checkers
        here = _LoopState(loop, session, connector, ExchangeTimer(self.timeout.total), pool, {})
        self._state = here
        return here

    async def route(self, url: URL) -> tuple[aiohttp.ClientSession, str | None]:
        """Return the session for a request to url, and the HTTP proxy to name in the request.

        Raises:
            ConfigurationError: as of ``session`` and ``proxy``.
        """
        here = self._ready() or await self._open()
        proxy = self.proxy(url)
        socks, http = (proxy, None) if is_socks(proxy) else (None, proxy)
        if self._borrowed is not None or socks == self._api_socks:
            return here.session, http
        if socks not in here.detours:
            pool = open_pool(self.timeout, None, self._tls, socks)
            here.detours[socks] = (await anext(pool), pool)
        return here.detours[socks][0], http

    def proxy(self, url: URL) -> str | None:
        """Return the proxy the environment names for url's origin, asked for once.

        Raises:
            ConfigurationError: it names what is not a proxy, or SOCKS without the extra for it.
        """
        origin = str(url.origin())
        return self._proxies[origin] if origin in self._proxies else self._find_proxy(origin)

    def _find_proxy(self, origin: str) -> str | None:
        lent, found = self._borrowed, None
        if (lent is None or lent.trust_env) and not proxy_bypass(urlsplit(origin).hostname or ""):
            found = find_proxy(origin, getproxies())
        if is_socks(found):
            require_socks()
        self._proxies[origin] = found
        return found

    async def exchange(self, call: HttpRequest) -> HttpResponse:
        """Send call once and return the answer, or what came of it.

        Raises:
            Fault: there was no answer.
            ConfigurationError: aiohttp cannot send it; nothing was sent.
            CancelledError: with an ``Interruption``, unless the call is a GET.
        """
        here = self._ready() or await self._open()
        attempt = Attempt(once=call.method != "GET")
        ATTEMPT.set(attempt)
        try:
            with Deadline(here.deadlines if not call.allowance else self._extended(call)):
                answer = await here.session.request(
                    call.method,
                    URL(self.base_url + call.path, encoded=True),
                    data=call.body,
                    headers=self._json_headers if isinstance(call.body, bytes) else self._headers,
                    timeout=self._parts,
                    allow_redirects=False,
                    auto_decompress=False,
                    proxy=self._api_proxy,
                )
                content = answer.content
                body = content.read_nowait() if content.is_eof() else await _read(answer)
                if not answer.closed:  # too long, or it wants to speak another protocol
                    answer.close()
        except asyncio.CancelledError as error:
            if attempt.once:
                reply = _salvaged(attempt, "cancelled before its end")
                error.args = (Interruption(_was_sent(error, attempt), reply),)
            raise
        except Exception as error:  # noqa: BLE001 - nothing raw leaves an exchange
            failure = _failure(error, attempt, self.host)
        else:
            headers = answer.headers
            reply = _reply(answer.status, headers, body, "")
            tap = attempt.tap
            if tap is not None:
                tap.finish(body, here.loop.time())
                if (keep_alive := headers.get(_KEEP_ALIVE)) is not None:
                    here.connector.heed(keep_alive)
            log.debug("%s %s: HTTP %d", call.method, call.path, reply.status)
            return reply
        finally:
            ATTEMPT.set(None)
        # Out here, so that it has no cause: some of aiohttp's errors hold the request's headers.
        tap = attempt.tap
        if attempt.once and tap is not None and tap.reused and not tap.received:
            here.connector.distrust(here.loop.time())
        if isinstance(failure, HttpResponse):
            log.debug("%s %s: HTTP %d, %s", call.method, call.path, failure.status, failure.reason)
            return failure
        log.debug("%s %s: %s", call.method, call.path, failure)
        raise failure

    def _extended(self, call: HttpRequest) -> ExchangeTimer:
        total = self.timeout.total
        return ExchangeTimer(total and total + call.allowance)

    async def close(self) -> None:
        """Close the pool, for good. A borrowed session stays open."""
        self._closed = True
        here, self._state = self._state, None
        if here is None or here.loop is not asyncio.get_running_loop():
            return  # what is under way in a borrowed session still meets its deadline
        await here.pool.aclose()
        for _, pool in here.detours.values():
            await pool.aclose()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Return a body to its end, or until it is too long."""
    parts, size = list[bytes](), 0
    try:
        while size <= LONGEST_BODY and (part := await answer.content.readany()):
            parts.append(part)
            size += len(part)
    except BaseException:
        answer.close()
        raise
    return b"".join(parts)


def _reply(status: int, headers: Mapping[str, str], body: bytes, reason: str) -> HttpResponse:
    encoding = headers.get(_CONTENT_ENCODING)
    if encoding is not None or len(body) > LONGEST_BODY:
        body, wrong = decode_body(body, encoding or "")
        reason = reason or wrong
    return HttpResponse(status, headers, body, not reason, reason)


def _salvaged(attempt: Attempt, reason: str) -> HttpResponse | None:
    """Return what came of an answer that aiohttp gave up, read from its raw bytes."""
    tap = attempt.tap
    answer = read_answer(b"".join(tap.received)) if tap is not None and tap.received else None
    if answer is None:
        return None
    body = answer.body
    return _reply(answer.status, CIMultiDict(answer.headers), body, reason * (not answer.complete))


def _failure(
    error: Exception, attempt: Attempt, host: str
) -> HttpResponse | TransportError | ConfigurationError:
    """Return what an exception of aiohttp's comes to."""
    sent, reason = _was_sent(error, attempt), _reason(error)
    if sent:
        return _salvaged(attempt, reason) or TransportError(reason, sent=True)
    if isinstance(error, ValueError | TypeError) and not isinstance(error, aiohttp.ClientError):
        return ConfigurationError(f"nothing can be sent to {host}: {type(error).__name__}: {error}")
    return TransportError(reason, sent=False)
