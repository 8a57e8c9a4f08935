"""Chooses the proxy for an origin. Pure: the environment is passed as an argument."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import ConfigurationError

DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
SOCKS = frozenset({"socks", "socks4", "socks4a", "socks5", "socks5h"})
_SCHEMES = SOCKS | DEFAULT_PORTS.keys()
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def find_proxy(origin: str, settings: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for an origin, or None for a direct connection.

    The first rule that applies decides:

    1. This machine (``localhost``, ``*.localhost``, loopback addresses): no proxy.
    2. A host that NO_PROXY matches: no proxy.
    3. The scheme has its own proxy (HTTP_PROXY or HTTPS_PROXY): that proxy.
    4. ALL_PROXY is set: that proxy.
    5. Otherwise: no proxy.

    Args:
        origin: the origin, such as ``https://storage.example:8443``.
        settings: the result of ``urllib.request.getproxies()``: proxies under ``http``, ``https``
            and ``all``, and NO_PROXY under ``no``.

    Raises:
        ConfigurationError: the setting that applies is not a proxy URL.
    """
    parts = urlsplit(origin)
    host, scheme = _normalize(parts.hostname or ""), parts.scheme
    port = parts.port or DEFAULT_PORTS.get(scheme)
    address = _address(host)
    is_local = host == "localhost" or host.endswith(".localhost")
    if (address.is_loopback if address is not None else is_local) or is_excluded(
        host, port, settings.get("no", "")
    ):
        return None
    for name in (scheme, "all"):
        if proxy := settings.get(name, "").strip():
            return _check_proxy(proxy, f"{name.upper()}_PROXY")
    return None


def is_excluded(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether NO_PROXY exempts a host from proxies.

    Entries are separated by commas or spaces. An entry is ``*`` for every host; a domain, which
    includes its subdomains (``example.com``, ``.example.com`` and ``*.example.com`` are the
    same); an address; or a range of addresses such as ``10.0.0.0/8``. A domain or an address
    may end with a port, and then matches only that port. Names are not resolved, so addresses
    and ranges match only hosts that are written as addresses.

    Args:
        host: a name or an address, without brackets.
        port: the connection's port.
        no_proxy: the value of NO_PROXY.
    """
    host = _normalize(host)
    return any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def is_socks(proxy: str | None) -> bool:
    """Return whether a proxy URL has a SOCKS scheme; False for None, a direct connection."""
    return proxy is not None and urlsplit(proxy).scheme in SOCKS


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:  # not a range: ignore it, as other programs do
            return False
    # "host:port", "[address]:port", a host without a port, or a bare IPv6 address, which has
    # several colons and does not match.
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", entry)
    name = match[1].strip("[]") if match else entry
    if match and match[2] and int(match[2]) != port:
        return False
    if (wanted := _address(name)) is not None:
        return address == wanted
    domain = _normalize(name.removeprefix("*").removeprefix("."))
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _normalize(host: str) -> str:
    """Normalize a host for comparison: lower case, no trailing dot, IDNA-encoded."""
    bare = host.lower().removesuffix(".")
    try:
        return bare if bare.isascii() else bare.encode("idna").decode()
    except UnicodeError:
        return bare


def _check_proxy(proxy: str, setting: str) -> str:
    """Validate and return a proxy's URL, adding ``http://`` if it has no scheme, as curl does."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
        scheme = parts.scheme
    except ValueError:
        sound, scheme = False, "http"
    if not sound:
        raise ConfigurationError(f"{setting} must be the URL of a proxy, such as http://host:port")
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{setting} has the unsupported scheme {scheme!r}; "
            f"use one of {', '.join(sorted(_SCHEMES))}"
        )
    return url
