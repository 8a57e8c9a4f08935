"""Performs one exchange over aiohttp, keeping every byte received. Never sends anything twice."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
from attrs import define
from multidict import CIMultiDict, istr
from yarl import URL

from ..errors import ConfigurationError, request_id_of
from ..events import Emit, Exchange
from .api_key import KeySource
from .certificates import tls_context
from .connections import ATTEMPT, Attempt, CheckedConnector
from .failures import reason_of, was_sent
from .framing import MAX_BODY, decode_body, read_answer
from .pool import check_borrowed, open_pool
from .proxies import find_proxy, is_socks
from .retry import ATTEMPT_NUMBER, correlation, retry_after
from .socks import require_socks
from .timeouts import ExchangeTimer
from .verdict import TransportError

log = logging.getLogger("keevx_async.http")

CLIENT_CLOSED = "this client is closed; create a new Keevx()"

JSON = "application/json"
MIN_SECRET = 8  # characters; a shorter header value is not a key
_KEEP_ALIVE = istr("Keep-Alive")
_CONTENT_ENCODING = istr("Content-Encoding")
_OPEN_HEADERS = ("Authorization", "User-Agent")


@define
class HttpRequest:
    """One API request. Treated as immutable.

    Attributes:
        method: the HTTP method. Anything but a GET is sent only on a safe connection.
        path: the path below the base URL, already percent-encoded.
        body: JSON, or a form.
        allowance: seconds added to the timeout, for a large body.
        key: the create's key; empty for a free request.
    """

    method: str
    path: str
    body: bytes | aiohttp.FormData | None = None
    allowance: float = 0.0
    key: str = ""


@define
class HttpResponse:
    """One response, complete or partial. Treated as immutable.

    Attributes:
        status: the HTTP status.
        headers: the headers; names are case-insensitive.
        body: the decoded body, at most 1 MiB.
        complete: False if the body is incomplete because the connection broke, the framing or
            encoding was malformed, time ran out, or the body was longer than 1 MiB. ``body`` then
            contains the part that had arrived.
        reason: why the body is incomplete, without any URL query, key or body text.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True
    reason: str = ""

    def retry_after(self, now: float) -> float | None:
        """Return the delay that the server asks for, in seconds; None without a valid header.

        A date in the past counts as 0.

        Args:
            now: seconds since the epoch, by our own clock.
        """
        return retry_after(self.headers, now)


class Transport(Protocol):
    """Sends one request and returns its response. Tests replace it with a scripted transport."""

    async def exchange(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and return the response, complete or not.

        Raises:
            TransportError: no response arrived; ``sent`` is False only if nothing was sent.
        """
        ...


class Interruption(NamedTuple):
    """The first argument of the ``CancelledError`` from a cancelled exchange other than a GET.

    Attributes:
        sent: False only if no connection had taken the request.
        response: the part of the response that had arrived, if any.
    """

    sent: bool
    response: HttpResponse | None


def interruption_of(error: asyncio.CancelledError) -> Interruption:
    """Return the progress of a cancelled exchange.

    Without an ``Interruption`` in the error, the request counts as sent and the response as lost.
    """
    interruption = next((arg for arg in error.args if isinstance(arg, Interruption)), None)
    return interruption or Interruption(sent=True, response=None)


class _LoopState(NamedTuple):
    """A transport's resources on one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    connector: CheckedConnector
    timer: ExchangeTimer
    pool: AsyncGenerator[aiohttp.ClientSession]
    # Sessions for hosts with a different SOCKS proxy from the API's, keyed by that proxy.
    detours: dict[str | None, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession]]]


@define
class _Shared:
    """State shared by a transport and the transports that its ``with_options`` returns."""

    state: _LoopState | None = None
    closed: bool = False


class AiohttpTransport:
    """Sends requests through a connection pool, which it opens on each event loop that uses it.

    Args:
        base_url: the API's base URL.
        headers: sent with every API call, never to another host.
        timeout: the timeout of one exchange.
        session: a borrowed session, which is never closed. Its connector, headers, proxy and trace
            configs are used, and with ``trust_env`` also the environment's proxies. Its
            middlewares, cookies, timeouts and ``raise_for_status`` are not used: they could change
            the meaning of a response, or send a paid request twice.
        key: the source of the API key if a function returns it; None if the key is in ``headers``.
        emit: receives an Exchange event for each exchange.

    Attributes:
        host: the API's host, with its port.
        base_url: the base URL without a trailing slash.
        timeout: the timeout of one exchange.

    Raises:
        ConfigurationError: the session has a header that cannot be sent, or its own credentials;
            or the environment names a proxy or certificates that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        session: aiohttp.ClientSession | None = None,
        key: KeySource | None = None,
        emit: Emit | None = None,
    ) -> None:
        self.host: str = urlsplit(base_url).netloc.rpartition("@")[2]
        self.base_url: str = base_url.rstrip("/")
        self.key = key
        self._emit = emit
        self._set_options(headers, timeout)
        self._own_timeout = False
        if session is not None:
            check_borrowed(session, urlsplit(base_url).hostname or "")
        self._borrowed = session
        self._shared = _Shared()
        self._proxies: dict[str, str | None] = {}
        self._create_urls: dict[str, URL] = {}
        self._tls = True if session is not None else tls_context(os.environ)
        proxy = self._find_proxy(self.base_url)
        self._api_socks: str | None = proxy if is_socks(proxy) else None
        self._api_proxy: str | None = None if self._api_socks else proxy

    def _set_options(self, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout) -> None:
        self.timeout = timeout
        self._headers = CIMultiDict(headers)
        # aiohttp's part of the timeout; our own timer limits the whole exchange.
        self._phase_timeout = attrs.evolve(timeout, total=None)

    def with_options(
        self, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout | None
    ) -> AiohttpTransport:
        """Return a transport with other headers or another timeout, over the same connections.

        Closing either transport closes both.

        Args:
            headers: the headers to add; existing headers of the same name are replaced.
            timeout: the timeout of one exchange; None to keep this transport's.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        merged = CIMultiDict(self._headers)
        merged.update(headers)
        other._set_options(merged, timeout or self.timeout)
        other._own_timeout = self._own_timeout or timeout is not None
        return other

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transport holds the API key and cannot be pickled or copied")

    def secrets(self) -> list[str]:
        """Return the values to mask in quoted responses, which may echo our headers.

        These are the API key, and the values of extra headers that are long enough to be a key.
        """
        key = self._headers.get("Authorization", "").removeprefix("Bearer ")
        others = [value for name, value in self._headers.items() if name not in _OPEN_HEADERS]
        keys = [key] if self.key is None else self.key.keys
        return [*keys, *(value for value in others if len(value) >= MIN_SECRET)]

    async def session(self) -> aiohttp.ClientSession:
        """Return the running event loop's session, opening it if necessary.

        Raises:
            ConfigurationError: this transport is closed, or the borrowed session cannot be used.
        """
        return (self._ready() or await self._open()).session

    def _ready(self) -> _LoopState | None:
        # Nobody else has the session, so only its connector can have been closed.
        state, borrowed = self._shared.state, self._borrowed
        if state is None or state.loop is not asyncio.get_running_loop():
            return None
        if state.connector.closed or (borrowed is not None and borrowed.closed):
            return None
        return state

    async def _open(self) -> _LoopState:
        if self._shared.closed:
            raise ConfigurationError(CLIENT_CLOSED)
        loop, borrowed = asyncio.get_running_loop(), self._borrowed
        if borrowed is not None and borrowed.closed:
            raise ConfigurationError("the session passed as session= is closed; pass an open one")
        if borrowed is not None and getattr(borrowed, "_loop", loop) is not loop:
            raise ConfigurationError(
                "the session passed as session= belongs to another event loop; "
                "create it on the loop that uses it"
            )
        pool = open_pool(self.timeout, borrowed, self._tls, self._api_socks)
        session = await anext(pool)
        connector = session.connector
        assert isinstance(connector, CheckedConnector)  # noqa: S101 - for type checkers
        timer = ExchangeTimer(self.timeout.total)
        state = self._shared.state = _LoopState(loop, session, connector, timer, pool, {})
        return state

    async def route(self, url: URL) -> tuple[aiohttp.ClientSession, str | None]:
        """Return the session and the HTTP proxy to use for a request to url.

        Raises:
            ConfigurationError: see ``session`` and ``proxy``.
        """
        state = self._ready() or await self._open()
        proxy = self.proxy(url)
        socks, http = (proxy, None) if is_socks(proxy) else (None, proxy)
        if self._borrowed is not None or socks == self._api_socks:
            return state.session, http
        if socks not in state.detours:
            pool = open_pool(self.timeout, None, self._tls, socks)
            state.detours[socks] = (await anext(pool), pool)
        return state.detours[socks][0], http

    def proxy(self, url: URL) -> str | None:
        """Return the environment's proxy for url's origin, or None for a direct connection.

        The environment is read once per origin.

        Raises:
            ConfigurationError: the setting is not a proxy URL, or it is a SOCKS proxy and the
                ``socks`` extra is not installed.
        """
        origin = str(url.origin())
        return self._proxies[origin] if origin in self._proxies else self._find_proxy(origin)

    def _find_proxy(self, origin: str) -> str | None:
        proxy, trusted = None, self._borrowed is None or self._borrowed.trust_env
        if trusted and not proxy_bypass(urlsplit(origin).hostname or ""):
            proxy = find_proxy(origin, getproxies())
        if is_socks(proxy):
            require_socks()
        self._proxies[origin] = proxy
        return proxy

    async def exchange(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and return the response, or the part of it that arrived.

        Raises:
            TransportError: no response arrived.
            ConfigurationError: aiohttp cannot send the request; nothing was sent.
            CancelledError: the exchange was cancelled; has an ``Interruption`` unless it is a GET.
        """
        method, path, body = request.method, request.path, request.body
        state = self._ready() or await self._open()
        data = aiohttp.BytesPayload(body, content_type=JSON) if isinstance(body, bytes) else body
        headers = self._headers
        if self.key is not None:
            headers = headers.copy()
            headers["Authorization"] = f"Bearer {await self.key.current()}"
        timer = state.timer
        if self._own_timeout or (request.allowance and timer.seconds is not None):
            timer = ExchangeTimer(self.timeout.total and self.timeout.total + request.allowance)
        attempt = Attempt(timer, once=method != "GET")
        ATTEMPT.set(attempt)
        observed = self._emit is not None or log.isEnabledFor(logging.DEBUG)
        try:
            with attempt:
                url = self._create_urls.get(path)  # a query's path contains its task's id
                if url is None:
                    url = URL(self.base_url + path, encoded=True)
                    if method == "POST":
                        self._create_urls[path] = url
                answer = await state.session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    timeout=self._phase_timeout,
                    allow_redirects=False,
                    proxy=self._api_proxy,
                )
                content = answer.content
                sent_body = content.read_nowait() if content.is_eof() else await _read(answer)
                if not answer.closed:  # the body is too long, or it is a protocol upgrade
                    answer.close()
        except asyncio.CancelledError as error:
            if attempt.once:
                partial = _salvage(attempt, "cancelled before it was complete")
                error.args = (Interruption(was_sent(error, attempt), partial),)
            raise
        except Exception as error:  # noqa: BLE001 - nothing raw leaves an exchange
            failure = self._failure(error, attempt)
        else:
            received, tap = answer.headers, attempt.tap
            response = _response(answer.status, received, sent_body, "")
            if tap is not None:
                tap.finish(sent_body, state.loop.time())
                if (keep_alive := received.get(_KEEP_ALIVE)) is not None:
                    state.connector.observe_keep_alive(keep_alive)
            if observed:
                self._observe(request, response, state.loop.time() - attempt.began)
            return response
        finally:
            ATTEMPT.set(None)
        # Raised here, without a cause: some aiohttp errors contain the request's headers.
        tap = attempt.tap
        if attempt.once and tap is not None and tap.reused and not tap.received:
            state.connector.distrust(state.loop.time())
        self._observe(request, failure, state.loop.time() - attempt.began)
        if isinstance(failure, HttpResponse):
            return failure
        raise failure

    def _observe(
        self, request: HttpRequest, outcome: HttpResponse | Exception, seconds: float
    ) -> None:
        """Log an exchange, and emit its event."""
        status, request_id, reason = None, "", str(outcome)
        if isinstance(outcome, HttpResponse):
            status, reason = outcome.status, outcome.reason
            request_id = request_id_of(outcome.headers)
        attempt = ATTEMPT_NUMBER.get()
        method, path, key = request.method, request.path, request.key
        if log.isEnabledFor(logging.DEBUG):
            what = ", ".join(filter(None, ["" if status is None else f"HTTP {status}", reason]))
            extra = correlation(key, seconds, status, request_id)
            extra |= {"method": method, "path": path}
            log.debug("%s %s: %s", method, path, what, extra=extra)
        if self._emit is not None:
            self._emit(Exchange(method, path, status, seconds, key, attempt, request_id, reason))

    def _failure(
        self, error: Exception, attempt: Attempt
    ) -> HttpResponse | TransportError | ConfigurationError:
        # The result of an aiohttp exception:
        # 1. The request may have been sent, and a response arrived, complete or not: the response.
        # 2. It may have been sent, and no response arrived: a TransportError with sent=True.
        # 3. aiohttp rejected the arguments: a ConfigurationError, since the caller must fix them.
        # 4. It was not sent: a TransportError with sent=False.
        sent, reason = was_sent(error, attempt), reason_of(error)
        if sent:
            return _salvage(attempt, reason) or TransportError(reason, sent=True)
        if isinstance(error, ValueError | TypeError) and not isinstance(error, aiohttp.ClientError):
            what = f"{type(error).__name__}: {error}"
            return ConfigurationError(f"nothing can be sent to {self.host}: {what}")
        return TransportError(reason, sent=False)

    async def close(self) -> None:
        """Close the pool permanently. A borrowed session is left open."""
        self._shared.closed = True
        state, self._shared.state = self._shared.state, None
        if state is None or state.loop is not asyncio.get_running_loop():
            return  # exchanges in a borrowed session still time out
        await state.pool.aclose()
        for _, pool in state.detours.values():
            await pool.aclose()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Read a body to its end, or until it exceeds ``MAX_BODY``."""
    parts, size = list[bytes](), 0
    try:
        while size <= MAX_BODY and (part := await answer.content.readany()):
            parts.append(part)
            size += len(part)
    except BaseException:
        answer.close()
        raise
    return b"".join(parts)


def _response(status: int, headers: Mapping[str, str], body: bytes, reason: str) -> HttpResponse:
    encoding = headers.get(_CONTENT_ENCODING)
    if encoding is not None or len(body) > MAX_BODY:
        body, wrong = decode_body(body, encoding or "")
        reason = reason or wrong
    return HttpResponse(status, headers, body, not reason, reason)


def _salvage(attempt: Attempt, reason: str) -> HttpResponse | None:
    """Rebuild a response from its raw bytes after aiohttp gave up; None if that is impossible."""
    tap = attempt.tap
    answer = read_answer(b"".join(tap.received)) if tap is not None and tap.received else None
    if answer is None:
        return None
    headers, reason = CIMultiDict(answer.headers), "" if answer.complete else reason
    return _response(answer.status, headers, answer.body, reason)
