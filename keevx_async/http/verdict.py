"""What became of a request, and what that allows. Pure: no clock, no socket, no sleep.

A create is paid and has no idempotency key, so it may be sent again only when it is certain
that no task was made. A query may always be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..errors import (
    APIError,
    AuthenticationError,
    InsufficientFunds,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from ..settings import BUSY_CODES, REFUSAL_CODES

NO_CODES: Mapping[int, int] = {}
"""For a kind without codes of its own."""


class Verdict(Enum):
    """What became of a create, and so whether it may be sent again."""

    ACCEPTED = "accepted"
    """Its tasks exist and their ids were read. It is never sent again."""
    NOT_SENT = "not sent"
    """No connection took it, so no task was made. It may be sent again."""
    REFUSED = "refused"
    """Keevx answered that no task was made. It may be sent again if Keevx was busy."""
    WRONG_HOST = "wrong host"
    """Something other than Keevx answered, so no task was made. The base URL must be fixed."""
    UNKNOWN = "unknown"
    """Tasks may exist, and be paid for. Only its user may send it again."""


class Ids(Enum):
    """Which task ids the answer to a create holds."""

    NONE = "none"
    """None."""
    READ = "read"
    """All in their documented place, and readable."""
    DOUBTFUL = "doubtful"
    """Some elsewhere in the answer, only partly readable, or already another create's."""


class TransportError(Exception):
    """An exchange that ended without an answer.

    Attributes:
        sent: False only where it is certain that Keevx never saw the request.
        reason: the error's type and text, without URL query, key or body.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    @property
    def verdict(self) -> Verdict:
        """What this means for a create: ``NOT_SENT`` or ``UNKNOWN``."""
        return Verdict.UNKNOWN if self.sent else Verdict.NOT_SENT


# Envelope codes after which a query may succeed later: an HTTP status that a gateway repeats
# inside the envelope.
_GATEWAY_CODES = frozenset({500, 502, 504, *range(520, 530)})
# Statuses that a proxy may give after it has passed the request on: it stopped waiting, or
# assumes that the client did.
_PROXY_STOPPED_WAITING = frozenset({408, 499})


def classify(
    status: int,
    code: int | None,
    *,
    ids: Ids = Ids.NONE,
    complete: bool = True,
    retry_after: bool = False,
    html: bool = False,
    is_keevx: bool = True,
) -> Verdict:
    """Return the verdict on an answered create.

    The first case that applies decides:

    1. Task ids that can be read: accepted, whatever the status, the code and the framing say.
       Doubtful ids: unknown, for something was made, and perhaps for this create.
    2. Without ids, an answer that was cut off: unknown. Only a complete refusal is believed.
    3. The envelope's code 0 without ids: unknown. It claims that something was made.
    4. HTTP 429: refused. It is given before a request is worked on.
    5. HTTP 503 with a valid ``Retry-After``, or in Keevx's envelope unless its code repeats a
       gateway's status (case 7): refused. A bare 503 may come from a proxy whose connection to
       Keevx broke after the request had gone out (Envoy: "connection termination").
    6. An envelope whose code is Keevx's own (six digits, ``REFUSAL_CODES``, ``BUSY_CODES``) or a
       4xx: refused. But a 408 or 499 that repeats the HTTP status is a proxy that stopped waiting.
    7. Any other envelope, such as ``{"code": 504, "msg": ...}``: unknown. A gateway writes it, and
       does not know what happened behind it.
    8. Without an envelope, a 3xx, a 4xx or an HTML page (no 5xx) from a host that has not answered
       this client in Keevx's envelope: wrong host. Nothing there makes tasks.
    9. Everything else: unknown. A page under 403, 404 or 409 may come from a filter that replaced
       the answer to a create that was made; a 5xx leaves open what happened.

    Args:
        status: the HTTP status.
        code: the code of Keevx's envelope, read strictly; None where there was no envelope.
        ids: which task ids the answer holds, read leniently.
        complete: whether the whole answer arrived.
        retry_after: whether it has a valid ``Retry-After``.
        html: whether it declares itself to be a page.
        is_keevx: whether its host has answered this client in Keevx's envelope.
    """
    if ids is not Ids.NONE:  # 1
        return Verdict.ACCEPTED if ids is Ids.READ else Verdict.UNKNOWN
    if not complete or code == 0:  # 2, 3
        return Verdict.UNKNOWN
    if status == 429 or (status == 503 and retry_after):  # 4, 5
        return Verdict.REFUSED
    if code is not None:  # 5 to 7
        if 100_000 <= code <= 999_999 or code in REFUSAL_CODES or code in BUSY_CODES:
            refused = True
        elif 400 <= code <= 499:
            refused = not (code == status and code in _PROXY_STOPPED_WAITING)
        else:
            refused = status == 503 and code not in _GATEWAY_CODES
        return Verdict.REFUSED if refused else Verdict.UNKNOWN
    if not is_keevx and status < 500 and (status >= 300 or html):  # 8
        return Verdict.WRONG_HOST
    return Verdict.UNKNOWN


def is_busy(status: int, code: int | None) -> bool:
    """Return whether a refused create may be sent again: 429, 503, or a busy code.

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
    """
    return status in (429, 503) or code in BUSY_CODES


def is_transient(status: int, code: int | None) -> bool:
    """Return whether the same query may succeed later; never asked about a create.

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
    """
    return status == 429 or status >= 500 or code in BUSY_CODES or code in _GATEWAY_CODES


def is_rate_limit(status: int, code: int | None) -> bool:
    """Return whether an answer tells the whole client to slow down: 429, as status or code.

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
    """
    return 429 in (status, code)


def api_error(
    status: int,
    code: int | None,
    msg: str,
    body: str = "",
    codes: Mapping[int, int] = NO_CODES,
    **where: Any,
) -> APIError:
    """Return the error for a refusal, of the class that its status or code calls for.

    Keevx gives 100002 for a bad key and 100003 for an unknown task ("Error codes" of its API
    reference); kinds with codes of their own map them to these. It documents no code for an empty
    account, so that is 402 (RFC 9110, 15.5.3), as status or as code.

    Args:
        status: the HTTP status.
        code: the envelope's code, None where there was no envelope.
        msg: what the envelope says.
        body: the first part of the answer.
        codes: the codes of its kind, each with the common code that means the same.
        where: ``headers``, ``method`` and ``path`` of the error.
    """
    meaning = code if code is None else codes.get(code, code)
    if status in (401, 403) or meaning == 100002:
        kind: type[APIError] = AuthenticationError
    elif 402 in (status, meaning):
        kind = InsufficientFunds
    elif status == 404 or meaning == 100003:
        kind = NotFoundError
    elif is_rate_limit(status, code):
        kind = RateLimitError
    else:
        kind = ServerError if is_transient(status, code) else APIError
    return kind(status, code, msg, body, **where)
