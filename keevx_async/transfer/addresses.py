"""Handle result URLs: prepare requests, resolve redirects and redact messages. No I/O.

Result URLs may be signed, and decoding and re-encoding a path or query could invalidate the
signature. URLs are therefore sent exactly as received; only characters that are not allowed in a
request line are escaped.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

from yarl import URL

from ..errors import DownloadError

_URL = re.compile(
    r"(https?://([^/?#\\\s\x00-\x1f\x7f]+))((?:[/?][^#]*)?)(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*:", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Return whether the text looks like a URL rather than a task id.

    Leading whitespace is ignored. A malformed URL counts, too, because requesting it raises a
    clearer error than searching for a task with that id.
    """
    return re.match(r"\s*https?://", text, re.IGNORECASE) is not None


def request_url(url: str) -> URL:
    """Return the URL to request: the path and query are unchanged, the fragment is removed.

    Spaces, control characters and non-ASCII characters are percent-encoded as UTF-8; the host is
    encoded with IDNA.

    Raises:
        DownloadError: the text is not an http(s) URL, or its host name is invalid.
    """
    try:
        origin, rest = _split(url)
        host = URL(origin)
        (host.raw_host or "").encode("idna")  # as the resolver does; fails if a label is too long
        rest = re.sub(
            r"[^\x21-\x7e]+",
            # aiohttp decodes invalid bytes in a header to surrogates.
            lambda match: quote(match[0], safe="", errors="surrogateescape"),
            rest,
        )
        return URL(f"{host.scheme}://{host.raw_authority}{rest}", encoded=True)
    except ValueError:
        raise DownloadError(
            f"{without_query(url)!r} is not an http(s) URL; "
            "pass one, or the Task that wait() returned"
        ) from None


def redirect_url(url: str, location: str) -> str:
    """Return a redirect's target URL. A relative Location is resolved; nothing else is changed.

    Args:
        url: the URL that was requested.
        location: the Location header.

    Raises:
        DownloadError: the target is not an http(s) URL.
    """
    origin, rest = _split(url)
    target = location.strip()
    if target.startswith("//"):
        target = origin.partition("//")[0] + target
    elif target.startswith("/"):
        target = origin + target
    elif _SCHEME.match(target) is None:
        target = origin + urljoin(rest.partition("?")[0], target)
    try:
        request_url(target)
    except DownloadError:
        raise DownloadError(
            f"{without_query(url)} redirects to {without_query(target)!r}, "
            "which is not an http(s) URL"
        ) from None
    return target


def without_query(url: str) -> str:
    """Return a URL that is safe to show in logs and errors.

    The query, fragment, user name and password are removed, because they may contain a signature or
    credentials. Any text is accepted.
    """
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", re.split("[?#]", url, maxsplit=1)[0])


def file_name(url: str) -> str:
    """Return the last part of a URL's path, still percent-encoded.

    The result is empty if the path is missing or ends with a slash. It is not a safe file name: see
    ``safe_names.safe_name``.
    """
    path = re.sub(r"^[^:/?#]+://[^/?#]*", "", re.split("[?#]", url, maxsplit=1)[0])
    return path.rpartition("/")[2]


def _split(url: str) -> tuple[str, str]:
    """Split an http(s) URL into its origin and the rest, which starts with a slash.

    Raises:
        ValueError: the text is not an http(s) URL.
    """
    match = _URL.fullmatch(url.strip())
    if match is None or match[2].endswith("@"):
        raise ValueError(url)
    return match[1], match[3] if match[3].startswith("/") else f"/{match[3]}"
