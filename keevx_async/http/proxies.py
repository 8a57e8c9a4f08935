"""Which proxy leads to an origin. Pure: the environment's settings are an argument."""

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
    """Return the URL of the proxy that leads to an origin, None for a direct connection.

    The first rule that applies decides:

    1. This machine (``localhost``, ``*.localhost``, loopback addresses) is reached directly.
    2. So is every host that NO_PROXY matches.
    3. The proxy of the origin's scheme (HTTP_PROXY or HTTPS_PROXY) is used.
    4. So is the one of ALL_PROXY.

    Args:
        origin: such as ``https://storage.example:8443``.
        settings: as ``urllib.request.getproxies()`` returns them: proxies by ``http``, ``https``
            and ``all``, and NO_PROXY under ``no``.

    Raises:
        ConfigurationError: the setting that applies is not the URL of a proxy.
    """
    parts = urlsplit(origin)
    host, scheme = _normal(parts.hostname or ""), parts.scheme
    port = parts.port or DEFAULT_PORTS.get(scheme)
    if _is_loopback(host) or is_excluded(host, port, settings.get("no", "")):
        return None
    for name in (scheme, "all"):
        if proxy := settings.get(name, "").strip():
            return _checked(proxy, f"{name.upper()}_PROXY")
    return None


def is_excluded(host: str, port: int | None, no_proxy: str) -> bool:
    """Tell whether NO_PROXY says that a host is reached directly.

    Entries are separated by commas or blanks. An entry is ``*`` for every host; a domain, which
    stands for its subdomains too (``example.com``, ``.example.com`` and ``*.example.com`` are
    the same); an address; or a range of addresses such as ``10.0.0.0/8``. A domain or an
    address may end with a port, and then holds for that port only. Names are not resolved, so
    addresses and ranges match hosts that are written as addresses.

    Args:
        host: a name or an address, without brackets.
        port: of the connection.
        no_proxy: the setting.
    """
    host = _normal(host)
    return any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def is_socks(proxy: str | None) -> bool:
    """Tell whether a proxy speaks SOCKS."""
    return proxy is not None and urlsplit(proxy).scheme in SOCKS


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:  # not a range: as other programs do, it is passed over
            return False
    name, only = _split_port(entry)
    if only is not None and only != port:
        return False
    if (wanted := _address(name)) is not None:
        return address == wanted
    domain = _normal(name.removeprefix("*").removeprefix("."))
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split ``host:port``, ``[address]:port``, a bare IPv6 address or a host without a port."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", entry)
    if found is None:  # several colons: an IPv6 address without brackets
        return entry, None
    return found[1].strip("[]"), int(found[2]) if found[2] else None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _normal(host: str) -> str:
    """Return a host as it is compared: lower case, no dot at its end, IDNA."""
    bare = host.lower().removesuffix(".")
    try:
        return bare if bare.isascii() else bare.encode("idna").decode()
    except UnicodeError:
        return bare


def _checked(proxy: str, setting: str) -> str:
    """Return a proxy's URL; one without a scheme is an HTTP proxy, as for curl."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
        scheme = parts.scheme
    except ValueError:
        sound, scheme = False, "http"
    if not sound:
        raise ConfigurationError(
            f"{setting} is not the URL of a proxy; write it as http://host:port"
        )
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{setting} names a proxy of the scheme {scheme!r}; "
            f"supported are {', '.join(sorted(_SCHEMES))}"
        )
    return url
