"""Read the URL of a result: as it is requested, redirected and shown. Pure.

Result URLs may be signed, so a path or query that was decoded and encoded again could be refused.
What is sent is therefore the text as it came, and only what a request line cannot hold is escaped.
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
    """Return whether a text is meant as a web address, and not as the id of a task.

    Blanks before it are ignored. A malformed address counts too: requesting it raises a better
    error than looking for a task of that name.
    """
    return re.match(r"\s*https?://", text, re.IGNORECASE) is not None


def request_url(url: str) -> URL:
    """Return what is requested for a URL: its path and query unchanged, its fragment left out.

    Blanks, control characters and all but ASCII are percent-encoded as UTF-8, the host by IDNA.

    Raises:
        DownloadError: it is not an http(s) URL, or no host can have such a name.
    """
    try:
        origin, rest = _split(url)
        host = URL(origin)
        (host.raw_host or "").encode("idna")  # as the resolver does: a label may be too long
        rest = re.sub(
            r"[^\x21-\x7e]+",
            # Undecodable bytes of a header come as surrogates, for aiohttp decodes it so.
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
    """Return where a redirect leads. Only a relative path is resolved; the rest stays as it came.

    Args:
        url: what was requested.
        location: the Location header.

    Raises:
        DownloadError: it does not lead to an http(s) URL.
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
    """Return a URL as logs and errors may show it.

    The query and fragment, which may hold a signature, are left out, as are user and password.
    Any text is accepted.
    """
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", re.split("[?#]", url, maxsplit=1)[0])


def file_name(url: str) -> str:
    """Return the last part of a URL's path, still percent-encoded.

    It is empty where the path ends with a slash, or is missing. Never a safe file name by itself:
    see ``paths.safe_name``.
    """
    path = re.sub(r"^[^:/?#]+://[^/?#]*", "", re.split("[?#]", url, maxsplit=1)[0])
    return path.rpartition("/")[2]


def _split(url: str) -> tuple[str, str]:
    """Split an http(s) URL into its origin and the rest, which begins with a slash.

    Raises:
        ValueError: it is no such URL.
    """
    match = _URL.fullmatch(url.strip())
    if match is None or match[2].endswith("@"):
        raise ValueError(url)
    return match[1], match[3] if match[3].startswith("/") else f"/{match[3]}"
