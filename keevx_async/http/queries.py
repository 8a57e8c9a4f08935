"""Free API calls, which may be repeated, and requests to endpoints that have no method here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..errors import (
    APIError,
    ConfigurationError,
    ConnectionFailed,
    KeevxError,
    ResponseError,
    SubmissionUncertain,
)
from ..models.kinds import Kind
from ..models.tasks import FAILED_STATUSES, RUNNING_STATUSES, SUCCEEDED, Task
from ..settings import is_retryable_status
from .decoding import (
    LANGUAGES_PATH,
    Envelope,
    decode_envelope,
    decode_languages,
    decode_task,
    query_path,
    quotable,
)
from .retry import Retrier, Retryable
from .transport import HttpRequest, HttpResponse, Transport
from .verdict import NO_CODES, TransportError, Verdict, api_error, classify, is_transient

log = logging.getLogger("keevx_async.http")

_GATEWAY_STATUSES = frozenset({408, 413, 425, 429, 499})
"""Statuses that a gateway in front of Keevx may return, so they do not identify the host."""
_WITHOUT_OUR_PATHS = frozenset({404, 405, 410})
"""Statuses returned by a host that does not serve our paths."""
_EXPECTED_STATUSES = FAILED_STATUSES | RUNNING_STATUSES | {SUCCEEDED}
MAX_WARNED_STATUSES = 100
"""The maximum number of unknown task statuses to warn about, since a server might send a new status
in every response."""


class Host:
    """The host at the base URL, which may turn out not to be Keevx.

    Args:
        transport: sends the request that identifies the host.
        name: the host's name, for error messages.
        base_url: the base URL, for error messages if the host is not Keevx; defaults to the name.
        secrets: returns the values to mask when a response is quoted.

    Attributes:
        name: the host's name.
        base_url: the base URL, or the name if none was given.
        is_keevx: whether the host has sent this client a response in Keevx's envelope.
    """

    def __init__(
        self,
        transport: Transport,
        name: str,
        base_url: str = "",
        secrets: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.name: str = name
        self.base_url: str = base_url or name
        self.is_keevx: bool = False
        self._transport = transport
        self._secrets = secrets
        self._identifying = asyncio.Lock()
        self._is_foreign = False

    def quote(self, answer: bytes | str, secrets: Iterable[str] = ()) -> str:
        """Return the beginning of a response, short and without secrets, for use in errors.

        Args:
            answer: a body, or text from it.
            secrets: values to mask in addition to the client's own secrets.
        """
        return quotable(answer, (*self._secrets(), *secrets))

    async def is_foreign(self, path: str) -> bool:
        """Return whether the host is known not to be Keevx, sending one free request to find out.

        Return False if the host responds as Keevx does, or if it cannot be identified because no
        complete response arrived or a gateway responded. Once the host is identified, nothing more
        is sent.

        Args:
            path: the path of a status query.
        """
        async with self._identifying:
            if self.is_keevx or self._is_foreign:
                return not self.is_keevx
            try:
                response = await self._transport.exchange(HttpRequest("GET", path))
            except TransportError:
                return False
            status = response.status
            self.is_keevx = response.complete and decode_envelope(response.body) is not None
            unclear = not response.complete or status >= 500 or status in _GATEWAY_STATUSES
            self._is_foreign = not (self.is_keevx or unclear)
            return self._is_foreign

    def wrong(self, request: HttpRequest, response: HttpResponse) -> ConfigurationError:
        """Return the error for a response that Keevx would not send.

        The error names the base URL, quotes the response and, if the fix is apparent, suggests it.
        """
        base, location = self.base_url, response.headers.get("Location", "")
        try:
            parts = urlsplit(location)
        except ValueError:
            location = ""
        else:  # without credentials or a query
            netloc = parts.netloc.rpartition("@")[2]
            location = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
        what = f"a redirect to {location}" if location else "a response that is not from Keevx"
        if is_html(response):
            what = "a web page"
        fix = ""
        if location.endswith(request.path):
            fix = f"; it leads to {location.removesuffix(request.path)}"
        elif base.endswith("/v1"):
            fix = f"; remove the /v1: {base.removesuffix('/v1')}"
        key = " and the API key" if response.status in (401, 403) else ""
        text = self.quote(response.body)
        return ConfigurationError(
            f"the base URL {base} does not point to Keevx: {request.method} {request.path} "
            f"returned HTTP {response.status}, {what}. Check base_url= or KEEVX_BASE_URL{key}{fix}"
            + (f". The response was: {text!r}" if text else "")
        )

    def refusal(
        self,
        request: HttpRequest,
        response: HttpResponse,
        envelope: Envelope | None,
        codes: Mapping[int, int] = NO_CODES,
        secrets: Iterable[str] = (),
    ) -> APIError:
        """Return the error for a response that refuses a request.

        Args:
            request: the request that was sent.
            response: the response, quoted in the error.
            envelope: Keevx's envelope, if the response has one.
            codes: see ``api_error``.
            secrets: see ``quote``.
        """
        code, msg = None, ""
        if envelope is not None:
            code, msg = envelope.code, self.quote(envelope.msg, secrets)
        headers = {
            name.lower(): self.quote(value, secrets)
            for name, value in response.headers.items()
            if name.lower() != "set-cookie"
        }
        return api_error(
            response.status,
            code,
            msg,
            self.quote(response.body, secrets),
            codes,
            headers=headers,
            method=request.method,
            path=request.path,
        )


def is_html(response: HttpResponse) -> bool:
    """Return whether a response is a web page, according to its ``Content-Type``."""
    return "html" in response.headers.get("Content-Type", "").lower()


class ApiClient:
    """Sends queries to Keevx and decodes the responses.

    Args:
        transport: sends one request.
        retrier: retries transient failures.
        host: the host at the base URL; named in errors.
        resolve_kind: returns a task's kind, which determines the path of its status query.
    """

    def __init__(
        self,
        transport: Transport,
        retrier: Retrier,
        host: Host,
        resolve_kind: Callable[[str], Awaitable[Kind]],
    ) -> None:
        self._transport = transport
        self._retrier = retrier
        self._host = host
        self._resolve_kind = resolve_kind
        self._warned: set[str] = set()

    async def status(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a snapshot of a task, retrying as the policy allows.

        Args:
            task_id: the task's id.
            kind: the task's kind, if the caller knows it.

        Raises:
            KeevxError: Keevx refused the query, or no attempt succeeded.
        """
        return await self._retrier.run(self._status, task_id, kind)

    async def status_once(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a snapshot of a task without retrying: the poll schedule plans the next attempt.

        Raises:
            KeevxError: the attempt failed, even if another attempt might succeed.
        """
        try:
            return await self._status(task_id, kind)
        except Retryable as retryable:
            raise retryable.error from retryable.__cause__

    async def _status(self, task_id: str, kind: Kind | None = None) -> Task:
        kind = kind or await self._resolve_kind(task_id)
        request = HttpRequest("GET", query_path(kind, task_id))
        response, envelope = await self.get(request, kind.codes)
        task, status = decode_task(envelope.data, kind), response.status
        if task is None or task.task_id != task_id:
            content = "no task" if task is None else f"task {task.task_id}"
            message = f"the response to a query for {task_id} contains {content}"
            raise Retryable(ResponseError(status, message))
        unexpected = task.status not in _EXPECTED_STATUSES and task.status not in self._warned
        if unexpected and len(self._warned) < MAX_WARNED_STATUSES:
            self._warned.add(task.status)
            log.warning(
                "task %s has the unknown status %r, which counts as still running; if it means "
                "that the task has ended, add it to keevx_async.models.tasks.FAILED_STATUSES",
                task.task_id,
                task.status[:40],
                extra={"task_id": task.task_id},
            )
        return task

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated into, retrying as the policy allows.

        Raises:
            KeevxError: Keevx refused the query, or no attempt succeeded.
        """

        async def attempt() -> tuple[str, ...]:
            response, envelope = await self.get(HttpRequest("GET", LANGUAGES_PATH))
            languages = decode_languages(envelope.data)
            if languages is None:
                raise Retryable(ResponseError(response.status, "the response has no languages"))
            return languages

        return await self._retrier.run(attempt)

    async def request(self, request: HttpRequest) -> Any:
        """Send a request to an endpoint that has no method here, and return the response's data.

        A GET is retried as the policy allows. Any other request is sent once, since it may be
        charged.

        Raises:
            KeevxError: Keevx refused the request, or its response is missing or unreadable.
        """
        send = self.get if request.method == "GET" else self._send_once
        _, envelope = await self._retrier.run(send, request)
        return envelope.result if envelope.data is None else envelope.data

    async def _send_once(self, request: HttpRequest) -> tuple[HttpResponse, Envelope]:
        # As for a create, the outcome of the request decides:
        # 1. Not sent: it may be repeated. Sent without a response: uncertain.
        # 2. A success: return its envelope. A refusal, or a host that is not Keevx: nothing was
        #    done.
        # 3. Any other response: uncertain.
        name = f"{request.method} {request.path}"
        try:
            response = await self._transport.exchange(request)
        except TransportError as error:
            if error.sent:
                raise SubmissionUncertain(request.body, name, error.reason) from error
            raise Retryable(ConnectionFailed(self._host.name, error.reason)) from error
        envelope = decode_envelope(response.body) if response.complete else None
        if envelope is not None:
            self._host.is_keevx = True
            if envelope.code == 0 and response.status < 400:
                return response, envelope
        verdict = classify(
            response.status,
            None if envelope is None else envelope.code,
            complete=response.complete,
            retry_after=response.retry_after(time.time()) is not None,
            html=is_html(response),
            is_keevx=self._host.is_keevx,
        )
        if verdict is Verdict.WRONG_HOST:
            raise self._host.wrong(request, response)
        if verdict is Verdict.REFUSED:
            raise self._host.refusal(request, response, envelope)
        text = self._host.quote(response.body)
        raise SubmissionUncertain(request.body, name, f"HTTP {response.status}: {text!r}")

    async def get(
        self, request: HttpRequest, codes: Mapping[int, int] = NO_CODES
    ) -> tuple[HttpResponse, Envelope]:
        """Send a free request once; return the response and its envelope.

        Args:
            request: the request to send.
            codes: see ``api_error``.

        Raises:
            Retryable: the attempt failed, but another attempt may succeed.
            KeevxError: the attempt failed, and another attempt would fail too.
        """
        try:
            response = await self._transport.exchange(request)
        except TransportError as error:
            raise Retryable(ConnectionFailed(self._host.name, error.reason)) from error
        if not response.complete:
            reason = f"HTTP {response.status}, cut off: {response.reason}"
            raise Retryable(ConnectionFailed(self._host.name, reason))
        envelope = decode_envelope(response.body)
        if envelope is not None:
            self._host.is_keevx = True
            if envelope.code == 0 and response.status < 400:
                return response, envelope
        raise self._error(request, response, envelope, codes)

    def _error(
        self,
        request: HttpRequest,
        response: HttpResponse,
        envelope: Envelope | None,
        codes: Mapping[int, int],
    ) -> Retryable | KeevxError:
        # The meaning of a complete response that is not a success. The first case that applies
        # decides:
        # 1. No envelope, but a redirect or an unknown path, and the host has never responded as
        #    Keevx does: the base URL is wrong, and another attempt would not help.
        # 2. No envelope, and the status is not an error: try again, since a 2xx page may come from
        #    a proxy and not be sent the next time.
        # 3. A refusal: final, unless its status or code shows that it is transient.
        host, status = self._host, response.status
        delay = response.retry_after(time.time()) or None
        if envelope is None:
            foreign = 300 <= status < 400 or status in _WITHOUT_OUR_PATHS
            if foreign and not host.is_keevx:
                return host.wrong(request, response)
            if not 400 <= status < 600:
                what = "a web page" if is_html(response) else "no envelope"
                where = "" if host.is_keevx else f" at the base URL {host.base_url}"
                text = host.quote(response.body)
                return Retryable(ResponseError(status, f"it contains {what}{where}", text), delay)
        error = host.refusal(request, response, envelope, codes)
        passes = is_transient(status, error.code) or is_retryable_status(status)
        return Retryable(error, delay) if passes else error
