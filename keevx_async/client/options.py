"""Checks the client's arguments. Each function returns the value that the client uses.

If an argument is invalid, the error names the argument and says what it must be.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from ..errors import ConfigurationError, DownloadError, InvalidRequest, Violation
from ..http.api_key import KeySource
from ..http.recording import Recorder, RecordingTransport
from ..http.timeouts import exchange_timeout
from ..http.transport import AiohttpTransport, HttpRequest
from ..journal.null import NullJournal
from ..journal.owner import Owner
from ..journal.protocol import JournalProtocol
from ..journal.sqlite import Journal
from ..models.converters import to_int, to_secret, url_text
from ..models.registry import REQUESTS
from ..models.request import Request
from ..models.tasks import Task
from ..models.validators import check_choice, is_int, is_url, key_of, shown
from ..settings import BASE_URL, EDITIONS, VERSION, Budget, NotGiven
from ..submission.reservations import Reservations
from ..transfer.output_paths import Destination, OutputNames

if TYPE_CHECKING:
    import aiohttp

P = TypeVar("P")
F = TypeVar("F")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, 5.6.2)."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"/[!#-;=?-\[\]_a-z~]*")
"""A path, with or without a query, that contains only characters that are valid in a URL."""
_OURS = frozenset({"authorization", "content-type", "content-length", "transfer-encoding"})
"""Headers for the request's body and key. The client sets them, so duplicates would conflict."""


def base_url(value: object) -> str:
    """Return the base URL: the argument, ``KEEVX_BASE_URL``, or the vendor's URL.

    Args:
        value: a string, or a pydantic, yarl or httpx URL.

    Raises:
        ConfigurationError: the value is not an http(s) URL, or it has a query, a fragment or a
            user. The message never shows a password.
    """
    url = url_text(value) or os.environ.get("KEEVX_BASE_URL") or BASE_URL
    url = url.strip() if isinstance(url, str) else url
    if not is_url(url) or "?" in url or "#" in url or "@" in url:
        quoted = re.sub(r"//[^/@]*@", "//***@", shown(url))
        raise ConfigurationError(
            f"the base URL must look like {BASE_URL} (got {quoted}): "
            "check base_url= or KEEVX_BASE_URL"
        )
    return url


def edition_values(url: str) -> Mapping[str, tuple[str, ...]]:
    """Return the values that a base URL's edition offers, by field; empty if none are limited."""
    return EDITIONS.get(url.rstrip("/").lower(), {})


def api_key(value: object) -> str | KeySource:
    """Return the API key, or a KeySource if a function provides it.

    Args:
        value: a string, a pydantic SecretStr, or a sync or async function that returns either;
            None for ``KEEVX_API_KEY``.

    Raises:
        ConfigurationError: the key is missing or invalid. The message never shows the key.
    """
    if callable(value):
        return KeySource(cast("Callable[[], object]", value), _checked_key)
    secret = to_secret(value)
    return _checked_key(os.environ.get("KEEVX_API_KEY") if secret in (None, "") else secret)


def _checked_key(value: object) -> str:
    secret = to_secret(value)
    if secret is not None and not isinstance(secret, str):  # never shown: it may be the key
        raise ConfigurationError(f"api_key must be a string (got a {type(secret).__name__})")
    key = (secret or "").strip()
    if not key:
        raise ConfigurationError("no API key: set KEEVX_API_KEY, or pass Keevx(api_key=…)")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the API key contains invalid characters; copy it again")
    return key


def api_headers(key: str | KeySource, extra: object) -> dict[str, str]:
    """Return the headers for every API call, including the key unless a function provides it.

    Args:
        key: the result of ``api_key``.
        extra: additional headers. Headers that the client sets itself are dropped.

    Raises:
        ConfigurationError: a header cannot be sent. The message shows no values: they may be
            secrets.
    """
    headers = extra_headers(extra)
    if not any(name.lower() == "user-agent" for name in headers):
        headers["User-Agent"] = f"keevx_async/{VERSION}"
    return headers | ({"Authorization": f"Bearer {key}"} if isinstance(key, str) else {})


def extra_headers(extra: object) -> dict[str, str]:
    """Return the caller's headers, except headers that the client sets itself.

    Raises:
        ConfigurationError: a header cannot be sent. The message shows no values: they may be
            secrets.
    """
    by_name = {name.lower(): (name, value) for name, value in _extra_headers(extra)}
    return {name: value for lower, (name, value) in by_name.items() if lower not in _OURS}


def _extra_headers(value: object) -> Iterator[tuple[str, str]]:
    """Check and yield each header. Messages never show the values, which may be secrets."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"headers must be a mapping of names to values (got a {type(value).__name__})"
        )
    for name, text in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"headers: {shown(name)} is not a valid header name")
        if not isinstance(text, str):
            raise ConfigurationError(
                f"headers[{name!r}] must be a string (got a {type(text).__name__})"
            )
        if not text.replace("\t", " ").isprintable():
            raise ConfigurationError(
                f"headers[{name!r}] contains a line break or another character that cannot be sent"
            )
        yield name, text


def timeout(value: object) -> aiohttp.ClientTimeout:
    """Return the timeout of one exchange.

    Args:
        value: seconds, or an ``aiohttp.ClientTimeout``.

    Raises:
        ConfigurationError: the value, or one of its fields, is not a number of seconds.
    """
    if not (hasattr(value, "sock_connect") and hasattr(value, "total")):
        return exchange_timeout(check_positive("timeout", value))
    for name in ("total", "connect", "sock_connect", "sock_read"):
        seconds = getattr(value, name, None)
        if seconds is not None and not _is_wait(seconds):
            raise ConfigurationError(
                f"timeout.{name} must be a number of seconds, 0 or more, or None "
                f"(got {shown(seconds)})"
            )
    return cast("aiohttp.ClientTimeout", value)


def _is_wait(value: object) -> bool:
    number = _number(value)
    return number is not None and number >= 0  # false for NaN


def wait_timeout(value: object) -> float | NotGiven | None:
    """Return the timeout of a wait, in seconds.

    Args:
        value: a number of any numeric type, None for no limit, or NOT_GIVEN.

    Raises:
        ConfigurationError: the value has another type, such as a timedelta.
    """
    if value is None or isinstance(value, NotGiven):
        return value
    if not _is_wait(value):
        raise ConfigurationError(
            f"timeout must be a number of seconds, 0 or more, or None (got {shown(value)})"
            f"{_in_seconds(value)}"
        )
    return _number(value)


def call_timeout(value: object) -> float | None:
    """Return the timeout of a call, in seconds; None for no limit. See `wait_timeout`."""
    limit = wait_timeout(value)
    return None if isinstance(limit, NotGiven) else limit


def transport_type(record: object) -> Callable[..., AiohttpTransport]:
    """Return a factory for the transport, which records exchanges if ``record`` is a path.

    Raises:
        ConfigurationError: ``record`` is not a path, or the file cannot be written.
    """
    if record is None:
        return AiohttpTransport
    if not isinstance(record, str | Path):
        raise ConfigurationError(f"record must be a path (got {shown(record)})")
    return partial(RecordingTransport, Recorder(Path(record)))


def key(value: str | None) -> str | None:
    """Check a create's key and return it; None if no key was passed."""
    return None if value is None else key_of(value)


def names(download: Destination | None) -> OutputNames | None:
    """Return the template for the results' paths; None to download nothing."""
    return None if download is None else OutputNames.of(destination("download", download))


def journal(value: str | Path | JournalProtocol | None) -> JournalProtocol:
    """Return the journal without opening it.

    Args:
        value: a path, a Journal, or None for a NullJournal, which stores nothing on disk.

    Raises:
        ConfigurationError: the value has another type.
    """
    if value is None:
        return NullJournal()
    if isinstance(value, str | os.PathLike):
        return Journal(value if isinstance(value, str) else Path(value))
    if not hasattr(value, "claim"):
        raise ConfigurationError(f"journal must be a path or a Journal (got {shown(value)})")
    return value


def owner(
    url: str, key: str | KeySource, account: object, journal: JournalProtocol
) -> Callable[[], Owner] | None:
    """Return a function that returns the client's host and account; None if there is no journal.

    The function is called when the journal is opened. If the key itself comes from a function, that
    function is not called before then.

    Args:
        url: the base URL.
        key: the result of ``api_key``.
        account: the account's name, or None.
        journal: the client's journal.

    Raises:
        ConfigurationError: the name is empty or not a string.
    """
    if not (account is None or (isinstance(account, str) and account.strip())):
        raise ConfigurationError(f"account must be a non-empty string (got {shown(account)})")
    if isinstance(journal, NullJournal):
        return None
    # The origin, normalized: a trailing slash or a default port does not make it another host.
    parts = urlsplit(url)
    scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    host = f"[{host}]" if ":" in host else host
    origin = f"{scheme}://{host}" + ("" if port in (None, PORTS[scheme]) else f":{port}")
    return lambda: Owner(origin, key if isinstance(key, str) else key.first(), account)


def session(value: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    """Return a borrowed session, or None.

    Raises:
        ConfigurationError: the value is not a session (for example, it is the class itself).
    """
    usable = hasattr(value, "request") and hasattr(value, "closed")
    if value is None or (usable and not isinstance(value, type)):
        return value
    raise ConfigurationError(f"session must be an aiohttp.ClientSession (got {shown(value)})")


def policy(name: str, value: P | None, kind: type[P]) -> P:
    """Return the policy, or a default policy for None.

    Raises:
        ConfigurationError: the value is not an instance of ``kind``.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__} (got {shown(value)})")
    return value


def reservations(budget: Budget | None, journal: JournalProtocol) -> Reservations:
    """Return the reservations for a budget. A budget of None means no limit.

    Raises:
        ConfigurationError: ``budget`` is not a Budget.
    """
    return Reservations(None if budget is None else policy("budget", budget, Budget), journal)


def hook(name: str, value: F) -> F:
    """Return the caller's function, or None.

    Raises:
        ConfigurationError: the value is not callable.
    """
    if value is None or callable(value):
        return value
    raise ConfigurationError(f"{name} must be a function (got {shown(value)})")


def destination(name: str, value: object) -> str | os.PathLike[str]:
    """Return the path for results: a string or a ``pathlib.Path``.

    Raises:
        ConfigurationError: the value has another type, such as bytes.
    """
    quoted = shown(value)
    if isinstance(value, str | os.PathLike):
        path = cast("str | os.PathLike[str]", value)
        if isinstance(cast(object, os.fspath(path)), str):
            return path
    raise ConfigurationError(f"{name} must be a path (got {quoted})")


def result(name: str, value: object) -> Task | str:
    """Return the result to download: a task, or a URL as a string.

    Args:
        name: the argument's name.
        value: a task, a string, or another library's URL object.

    Raises:
        DownloadError: the value has another type, such as a list of tasks.
    """
    task_or_url = url_text(value)
    if isinstance(task_or_url, Task | str):
        return task_or_url
    raise DownloadError(f"{name} must be a Task or the URL of a result (got {shown(value)})")


def check_positive(name: str, value: object) -> float:
    """Return value as a number above 0. Any numeric type is accepted.

    Raises:
        ConfigurationError: the value is not a finite number above 0.
    """
    number = _number(value)
    if number is None or not 0 < number < math.inf:
        raise ConfigurationError(
            f"{name} must be a number above 0 (got {shown(value)}){_in_seconds(value)}"
        )
    return number


def _number(value: object) -> float | None:
    """Return value as an int or a float; None if it is a bool or not a number."""
    number = to_int(cast(int, value))
    if is_int(number):
        return number
    is_real = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    return float(cast(float, value)) if is_real else None


def _in_seconds(value: object) -> str:
    return "; pass its total_seconds()" if isinstance(value, timedelta) else ""


def check_whole(name: str, value: object) -> int:
    """Return value as an int of 1 or more. Any integer type is accepted.

    Raises:
        ConfigurationError: the value is not an integer, or is less than 1.
    """
    number = to_int(cast(int, value))
    if not is_int(number) or number < 1:
        raise ConfigurationError(f"{name} must be a whole number, 1 or more (got {shown(value)})")
    return number


def check_iterable(requests: object) -> None:
    """Check that an argument can be an iterable of requests.

    Raises:
        ConfigurationError: the argument is not iterable, or is a single request, a string or a
            mapping.
    """
    kind = type(requests)
    if issubclass(kind, Request | Mapping | str | bytes):
        raise ConfigurationError(
            f"requests must be a list or other iterable of requests (got a single "
            f"{kind.__name__}): pass [request] for a single request"
        )
    if not isinstance(requests, Iterable | AsyncIterable):
        raise ConfigurationError(
            f"requests must be a list or other iterable of requests (got {shown(requests)})"
        )


def api_request(method: object, path: object, body: object) -> HttpRequest:
    """Return a request to an endpoint that the client has no method for.

    Raises:
        InvalidRequest: the request is invalid, or is a create, which must be recorded.
    """
    broken = check_choice("method", method, METHODS)
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        message = f"must begin with a slash and be percent-encoded (got {shown(path)})"
        broken += (Violation("path", path, "url", message),)
    elif method != "GET" and path.partition("?")[0].rstrip("/") in (
        each.kind.path for each in REQUESTS.values()
    ):
        message = "makes a paid create, which must be recorded: use submit()"
        broken += (Violation("path", path, "allowed", message),)
    content = None
    if body is not None:
        try:
            content = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            broken += (Violation("json", body, "type", f"must be plain JSON ({error})"),)
    if broken:
        raise InvalidRequest(broken)
    return HttpRequest(cast(str, method), cast(str, path), content)
