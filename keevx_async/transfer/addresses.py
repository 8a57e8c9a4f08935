"""Where a result lies: its URL as it is requested, redirected and shown. Pure."""

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
    """Tell whether a text is meant as a web address, sound or not, and not as a task's id."""
    return re.match(r"\s*https?://", text, re.IGNORECASE) is not None


def request_url(url: str) -> URL:
    """Return what is requested for url: its path and query as they are given.

    They may be signed, so nothing is decoded or normalised. What a request line cannot hold
    (blanks, control characters, all but ASCII) is percent-encoded as UTF-8, the host by IDNA.

    Raises:
        DownloadError: it is not an http(s) URL, or no host can have such a name.
    """
    try:
        origin, rest = _split(url)
        sound = URL(origin)
        (sound.raw_host or "").encode("idna")  # as looking it up would: labels may be too long
        rest = re.sub(r"[^\x21-\x7e]+", lambda found: _quoted(found[0]), rest)
        return URL(f"{sound.scheme}://{sound.raw_authority}{rest}", encoded=True)
    except ValueError:
        raise DownloadError(
            f"{without_query(url)!r} is not an http(s) URL; "
            "pass one, or the Task that wait() returned"
        ) from None


def redirect_url(url: str, location: str) -> str:
    """Return where a redirect from url leads; only a relative path is resolved.

    Args:
        url: what was requested.
        location: the Location header.

    Raises:
        DownloadError: it leads to something else than an http(s) URL.
    """
    origin, rest = _split(url)
    to = location.strip()
    if to.startswith("//"):
        to = origin.partition("//")[0] + to
    elif to.startswith("/"):
        to = origin + to
    elif _SCHEME.match(to) is None:
        to = origin + urljoin(rest.partition("?")[0], to)
    try:
        request_url(to)
    except DownloadError:
        said = (
            f"{without_query(url)} redirects to {without_query(to)!r}, which is not an http(s) URL"
        )
        raise DownloadError(said) from None
    return to


def without_query(url: str) -> str:
    """Return url without what may be secret: its query, which may hold a signature, its user."""
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", re.split("[?#]", url, maxsplit=1)[0])


def file_name(url: str) -> str:
    """Return the last part of a URL's path, still encoded; empty where it ends with a slash."""
    path = re.sub(r"^[^:/?#]+://[^/?#]*", "", re.split("[?#]", url, maxsplit=1)[0])
    return path.rpartition("/")[2]


def _split(url: str) -> tuple[str, str]:
    """Split an http(s) URL into its origin and the rest, which begins with a slash.

    Raises:
        ValueError: it is another, or none.
    """
    found = _URL.fullmatch(url.strip())
    if found is None or found[2].endswith("@"):
        raise ValueError(url)
    return found[1], found[3] if found[3].startswith("/") else f"/{found[3]}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")  # as aiohttp decodes headers
