"""Classifies the outcome of a request: may it be sent again? Pure: no clock, socket or sleep.

A create is charged and has no idempotency key, so it may be sent again only if it is certain
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
"""The codes of a kind that has no codes of its own."""


class Verdict(Enum):
    """The outcome of a create, which decides whether the create may be sent again."""

    ACCEPTED = "accepted"
    """Tasks were made and their ids were read. The create is never sent again."""
    NOT_SENT = "not sent"
    """No connection took the request, so no task was made. The create may be sent again."""
    REFUSED = "refused"
    """Keevx reported that no task was made. The create may be sent again if Keevx was busy."""
    WRONG_HOST = "wrong host"
    """The host is not Keevx, so no task was made. The base URL must be corrected."""
    UNKNOWN = "unknown"
    """Tasks may exist and have been charged. The create is sent again only if the user asks."""


class Ids(Enum):
    """The state of the task ids in a create's response."""

    NONE = "none"
    """The response contains no ids."""
    READ = "read"
    """All ids are readable and in their documented place."""
    DOUBTFUL = "doubtful"
    """Some ids are elsewhere in the response, are only partly readable, or are another create's."""


class TransportError(Exception):
    """Raised when an exchange ends without a response.

    Attributes:
        sent: False only if it is certain that Keevx never saw the request.
        reason: the error's type and text, without any URL query, key or body.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    @property
    def verdict(self) -> Verdict:
        """The verdict on a create that ended this way: ``NOT_SENT`` or ``UNKNOWN``."""
        return Verdict.UNKNOWN if self.sent else Verdict.NOT_SENT


# Envelope codes after which a query may succeed later: HTTP statuses that a gateway repeats inside
# the envelope.
_GATEWAY_CODES = frozenset({500, 502, 504, *range(520, 530)})
# Statuses that a proxy may return after it has passed the request on: it stopped waiting, or
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
    """Return the verdict on a create that received a response.

    The first case that applies decides:

    1. Readable task ids: accepted, whatever the status, the code and the framing say. Doubtful
       ids: unknown, since something was made, perhaps for this create.
    2. No ids, and the response was cut off: unknown. Only a complete refusal is believed.
    3. Envelope code 0 without ids: unknown. The envelope claims that something was made.
    4. HTTP 429: refused. A 429 is sent before the request is processed.
    5. HTTP 503 with a valid ``Retry-After``, or in Keevx's envelope unless its code repeats a
       gateway's status (case 7): refused. A bare 503 may come from a proxy whose connection to
       Keevx broke after the request had gone out (Envoy: "connection termination").
    6. An envelope whose code is Keevx's own (six digits, ``REFUSAL_CODES``, ``BUSY_CODES``) or a
       4xx: refused. The exception is a 408 or 499 that repeats the HTTP status: unknown, because
       it comes from a proxy that stopped waiting.
    7. Any other envelope, such as ``{"code": 504, "msg": ...}``: unknown. It comes from a gateway,
       which does not know what happened behind it.
    8. No envelope, and a 3xx, a 4xx or an HTML page (not a 5xx) from a host that has never sent
       this client Keevx's envelope: wrong host. That host makes no tasks.
    9. Everything else: unknown. A 403, 404 or 409 page may come from a filter that replaced the
       response to a successful create; a 5xx does not show what happened.

    Args:
        status: the HTTP status.
        code: the code of Keevx's envelope, read strictly; None if there is no envelope.
        ids: the state of the task ids in the response, read leniently.
        complete: whether the whole response arrived.
        retry_after: whether the response has a valid ``Retry-After``.
        html: whether the response's ``Content-Type`` is HTML.
        is_keevx: whether the host has sent this client a response in Keevx's envelope.
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
    """Return whether a refused create may be sent again: after a 429, a 503 or a busy code.

    Args:
        status: the HTTP status.
        code: the envelope's code; None if there is no envelope.
    """
    return status in (429, 503) or code in BUSY_CODES


def is_transient(status: int, code: int | None) -> bool:
    """Return whether the same query may succeed later. Not meant for creates.

    Args:
        status: the HTTP status.
        code: the envelope's code; None if there is no envelope.
    """
    return status == 429 or status >= 500 or code in BUSY_CODES or code in _GATEWAY_CODES


def is_rate_limit(status: int, code: int | None) -> bool:
    """Return whether a response has 429 as its status or code, so the whole client must slow down.

    Args:
        status: the HTTP status.
        code: the envelope's code; None if there is no envelope.
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
    """Return the error for a refusal. The status and the code determine its class.

    Keevx returns 100002 for a bad key and 100003 for an unknown task ("Error codes" in its API
    reference); kinds with their own codes map them to these. Keevx documents no code for an account
    without funds, so a 402 (RFC 9110, 15.5.3), as status or code, is taken to mean that.

    Args:
        status: the HTTP status.
        code: the envelope's code; None if there is no envelope.
        msg: the envelope's message.
        body: the beginning of the response.
        codes: the kind's own codes, each mapped to the common code that means the same.
        where: the error's ``headers``, ``method`` and ``path``.
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
