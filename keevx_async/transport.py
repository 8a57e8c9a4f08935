"""One exchange over aiohttp, and the connection pool it uses. Nothing here repeats anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .deadlines import Deadline, Deadlines
from .errors import ConfigurationError
from .verdict import Fault

log = logging.getLogger("keevx_async")

CLOSED = "this client was closed; make a new Keevx()"

LONGEST_CONNECT = 10.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Call(NamedTuple):
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


class Reply(NamedTuple):
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


def whole_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return a timeout for one exchange.

    Connecting gets its own, shorter one: a connect that times out is known not to have sent
    anything, a whole exchange that does is not.
    """
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(LONGEST_CONNECT, seconds / 2))


def _without_total(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return what aiohttp still has to watch where Deadlines watch the whole."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=timeout.connect,
        sock_read=timeout.sock_read,
        sock_connect=timeout.sock_connect,
        ceil_threshold=timeout.ceil_threshold,
    )


class Exchange(Protocol):
    """The seam that tests script: one request, one answer, or a Fault."""

    async def exchange(self, call: Call) -> Reply:
        """Send call once and return the whole answer, or raise Fault."""
        ...


# Looked up along an exception's bases, nearest first: was the request, as far as can be
# known, sent? False only where aiohttp raises it before the first byte of a request.
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


def fault_of(error: Exception) -> Fault:
    """Translate what aiohttp raised: was the request sent, and what was seen."""
    sent = next((SENT[base] for base in type(error).__mro__ if base in SENT), True)
    return Fault(_reason(error), sent=sent)


def _reason(error: Exception) -> str:
    """Name an error without its URL, whose query may hold a signature."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    said = str(cause or "") if cause else ""
    if isinstance(error, TimeoutError) and not said:
        said = "timed out"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class _Here(NamedTuple):
    """What is used on one event loop; there is no pool where the session is borrowed."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    deadlines: Deadlines
    pool: AsyncGenerator[aiohttp.ClientSession] | None


class Transport:
    """Owns the connection pool: one for each event loop it is used in, opened when needed.

    Args:
        base_url: where the API lies.
        headers: sent with every API call, never to another host.
        timeout: for one exchange.
        session: a borrowed session, used as it is and never closed.
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
        self._base = base_url.rstrip("/")
        self._headers = CIMultiDict(headers)
        self._json_headers = CIMultiDict({**headers, "Content-Type": "application/json"})
        self._parts = _without_total(timeout)
        self._borrowed = session
        self._closed = False
        self._here: _Here | None = None
        self._proxies: dict[str, str | None] = {}
        self._api_proxy = self._find_proxy(self._base)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transport holds the API key and cannot be pickled or copied")

    async def session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop, opened if need be.

        Raises:
            ConfigurationError: this was closed, or the borrowed session was.
        """
        return (self._ready() or await self._open()).session

    def _ready(self) -> _Here | None:
        """Return what there is for the running loop, if it can be used."""
        here = self._here
        if here is None or here.loop is not asyncio.get_running_loop() or here.session.closed:
            return None
        return here

    async def _open(self) -> _Here:
        if self._closed:
            raise ConfigurationError(CLOSED)
        pool, session = None, self._borrowed
        if session is None:
            pool = _open_pool(self.timeout)
            session = await anext(pool)
        elif session.closed:
            raise ConfigurationError("the session given as session= is closed; give an open one")
        loop = asyncio.get_running_loop()
        here = self._here = _Here(loop, session, Deadlines(self.timeout.total), pool)
        return here

    def proxy(self, url: URL) -> str | None:
        """Return the proxy the environment names for url's origin, asked for once."""
        origin = str(url.origin())
        return self._proxies[origin] if origin in self._proxies else self._find_proxy(origin)

    def _find_proxy(self, origin: str) -> str | None:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        free = self._borrowed is not None or host in _LOOPBACK or proxy_bypass(host)
        found = self._proxies[origin] = None if free else getproxies().get(parts.scheme)
        return found

    async def exchange(self, call: Call) -> Reply:
        """Send call once and return the whole answer.

        Raises:
            Fault: there was no answer.
        """
        here = self._ready() or await self._open()
        try:
            with Deadline(here.deadlines if not call.allowance else self._extended(call)):
                answer = await here.session.request(
                    call.method,
                    URL(self._base + call.path, encoded=True),
                    data=call.body,
                    headers=self._json_headers if isinstance(call.body, bytes) else self._headers,
                    timeout=self._parts,
                    allow_redirects=False,
                    proxy=self._api_proxy,
                )
                # Read to its end it is released, and when that fails read() closes it: no
                # ``async with`` is needed, which costs as much as all the rest of this.
                content = answer.content
                body = content.read_nowait() if content.is_eof() else await answer.read()
                reply = Reply(answer.status, answer.headers, body)
                if not answer.closed:  # it wants to speak another protocol
                    answer.release()
        except (aiohttp.ClientError, OSError) as error:
            fault = fault_of(error)
        else:
            log.debug("%s %s: HTTP %d", call.method, call.path, reply.status)
            return reply
        # Out here, so that it has no cause: some of aiohttp's errors hold the request's headers.
        log.debug("%s %s: %s", call.method, call.path, fault.reason)
        raise fault

    def _extended(self, call: Call) -> Deadlines:
        total = self.timeout.total
        return Deadlines(total and total + call.allowance)

    async def close(self) -> None:
        """Close the pool, for good. A borrowed session stays open."""
        self._closed = True
        here, self._here = self._here, None
        if here is None or here.loop is not asyncio.get_running_loop():
            return  # what is under way in a borrowed session still meets its deadline
        if here.pool is not None:
            await here.pool.aclose()


async def _open_pool(timeout: aiohttp.ClientTimeout) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a session that closes with the generator.

    A generator, because a loop that ends closes those it still has (``shutdown_asyncgens``):
    a client that outlives its loop leaves no socket behind.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
    ) as session:
        yield session
