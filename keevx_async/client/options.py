"""What a client is set up with: defaults named once, arguments checked once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from ..errors import ConfigurationError, DownloadError
from ..http.transport import exchange_timeout
from ..journal import Journal, JournalProtocol, NullJournal
from ..models.request import Request
from ..models.sources import to_int, to_secret, url_text
from ..models.tasks import Task
from ..models.validators import is_int, is_url, shown
from ..settings import BASE_URL, EDITIONS, VERSION, NotGiven

if TYPE_CHECKING:
    import aiohttp

P = TypeVar("P")
F = TypeVar("F")


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a header may be called (RFC 9110, 5.6.2)."""
_OURS = frozenset({"authorization", "content-type", "content-length", "transfer-encoding"})
"""Headers that describe what is sent, or carry the key: a second one would contradict ours."""


def base_url(given: object) -> str:
    """Return the base URL: the argument, ``KEEVX_BASE_URL``, or the vendor's.

    Args:
        given: a string, or a URL object of pydantic, yarl or httpx.
    """
    url = url_text(given) or os.environ.get("KEEVX_BASE_URL") or BASE_URL
    url = url.strip() if isinstance(url, str) else url
    if not is_url(url) or "?" in url or "#" in url or "@" in url:
        raise ConfigurationError(
            f"the base URL must be like {BASE_URL} (got {_without_password(shown(url))}): "
            "check base_url= or KEEVX_BASE_URL"
        )
    return url


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def edition_values(url: str) -> Mapping[str, tuple[str, ...]]:
    """Return what the edition at a base URL lists; nothing where all is offered."""
    return EDITIONS.get(url.rstrip("/").lower(), {})


def api_headers(api_key: object, extra: object) -> dict[str, str]:
    """Return the headers of every API call, the key among them.

    Args:
        api_key: a string, or a SecretStr of pydantic; None for ``KEEVX_API_KEY``.
        extra: more headers, of which those that are ours to set are left out.
    """
    secret = to_secret(api_key)
    if secret is not None and not isinstance(secret, str):  # never quoted: it may be the key
        raise ConfigurationError(f"api_key must be a string (got a {type(api_key).__name__})")
    key = (secret or os.environ.get("KEEVX_API_KEY") or "").strip()
    if not key:
        raise ConfigurationError("no API key: set KEEVX_API_KEY, or give Keevx(api_key=…)")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the API key contains characters that no key has; copy it again")
    headers = {"user-agent": ("User-Agent", f"keevx_async/{VERSION}")}
    headers |= {name.lower(): (name, value) for name, value in _extra_headers(extra)}
    kept = {name: value for lower, (name, value) in headers.items() if lower not in _OURS}
    return {**kept, "Authorization": f"Bearer {key}"}


def _extra_headers(given: object) -> Iterator[tuple[str, str]]:
    """Yield headers that can be sent; their values may be secrets, and are never quoted."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"headers must be a mapping of names to values (got a {type(given).__name__})"
        )
    for name, value in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"headers: {shown(name)} cannot be the name of a header")
        if not isinstance(value, str):
            raise ConfigurationError(
                f"headers[{name!r}] must be a string (got a {type(value).__name__})"
            )
        if not value.replace("\t", " ").isprintable():
            raise ConfigurationError(
                f"headers[{name!r}] contains a line break or another character that cannot be sent"
            )
        yield name, value


def timeout(given: object) -> aiohttp.ClientTimeout:
    """Return the timeout of one exchange: of seconds, or the ``aiohttp.ClientTimeout`` given."""
    if not (hasattr(given, "sock_connect") and hasattr(given, "total")):
        return exchange_timeout(check_positive("timeout", given))
    for name in ("total", "connect", "sock_connect", "sock_read"):
        seconds = getattr(given, name, None)
        if seconds is not None and not _is_wait(seconds):
            raise ConfigurationError(
                f"timeout.{name} must be a number of seconds, 0 or more, or None "
                f"(got {shown(seconds)})"
            )
    return cast("aiohttp.ClientTimeout", given)


def _is_wait(value: object) -> bool:
    number = _number(value)
    return number is not None and number >= 0  # NaN is neither


def wait_timeout(given: object) -> float | NotGiven | None:
    """Return the seconds of a wait: a number, None for no limit, or that it was not given."""
    if given is None or isinstance(given, NotGiven):
        return given
    if not _is_wait(given):
        raise ConfigurationError(
            f"timeout must be a number of seconds, 0 or more, or None (got {shown(given)})"
            f"{_in_seconds(given)}"
        )
    return _number(given)


def journal(given: str | Path | JournalProtocol | None) -> JournalProtocol:
    """Return the journal: one in the file that is named, or the one given, or none."""
    if given is None:
        return NullJournal()
    if isinstance(given, str | os.PathLike):
        return Journal(given if isinstance(given, str) else Path(given))
    if not hasattr(given, "claim"):
        raise ConfigurationError(f"journal must be a path or a Journal (got {shown(given)})")
    return given


def session(given: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    """Return a borrowed session, if there is one."""
    usable = hasattr(given, "request") and hasattr(given, "closed")
    if given is None or (usable and not isinstance(given, type)):
        return given
    raise ConfigurationError(f"session must be an aiohttp.ClientSession (got {shown(given)})")


def policy(name: str, given: P | None, kind: type[P]) -> P:
    """Return a policy, by default one with the defaults."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__} (got {shown(given)})")
    return given


def hook(name: str, given: F) -> F:
    """Return a function of the caller's, or None."""
    if given is None or callable(given):
        return given
    raise ConfigurationError(f"{name} must be a function (got {shown(given)})")


def destination(name: str, given: object) -> str | os.PathLike[str]:
    """Return where results go: a path as a string, or as a ``pathlib.Path``."""
    if isinstance(given, str | os.PathLike) and isinstance(os.fspath(given), str):
        return cast("str | os.PathLike[str]", given)
    raise ConfigurationError(f"{name} must be a path (got {shown(given)})")


def result(name: str, value: object) -> Task | str:
    """Return what can be downloaded: a task, or a URL, be it an object of another library.

    Raises:
        DownloadError: it is something else, such as a list of tasks.
    """
    task_or_url = url_text(value)
    if isinstance(task_or_url, Task | str):
        return task_or_url
    raise DownloadError(f"{name} must be a Task or the URL of a result (got {shown(value)})")


def check_positive(name: str, value: object) -> float:
    """Return value if it is a number above 0."""
    number = _number(value)
    if number is None or not 0 < number < math.inf:
        raise ConfigurationError(
            f"{name} must be a number above 0 (got {shown(value)}){_in_seconds(value)}"
        )
    return number


def _number(value: object) -> float | None:
    """Return the number that a value of any library is; a bool is not a number."""
    found = to_int(cast(int, value))
    if is_int(found):
        return found
    is_real = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    return float(cast(float, value)) if is_real else None


def _in_seconds(value: object) -> str:
    return "; give its total_seconds()" if isinstance(value, timedelta) else ""


def check_whole(name: str, value: object) -> int:
    """Return value if it is a whole number from 1."""
    number = to_int(cast(int, value))
    if not is_int(number) or number < 1:
        raise ConfigurationError(f"{name} must be a whole number, 1 or more (got {shown(value)})")
    return number


def check_iterable(requests: object) -> None:
    """Refuse what cannot be a list of requests, such as one request, a text or a mapping.

    Raises:
        ConfigurationError: requests is one of these.
    """
    kind = type(requests)
    if issubclass(kind, Request | Mapping | str | bytes):
        raise ConfigurationError(
            f"requests must be a list, or another iterable, of requests (got one "
            f"{kind.__name__}): for a single one give [request]"
        )
    if not isinstance(requests, Iterable | AsyncIterable):
        raise ConfigurationError(
            f"requests must be a list, or another iterable, of requests (got {shown(requests)})"
        )
