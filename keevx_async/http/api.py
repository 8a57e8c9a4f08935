"""What costs nothing and may be asked at will."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit, urlunsplit

from ..errors import ConfigurationError, ConnectionFailed, KeevxError, ResponseError
from ..models.kinds import Kind
from ..models.tasks import FAILED_STATUSES, RUNNING_STATUSES, SUCCEEDED, Task
from ..settings import is_retryable_status
from .retry import Retrier, Retryable
from .transport import HttpRequest, HttpResponse, Transport
from .verdict import NO_CODES, TransportError, api_error, is_transient, retry_after
from .wire import (
    LANGUAGES_PATH,
    Envelope,
    decode_envelope,
    decode_languages,
    decode_task,
    query_path,
    quotable,
)

_GATEWAY_STATUSES = frozenset({408, 413, 425, 429, 499})
"""Statuses that a gateway in front of Keevx may give: they do not say who is behind it."""
_NO_PATH = frozenset({404, 405, 410})
"""Statuses of a host that does not know our paths."""


def _no_secrets() -> Iterable[str]:
    return ()


class Host:
    """Who answers at the base URL: Keevx, as far as is known, or something else.

    Args:
        exchange: one request, one answer.
        name: the host, named in errors.
        base_url: named where the host turns out not to be Keevx.
        secrets: returns what must not be quoted from an answer.

    Attributes:
        base_url: as given.
        is_keevx: whether it has answered this client in Keevx's envelope.
    """

    def __init__(
        self,
        exchange: Transport,
        name: str,
        base_url: str = "",
        secrets: Callable[[], Iterable[str]] = _no_secrets,
    ) -> None:
        self.name: str = name
        self.is_keevx: bool = False
        self._exchange = exchange
        self.base_url: str = base_url or name
        self._secrets = secrets
        self._asking = asyncio.Lock()
        self._is_foreign = False

    def quote(self, answer: bytes | str, secrets: Iterable[str] = ()) -> str:
        """Return the first part of an answer as errors quote it: short, and without secrets."""
        return quotable(answer, (*self._secrets(), *secrets))

    async def is_foreign(self, path: str) -> bool:
        """Tell whether the host is certainly not Keevx; asks it once, free of charge.

        False where it answers as Keevx does, and where that cannot be told: it does not answer, or
        only a gateway in trouble does.

        Args:
            path: of a status query.
        """
        async with self._asking:
            if self.is_keevx or self._is_foreign:
                return not self.is_keevx
            try:
                reply = await self._exchange.exchange(HttpRequest("GET", path))
            except TransportError:
                return False
            self.is_keevx = reply.complete and decode_envelope(reply.body) is not None
            unsure = not reply.complete or reply.status >= 500 or reply.status in _GATEWAY_STATUSES
            self._is_foreign = not (self.is_keevx or unsure)
            return self._is_foreign

    def wrong(self, call: HttpRequest, reply: HttpResponse) -> ConfigurationError:
        """Return the error of an answer that Keevx would not give."""
        location, base = _shown(reply.headers.get("Location", "")), self.base_url
        what = f"a redirect to {location}" if location else "an answer that is not Keevx's"
        if is_html(reply):
            what = "a web page"
        advice = ""
        if location.endswith(call.path):
            advice = f"; it leads to {location.removesuffix(call.path)}"
        elif base.endswith("/v1"):
            advice = f"; leave out the /v1: {base.removesuffix('/v1')}"
        key = " and the API key" if reply.status in (401, 403) else ""
        quoted = self.quote(reply.body)
        return ConfigurationError(
            f"the base URL {base} is not Keevx's: {call.method} {call.path} got HTTP "
            f"{reply.status}, {what}. Check base_url= or KEEVX_BASE_URL{key}{advice}"
            + (f". The answer was: {quoted!r}" if quoted else "")
        )


def is_html(reply: HttpResponse) -> bool:
    """Tell whether an answer declares itself to be a page."""
    return "html" in reply.headers.get("Content-Type", "").lower()


def _shown(location: str) -> str:
    """Return where a redirect leads, without credentials and query."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


log = logging.getLogger("keevx_async")

KNOWN_STATUSES = RUNNING_STATUSES | {SUCCEEDED}
MOST_STRANGE = 100
"""Unknown statuses that are warned of; a server that invents one for each answer is not heard."""


class ApiClient:
    """Asks Keevx.

    Args:
        exchange: one request, one answer.
        retrier: repeats what failed in passing.
        host: who answers; named in errors.
        resolve_kind: returns a task's kind, which says where it is asked about.
    """

    def __init__(
        self,
        exchange: Transport,
        retrier: Retrier,
        host: Host,
        resolve_kind: Callable[[str], Awaitable[Kind]],
    ) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._host = host
        self._resolve_kind = resolve_kind
        self._strange: set[str] = set()

    async def status(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a task's snapshot, asking again after a passing fault."""
        return await self._retrier(self._status, task_id, kind)

    async def status_once(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a task's snapshot, asking once: the schedule says when to ask again."""
        try:
            return await self._status(task_id, kind)
        except Retryable as again:
            raise again.error from again.__cause__

    async def _status(self, task_id: str, kind: Kind | None = None) -> Task:
        kind = kind or await self._resolve_kind(task_id)
        reply, envelope = await self.get(HttpRequest("GET", query_path(kind, task_id)), kind.codes)
        task = decode_task(envelope.data, kind)
        if task is None or task.task_id != task_id:
            said = "no task" if task is None else f"task {task.task_id}"
            raise Retryable(ResponseError(reply.status, f"asked for {task_id}, it tells of {said}"))
        if task.status not in KNOWN_STATUSES and task.status not in FAILED_STATUSES:
            self._warn(task)
        return task

    def _warn(self, task: Task) -> None:
        """Warn of a status that we don't know, once for each word."""
        if task.status in self._strange or len(self._strange) >= MOST_STRANGE:
            return
        self._strange.add(task.status)
        log.warning(
            "task %s has the unknown status %r, which counts as not ended; if it ends a task, "
            "add it to keevx_async.models.tasks.FAILED_STATUSES",
            task.task_id,
            task.status[:40],
        )

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated to."""
        return await self._retrier(self._target_languages)

    async def _target_languages(self) -> tuple[str, ...]:
        reply, envelope = await self.get(HttpRequest("GET", LANGUAGES_PATH))
        languages = decode_languages(envelope.data)
        if languages is None:
            raise Retryable(ResponseError(reply.status, "it tells of no languages"))
        return languages

    async def get(
        self, call: HttpRequest, codes: Mapping[int, int] = NO_CODES
    ) -> tuple[HttpResponse, Envelope]:
        """Return one answer and its envelope, asking once.

        Args:
            call: what is asked.
            codes: as of ``api_error``.

        Raises:
            Again: another try may fare better.
            KeevxError: it would not.
        """
        try:
            reply = await self._exchange.exchange(call)
        except TransportError as fault:
            raise Retryable(ConnectionFailed(self._host.name, fault.reason)) from fault
        if not reply.complete:
            reason = f"HTTP {reply.status}, cut off: {reply.reason}"
            raise Retryable(ConnectionFailed(self._host.name, reason))
        envelope = decode_envelope(reply.body)
        if envelope is not None:
            self._host.is_keevx = True
            if envelope.code == 0 and reply.status < 400:
                return reply, envelope
        raise self._refusal(call, reply, envelope, codes)

    def _refusal(
        self,
        call: HttpRequest,
        reply: HttpResponse,
        envelope: Envelope | None,
        codes: Mapping[int, int],
    ) -> Retryable | KeevxError:
        status, text = reply.status, self._host.quote(reply.body)
        wait = retry_after(reply.headers, time.time()) or None
        if envelope is None and self._is_wrong_host(reply):
            return self._host.wrong(call, reply)
        if envelope is None and not 400 <= status < 600:
            what = "a web page" if is_html(reply) else "no envelope"
            where = "" if self._host.is_keevx else f" at the base URL {self._host.base_url}"
            return Retryable(ResponseError(status, f"it holds {what}{where}", text), wait)
        code, msg = (envelope.code, self._host.quote(envelope.msg)) if envelope else (None, "")
        error = api_error(status, code, msg, text, codes)
        passing = is_transient(status, code) or is_retryable_status(status)
        return Retryable(error, wait) if passing else error

    def _is_wrong_host(self, reply: HttpResponse) -> bool:
        """Tell whether asking again is of no use. A page under 2xx may be gone at the next try."""
        return not self._host.is_keevx and (300 <= reply.status < 400 or reply.status in _NO_PATH)
