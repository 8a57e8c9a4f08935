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
    """One request: a method, a path below the base URL, a body."""

    method: str
    path: str
    body: bytes | aiohttp.FormData | None = None


class Reply(NamedTuple):
    """One whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
        self.host = urlsplit(base_url).netloc.rpartition("@")[2]
        self.timeout = timeout
        self._base = base_url.rstrip("/")
        self._headers = CIMultiDict(headers)
        self._json_headers = CIMultiDict({**headers, "Content-Type": "application/json"})
        self._parts = _without_total(timeout)
        self._deadlines: Deadlines | None = None
        self._borrowed = session
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: AsyncGenerator[aiohttp.ClientSession] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str | None] = {}
        self._api_proxy = self._find_proxy(self._base)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transport holds the API key and cannot be pickled or copied")

    @property
    def is_open(self) -> bool:
        """Whether a pool of its own is open."""
        return self._session is not None and not self._session.closed

    async def session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop, opened if need be.

        Raises:
            ConfigurationError: this was closed, or the borrowed session was.
        """
        if self._closed:
            raise ConfigurationError(CLOSED)
        if self._borrowed is not None:
            if self._borrowed.closed:
                raise ConfigurationError(
                    "the session given as session= is closed; give an open one"
                )
            return self._borrowed
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop or self._session.closed:
            self._pool = _open_pool(self.timeout)
            self._session, self._loop = await anext(self._pool), loop
        return self._session

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
        session = await self.session()
        try:
            with Deadline(self._here()):
                answer = await session.request(
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
                reply = Reply(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            fault = fault_of(error)
        else:
            log.debug("%s %s: HTTP %d", call.method, call.path, reply.status)
            return reply
        # Out here, so that it has no cause: some of aiohttp's errors hold the request's headers.
        log.debug("%s %s: %s", call.method, call.path, fault.reason)
        raise fault

    def _here(self) -> Deadlines:
        """Return the deadlines of the running loop."""
        here = self._deadlines
        if here is None or here.loop is not asyncio.get_running_loop():
            here = self._deadlines = Deadlines(self.timeout.total)
        return here

    async def close(self) -> None:
        """Close the pool, for good. A borrowed session stays open."""
        self._closed = True
        if self._deadlines is not None and self._deadlines.loop is asyncio.get_running_loop():
            self._deadlines.close()
        pool, self._pool, self._session = self._pool, None, None
        if pool is not None and self._loop is asyncio.get_running_loop():
            await pool.aclose()


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
