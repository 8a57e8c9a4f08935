"""What became of a request, and what that allows. Pure: no clock, no socket, no sleep.

A create is paid and has no idempotency key, so it may be sent again only when it is certain
that no task was made. A query may always be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from .errors import (
    APIError,
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

NO_CODES: Mapping[int, int] = {}
"""Of a kind that has none of its own."""


class Fate(Enum):
    """What became of a create."""

    ACCEPTED = "accepted"
    NOT_SENT = "not sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Fault(Exception):
    """An exchange that brought no answer.

    Attributes:
        sent: False only when it is certain that Keevx never saw the request.
        reason: what was seen, without URL query, key or body.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    @property
    def fate(self) -> Fate:
        """What this means for a create."""
        return Fate.UNKNOWN if self.sent else Fate.NOT_SENT


# Envelope codes that a second try may mend (keevx-api.md, "Errors"): 530003 is the vendor's
# own "task creation failed, retry"; some gateways repeat the HTTP status inside the envelope.
_TRANSIENT_CODES = frozenset({429, 500, 502, 503, 504, 530003})

# Without an envelope: 429 and 503 turn a request away before it is worked on, a permanent
# redirect and a 4xx say it was not taken. 408 and 499 may come from a proxy that had passed
# it on; every other status leaves open what happened behind it.
_REFUSED_UNREAD = frozenset({301, 307, 308, 503, *range(400, 500)}) - {408, 499}


def fate_of(status: int, code: int | None) -> Fate:
    """Return what an answered create came to.

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
    """
    if code is None:
        return Fate.REFUSED if status in _REFUSED_UNREAD else Fate.UNKNOWN
    if code != 0:
        return Fate.REFUSED
    return Fate.ACCEPTED if status < 400 else Fate.UNKNOWN


def is_transient(status: int, code: int | None) -> bool:
    """Tell whether the same request may fare better later."""
    return status == 429 or status >= 500 or code in _TRANSIENT_CODES


def is_retryable_status(status: int) -> bool:
    """Tell whether the same GET may succeed later: 408, 425, 429, 499 or a server error.

    Status queries and downloads share this list. A create never uses it: what may be sent again
    there is decided by ``fate_of``.
    """
    return status in (408, 425, 429, 499) or status >= 500


def is_rate_limit(status: int, code: int | None) -> bool:
    """Tell whether an answer asks everyone to slow down."""
    return 429 in (status, code)


def api_error(
    status: int, code: int | None, msg: str, body: str = "", codes: Mapping[int, int] = NO_CODES
) -> APIError:
    """Return the error that fits a refusal (keevx-api.md, "Errors").

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
        msg: what the envelope says.
        body: the first part of the answer.
        codes: what the codes of its kind mean in the family.
    """
    meaning = code if code is None else codes.get(code, code)
    if status in (401, 403) or meaning == 100002:
        kind: type[APIError] = AuthenticationError
    elif status == 404 or meaning == 100003:
        kind = NotFoundError
    elif is_rate_limit(status, code):
        kind = RateLimitError
    else:
        kind = ServerError if is_transient(status, code) else APIError
    return kind(status, code, msg, body)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds a Retry-After header asks for (RFC 9110, 10.2.3), or None.

    Args:
        value: the header: seconds, or an HTTP date.
        now: seconds since the epoch.
    """
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.fromtimestamp(now, UTC)).total_seconds())
