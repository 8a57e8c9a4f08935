"""Interprets responses to paid creates that are not plain successes with ids."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import APIError, InsufficientFunds, SubmissionUncertain, request_id_of
from ..http.decoding import decode_envelope, query_path, read_contents
from ..http.queries import Host, is_html
from ..http.retry import Retryable, correlation, error_correlation, retry_after
from ..http.transport import HttpRequest, HttpResponse
from ..http.verdict import Ids, Verdict, classify, is_busy, is_rate_limit
from ..models.request import Request

log = logging.getLogger("keevx_async.submission")


async def read_answer(
    sent: HttpRequest,
    response: HttpResponse,
    host: Host,
    request: Request,
    key: str,
    foreign: Callable[[Sequence[str]], Mapping[str, str]],
    seconds: float | None = None,
) -> tuple[str, ...]:
    """Return the ids in a response that is not a plain success, or raise the matching error.

    `classify` determines the verdict. Ids are read leniently: a response with this create's ids is
    not a refusal, whatever its status, code, charset or length.

    Args:
        sent: the create as it was sent.
        response: the response to it.
        host: the host that responded.
        request: the create's request.
        key: the create's key.
        foreign: returns the ids that belong to other creates, each with its create's key.
        seconds: the response time, for the log.

    Raises:
        Retryable: Keevx is busy, or asks to wait for funds. The delay comes from the response. If a
            rate limit has no delay, the delay is 0, because the throttle does the waiting.
        APIError: Keevx refused the create.
        ConfigurationError: the host is not Keevx.
        SubmissionUncertain: the response does not show whether a task was made.
    """
    kind, envelope = request.kind, decode_envelope(response.body)
    contents = read_contents(response.body, kind.prefix, _charset_of(response))
    others = foreign((*contents.ids, *contents.traces))
    ids = Ids.NONE
    if others or contents.traces:
        ids = Ids.DOUBTFUL
    elif contents.ids:
        ids = Ids.READ
    code = envelope.code if envelope is not None else None
    wait = retry_after(response.headers, time.time())

    def verdict_if(*, is_keevx: bool) -> Verdict:
        return classify(
            response.status,
            code,
            ids=ids,
            complete=response.complete,
            retry_after=wait is not None,
            html=is_html(response),
            is_keevx=is_keevx,
        )

    # What to do about each verdict:
    # 1. Wrong host: perhaps Keevx just has not responded to this client yet. So first query the
    #    host about a task that does not exist, which is free. A host that is not Keevx made no
    #    task; if the host may be Keevx, the create is uncertain.
    # 2. Accepted: keep the ids, and log a warning if the status or the code claims otherwise.
    # 3. Refused: no task was made. Retry if the server is busy or says how long to wait for funds.
    #    Raise any other refusal.
    # 4. Unknown: uncertain, with the ids that may be this create's.
    verdict = verdict_if(is_keevx=host.is_keevx)
    if verdict is Verdict.WRONG_HOST:
        try:
            is_foreign = await host.is_foreign(query_path(kind, kind.prefix + "0" * 32))
        except asyncio.CancelledError:
            reason = f"HTTP {response.status}, cancelled before the host was identified"
            raise SubmissionUncertain(request, key, reason) from None
        if is_foreign:
            raise host.wrong(sent, response)
        verdict = verdict_if(is_keevx=True)
    secrets = callback_secrets(sent)
    text = host.quote(response.body, secrets)
    if verdict is Verdict.ACCEPTED:
        if response.status >= 400 or contents.code != 0:
            log.warning(
                "create %s: kept task ids %s from a response that does not report success "
                "(HTTP %d): %s",
                key,
                ", ".join(contents.ids),
                response.status,
                text,
                extra=correlation(key, seconds, response.status, request_id_of(response.headers)),
            )
        return contents.ids
    if verdict is Verdict.REFUSED:
        error = host.refusal(sent, response, envelope, kind.codes, secrets)
        if isinstance(error, InsufficientFunds) and wait:
            raise Retryable(error, wait)
        if not is_busy(error.status, error.code):
            raise error
        # A Retry-After of 0, or a date in the past, asks for no wait: use our own delay.
        paced = is_rate_limit(error.status, error.code)
        raise Retryable(error, (wait or 0.0) if paced else (wait or None))
    kept = [task_id for task_id in (*contents.ids, *contents.traces) if task_id not in others]
    reason = _doubt(response, others, text, is_keevx=host.is_keevx)
    raise SubmissionUncertain(request, key, reason, kept)


def _doubt(response: HttpResponse, others: Mapping[str, str], text: str, *, is_keevx: bool) -> str:
    """Return the reason that a response leaves a create uncertain."""
    if others:
        whose = ", ".join(f"{task_id} of create {key}" for task_id, key in others.items())
        return f"HTTP {response.status}, the response to another create: it contains {whose}"
    what = "no task ids could be read"
    if not response.complete:
        what = f"cut off ({response.reason}), and {what}"
    where = "" if is_keevx else "; this host has never responded as Keevx does: check the base URL"
    return f"HTTP {response.status}, {what} from: {text!r}{where}"


def _charset_of(response: HttpResponse) -> str | None:
    _, _, charset = response.headers.get("Content-Type", "").lower().partition("charset=")
    return charset.partition(";")[0].strip(" \"'") or None


def callback_secrets(sent: HttpRequest) -> tuple[str, ...]:
    """Return a create's callback URL and its token, which errors must not quote."""
    body: dict[str, Any] = json.loads(sent.body) if isinstance(sent.body, bytes) else {}
    url: str = body.get("callback_url") or ""
    token = url.rstrip("/").rpartition("/")[2]
    return (url, token) if token else ()


def log_hold(key: str, refusal: APIError, seconds: float) -> None:
    """Log the length of a hold, and the create whose refusal caused it."""
    what = "create %s: refused with HTTP %s; all creates are held for %.1f s"
    if seconds:
        log.info(what, key, refusal.status, seconds, extra=error_correlation(key, refusal))


def log_late(key: str, result: object) -> None:
    """Log the ids or the error of a create whose caller was cancelled."""
    if not isinstance(result, Retryable):  # not retried after a cancel: no task was made
        what = "create %s ended after its caller was cancelled: %s"
        log.warning(what, key, result, extra=error_correlation(key, result))
