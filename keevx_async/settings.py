"""What a client is set up with: defaults named once, arguments checked once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import is_url
from .errors import ConfigurationError
from .journal import Journal, JournalProtocol, NoJournal
from .requests import Request
from .transport import whole_timeout
from .version import VERSION

if TYPE_CHECKING:
    import aiohttp

BASE_URL = "https://api.keevx.com"
CHINA = "https://api.keevx.cn"
"""The base URL of the China edition."""
EDITIONS: MutableMapping[str, Mapping[str, tuple[str, ...]]] = {CHINA: {"model": ("KL",)}}
"""What an edition lists, by its base URL and by the field of a request. Source: its docs."""
DEFAULT_TIMEOUT = 60.0
DEFAULT_CONNECTIONS = 512
DEFAULT_CONCURRENCY = 32


def base_url(given: str | None) -> str:
    """Return the base URL: the argument, ``KEEVX_BASE_URL``, or the vendor's."""
    url = given or os.environ.get("KEEVX_BASE_URL") or BASE_URL
    if not is_url(url) or "?" in url or "#" in url or "@" in url:
        raise ConfigurationError(
            f"the base URL {url!r} is not like {BASE_URL}: check base_url= or KEEVX_BASE_URL"
        )
    return url


def offered(url: str) -> Mapping[str, tuple[str, ...]]:
    """Return what the edition at a base URL lists; nothing where all is offered."""
    return EDITIONS.get(url.rstrip("/").lower(), {})


def api_headers(api_key: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of every API call, the key among them."""
    key = (api_key or os.environ.get("KEEVX_API_KEY") or "").strip()
    if not key:
        raise ConfigurationError("no API key: set KEEVX_API_KEY, or give Keevx(api_key=…)")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the API key holds characters that no key has; copy it again")
    return {
        "User-Agent": f"keevx_async/{VERSION}",
        **(extra or {}),
        "Authorization": f"Bearer {key}",
    }


def timeout(given: float | aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return the timeout of one exchange."""
    if given is None or isinstance(given, int | float | str):
        return whole_timeout(positive("timeout", given))
    return given


def journal(given: str | Path | JournalProtocol | None) -> JournalProtocol:
    """Return the journal: one in the file that is named, or the one given, or none."""
    if given is None:
        return NoJournal()
    return Journal(given) if isinstance(given, str | Path) else given


def positive(name: str, value: float) -> float:
    """Return value if it is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} is {value!r}; it must be a number above 0")
    return value


def whole(name: str, value: int) -> int:
    """Return value if it is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, 1 or more")
    return value


def several(requests: object) -> None:
    """Refuse one request, a text or a mapping: its letters or names are no requests.

    Raises:
        ConfigurationError: requests is one of these.
    """
    kind = type(requests)
    if issubclass(kind, Request | Mapping | str | bytes):
        raise ConfigurationError(
            f"requests is one {kind.__name__}; it must be a list, or another iterable, "
            "of requests: for a single one give [request]"
        )
