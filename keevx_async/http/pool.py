"""Opens the aiohttp session for exchanges, with our own connector or a borrowed session's."""

from __future__ import annotations

import netrc
import os
import re
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
from multidict import CIMultiDict

from ..errors import ConfigurationError
from .connections import CheckedConnector, NoCookies
from .socks import socks_connector

# aiohttp's own limits, 8,190 bytes and 128 headers, protect servers. Here they could reject a
# response that contains paid task ids.
MAX_HEADER_SIZE = 2**16
"""The maximum size, in bytes, of a response header or of the status line."""
MAX_HEADERS = 1_000

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\r\n\0]")


def check_borrowed(session: aiohttp.ClientSession, host: str) -> None:
    """Check that requests can be sent through a borrowed session and will carry our API key.

    Args:
        session: the user's session.
        host: the API's host, without a port.

    Raises:
        ConfigurationError: one of the session's headers cannot be sent, or the session or netrc
            has credentials that would replace the API key.
    """
    for name, value in session.headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"session=: {name!r} is not a valid header name")
        try:
            bad = _FORBIDDEN_IN_VALUE.search(value) is not None
            value.encode()
        except (TypeError, UnicodeEncodeError):
            bad = True
        if bad:
            raise ConfigurationError(
                f"session=: the value of header {name} must be a string without line breaks"
            )

    if getattr(session, "auth", None) is not None:
        raise ConfigurationError(
            "the session passed as session= has auth=, which would replace the API key: "
            "pass a session without it"
        )
    if not session.trust_env:
        return
    try:
        path = os.environ.get("NETRC") or Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
        login = netrc.netrc(path).authenticators(host)
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):
        return  # no readable netrc: aiohttp uses no login from it either
    if login is not None:
        raise ConfigurationError(
            "the session passed as session= has trust_env=True, and netrc has a login for "
            f"{host}, which would replace the API key: remove one of them"
        )


async def open_pool(
    timeout: aiohttp.ClientTimeout,
    borrowed: aiohttp.ClientSession | None,
    tls: ssl.SSLContext | bool,
    socks: str | None,
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a session, and close it when the generator closes; leave a borrowed connector open.

    This is a generator because an event loop closes its remaining async generators when it shuts
    down (``shutdown_asyncgens``). A client that outlives its loop therefore leaves no sockets open.

    Args:
        timeout: the timeout for the session's requests.
        borrowed: the user's session, whose connector is used.
        tls: the TLS context; not used with a borrowed session.
        socks: the SOCKS proxy for all hosts, if any; not used with a borrowed session.
    """
    if borrowed is not None:
        connector = borrowed.connector
        assert connector is not None, "an open session has a connector"  # noqa: S101 - for type checkers
        async with _session(timeout, connector, borrowed) as session:
            yield session
        return
    async with (
        (
            aiohttp.TCPConnector(limit=0, ssl=tls)
            if socks is None
            else socks_connector(socks, limit=0, ssl=tls)
        ) as connector,
        _session(timeout, connector, None) as session,
    ):
        yield session


def _session(
    timeout: aiohttp.ClientTimeout,
    connector: aiohttp.BaseConnector,
    borrowed: aiohttp.ClientSession | None,
) -> aiohttp.ClientSession:
    """Return our own session, with the borrowed settings that do not affect responses."""
    # API calls carry the API key instead of a login; downloads, from other hosts, carry neither.
    headers = CIMultiDict(borrowed.headers if borrowed else {})
    headers.popall("Authorization", None)
    headers.popall("Content-Type", None)  # each body has its own
    headers["Accept-Encoding"] = "gzip, deflate"  # framing.py decodes nothing else
    return aiohttp.ClientSession(
        connector=CheckedConnector(connector),
        connector_owner=False,
        cookie_jar=NoCookies(),
        timeout=timeout,
        auto_decompress=False,  # framing.py decodes
        max_line_size=MAX_HEADER_SIZE,
        max_field_size=MAX_HEADER_SIZE,
        max_headers=MAX_HEADERS + 2,  # aiohttp counts the status line and the empty line
        headers=headers,
        trace_configs=borrowed.trace_configs if borrowed else None,
        # The only user settings that aiohttp does not expose publicly.
        proxy=getattr(borrowed, "_default_proxy", None),
        proxy_auth=getattr(borrowed, "_default_proxy_auth", None),
    )
