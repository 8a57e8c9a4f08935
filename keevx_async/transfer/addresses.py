"""Handle the URLs of results: request them, follow redirects, show them in messages. No I/O.

Result URLs may be signed, so decoding and encoding a path or query again could invalidate them.
URLs are therefore sent exactly as received; only characters that a request line cannot contain are
escaped.
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
    """Return whether a text is meant as a URL rather than a task id.

    Leading whitespace is ignored. A malformed URL counts, too: requesting it raises a clearer error
    than searching for a task with that id.
    """
    return re.match(r"\s*https?://", text, re.IGNORECASE) is not None


def request_url(url: str) -> URL:
    """Return the URL to request: path and query unchanged, without the fragment.

    Spaces, control characters and non-ASCII characters are percent-encoded as UTF-8; the host is
    encoded with IDNA.

    Raises:
        DownloadError: the text is not an http(s) URL, or its host name is invalid.
    """
    try:
        origin, rest = _split(url)
        host = URL(origin)
        (host.raw_host or "").encode("idna")  # as the resolver does: a label may be too long
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
    """Return the URL that a redirect leads to. Only a relative Location is changed: it is resolved.

    Args:
        url: the URL that was requested.
        location: the Location header.

    Raises:
        DownloadError: the redirect does not lead to an http(s) URL.
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
    """Return a URL in a form that is safe for logs and errors.

    The query and the fragment, which may contain a signature, are removed, as are the user name and
    password. Any text is accepted.
    """
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", re.split("[?#]", url, maxsplit=1)[0])


def file_name(url: str) -> str:
    """Return the last part of a URL's path, still percent-encoded.

    It is empty if the path is missing or ends with a slash. It is not a safe file name: see
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
