"""Opens the aiohttp session that exchanges go through, over a connector of ours or a lent one."""

from __future__ import annotations

import netrc
import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import aiohttp
from multidict import CIMultiDict

from ..errors import ConfigurationError
from .connections import CheckedConnector
from .socks import socks_connector

LONGEST_HEADER = 2**16
MOST_HEADERS = 1_000
"""aiohttp's own limits, 8,190 bytes and 128 headers, guard servers. On an answer that carries
paid ids they do harm."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\r\n\0]")


def _check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers of a lent session that cannot be sent.

    Raises:
        ConfigurationError: a name or a value is no text, or holds what no header may.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"session=: {name!r} is not a header's name")
        try:
            bad = _NOT_IN_A_VALUE.search(value) is not None
            value.encode()
        except (TypeError, UnicodeEncodeError):
            bad = True
        if bad:
            raise ConfigurationError(
                f"session=: the value of the header {name} must be a string without line breaks"
            )


def check_borrowed(session: aiohttp.ClientSession, host: str) -> None:
    """Refuse a session whose own login would stand in the API key's place."""
    _check_headers(session.headers)
    if getattr(session, "auth", None) is not None:
        raise ConfigurationError(
            "the session given as session= has auth=, which would replace the API key: "
            "give a session without it"
        )
    if session.trust_env and _has_netrc_login(host):
        raise ConfigurationError(
            "the session given as session= has trust_env=True, and netrc holds a login for "
            f"{host}, which would replace the API key: remove the one or the other"
        )


def _has_netrc_login(host: str) -> bool:
    try:
        path = os.environ.get("NETRC") or Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):
        return False  # none, or none that can be read: aiohttp takes no login from it either


async def open_pool(
    timeout: aiohttp.ClientTimeout,
    lent: aiohttp.ClientSession | None,
    tls: ssl.SSLContext | bool,
    socks: str | None,
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a session that closes with the generator; a lent one's connector stays open.

    A generator, because a loop that ends closes those it still has (``shutdown_asyncgens``):
    a client that outlives its loop leaves no socket behind.

    Args:
        timeout: of its requests.
        lent: a session that its user made.
        tls: what TLS trusts, unless a session is lent.
        socks: the SOCKS proxy that leads to all hosts, if any, likewise.
    """
    if lent is not None:
        connector = lent.connector
        assert connector is not None, "an open session has one"  # noqa: S101 - for type checkers
        async with _session(timeout, connector, lent) as session:
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
    lent: aiohttp.ClientSession | None,
) -> aiohttp.ClientSession:
    """Return a session of ours; of a lent one, it has what changes no answer's meaning."""
    return aiohttp.ClientSession(
        connector=CheckedConnector(connector),
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
        max_headers=MOST_HEADERS + 2,  # aiohttp counts the status line and the empty one
        headers=_headers(lent),
        trace_configs=lent.trace_configs if lent else None,
        # The one thing of a session that users set and aiohttp shows nowhere.
        proxy=getattr(lent, "_default_proxy", None),
        proxy_auth=getattr(lent, "_default_proxy_auth", None),
    )


def _headers(lent: aiohttp.ClientSession | None) -> CIMultiDict[str]:
    """Return what each request has: of a lent session all but its login.

    API calls have the API key in its place, and downloads, which go to other hosts, none.
    """
    headers = CIMultiDict(lent.headers if lent else {})
    headers.popall("Authorization", None)
    headers["Accept-Encoding"] = "gzip, deflate"  # framing.py decodes nothing else
    return headers
