"""The one path of every create: upload, pace, POST, verdict. Never sent twice by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple, TypeVarTuple

from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    JournalError,
    KeevxError,
    SubmissionUncertain,
    Violation,
)
from ..events import Emit, Refused, Submitted, Uncertain
from ..http.api import Host, is_html
from ..http.retry import Retrier, Retryable
from ..http.transport import HttpRequest, HttpResponse, Transport, interruption_of
from ..http.verdict import (
    Ids,
    TransportError,
    Verdict,
    api_error,
    classify,
    is_busy,
    is_rate_limit,
    retry_after,
)
from ..http.wire import Envelope, decode_envelope, decode_ids, query_path, read_contents
from ..journal.protocol import Entry, JournalProtocol, State, partial_reason
from ..models.encoding import canonical_body, encode_request
from ..models.request import Request
from ..models.sources import TASK_SCHEME
from .availability import Availability
from .owners import Owners
from .reconciler import Reconciler
from .shield import Guard
from .throttle import Permit, Throttle

log = logging.getLogger("keevx_async")

Ts = TypeVarTuple("Ts")
_NO_URL = nullcontext()
TASK_MARK = f'"{TASK_SCHEME}'.encode()
"""Where it is not in a canonical body, no result of a task is: the body is sent as it is."""
Uploads = Callable[[tuple[Path, ...], tuple[str, ...]], Awaitable[Mapping[Path, str]]]
"""Takes local files, and the names of the formats that they may be; returns the URL of each."""


class Planned(NamedTuple):
    """A create to be made: what, under which key, its canonical body, and what is known of it."""

    request: Request
    key: str
    body: bytes
    entry: Entry | None


class Submitter:
    """Submits requests.

    Args:
        exchange: one request, one answer.
        retrier: repeats what may be repeated.
        lane: says when the next may go.
        uploads: brings local files to URLs.
        journal: keeps the intent and what came of it.
        settlements: gives each create a callback URL of its own, where there is a receiver.
        offers: refuses what this Keevx does not offer.
        host: who answers; named in errors.
        owners: knows whose the ids are that this client was given.
        emit: told of each create that was accepted, was refused, or is uncertain.
    """

    def __init__(
        self,
        exchange: Transport,
        retrier: Retrier,
        throttle: Throttle,
        uploads: Uploads,
        journal: JournalProtocol,
        reconciler: Reconciler | None,
        availability: Availability,
        host: Host,
        owners: Owners,
        emit: Emit | None = None,
    ) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._throttle = throttle
        self._uploads = uploads
        self._journal = journal
        self._reconciler = reconciler
        self._availability = availability
        self._host = host
        self._owners = owners
        self._emit = emit

    async def plan(self, request: Request, key: str | None) -> Planned:
        """Claim the request's key; without one, a digest and a running number.

        Raises:
            InvalidRequest: the request has a callback URL of its own where every create gets one.
            JournalError: the key stands for another request.
        """
        if self._reconciler is not None and request.callback_url is not None:
            message = "every create has a callback URL of its own where callbacks= is given"
            raise InvalidRequest(
                [Violation("callback_url", request.callback_url, "unused", message)]
            )
        body = canonical_body(request)
        claim = await self._journal.claim(request.kind.name, body, key)
        return Planned(request, claim.key, body, claim.entry)

    async def submit(self, plan: Planned, guard: Guard) -> tuple[str, ...]:
        """Make at most one paid create; none, where the journal knows of one. Return its ids.

        Raises:
            InvalidRequest: it asks for what this Keevx does not offer.
            SubmissionUncertain: it was sent, now or in an earlier run, and its answer was lost.
            APIError: Keevx refused it.
            ConfigurationError: the host at the base URL is not Keevx.
            ConnectionFailed: Keevx could not be reached.
            JournalError: the intent could not be written, so nothing was sent.
        """
        made = False
        try:
            task_ids = self._recorded(plan)
            if not task_ids:
                self._availability.check(plan.request)
                async with self._expecting(plan) as callback_url:
                    body = await self._body(plan, callback_url)
                    call = HttpRequest("POST", plan.request.kind.path, body)
                    task_ids = await self._retrier(self._attempt, call, plan, guard)
            made = True
        except (APIError, ConfigurationError, ConnectionFailed) as error:
            if self._emit is not None:
                self._emit(Refused(plan.key, error))
            raise
        finally:
            await self._journal.release(plan.key, made=made)
        return task_ids

    def _recorded(self, plan: Planned) -> tuple[str, ...]:
        entry = plan.entry
        if entry is None:
            return ()
        # Whatever its state and the mode, a create with a known id was made and is not sent again.
        # Callbacks that confirm all of its ids make it submitted; until then it is in doubt.
        if entry.state is State.SUBMITTED:
            self._owners.add(entry.task_ids, plan.key)
            return entry.task_ids
        if entry.task_ids or (entry.state is State.UNCERTAIN and not self._journal.resubmits):
            raise SubmissionUncertain(plan.request, plan.key, entry.reason, entry.task_ids)
        return ()

    async def _attempt(self, call: HttpRequest, plan: Planned, guard: Guard) -> tuple[str, ...]:
        turn = self._throttle.try_acquire() or await self._throttle.acquire()
        try:
            return await guard(self._send(call, plan, turn))
        finally:
            self._throttle.release(turn)

    def _expecting(self, plan: Planned) -> AbstractAsyncContextManager[str | None]:
        if self._reconciler is None:
            return _NO_URL
        return self._reconciler.expecting(plan.key, plan.request.count, plan.request.kind)

    async def _body(self, plan: Planned, callback_url: str | None) -> bytes:
        request, files = plan.request, plan.request.local_files()
        if files:
            urls = await self._uploads(files, request.kind.formats)
            request = request.with_urls(urls)
        differs = files or callback_url or TASK_MARK in plan.body
        return encode_request(request, callback_url) if differs else plan.body

    async def _send(self, call: HttpRequest, plan: Planned, turn: Permit) -> tuple[str, ...]:
        """Write the intent, send, and write what came of it, before anyone else knows.

        Once the intent is written, whatever ends the exchange is written down as what it is:

        1. ids: submitted.
        2. A refusal, a wrong host, no connection, a client that was closed: no task was made.
        3. Anything else, a cancellation and an error of no kind of ours included: uncertain.
        """
        try:
            task_ids = await self._announced(plan)
            if not task_ids:
                await self._journal.mark_sending(plan.key, plan.request.kind.name, plan.body)
        except SubmissionUncertain as error:
            await self._record_uncertain(plan, error)
            raise
        except asyncio.CancelledError as error:  # the intent may be written, but nothing was sent
            await self._record_refusal(plan, error)
            raise
        try:
            task_ids = task_ids or await self._post(call, plan, turn)
        except SubmissionUncertain as error:
            await self._record_uncertain(plan, error)
            raise
        except (Retryable, KeevxError, asyncio.CancelledError) as error:
            await self._record_refusal(plan, error)
            raise
        await self._record_ids(plan, task_ids)
        return task_ids

    async def _announced(self, plan: Planned) -> tuple[str, ...]:
        """Return the ids that callbacks brought before this try was sent: none, as a rule.

        Raises:
            SubmissionUncertain: they brought some of its ids, or one that cannot be confirmed now.
        """
        if self._reconciler is None:
            return ()
        count = plan.request.count
        try:
            ids = await self._reconciler.announced(plan.key)
        except KeevxError as error:
            reason = f"a callback told of a task, and Keevx could not be asked about it: {error}"
            raise SubmissionUncertain(plan.request, plan.key, reason) from error
        if ids and len(ids) < count:
            raise SubmissionUncertain(plan.request, plan.key, partial_reason(len(ids), count), ids)
        return ids

    async def _record_ids(self, plan: Planned, task_ids: tuple[str, ...]) -> None:
        if self._reconciler is not None:
            self._reconciler.claim_ids(plan.key, task_ids)
        try:
            await _write_through(self._journal.mark_submitted, plan.key, task_ids)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        except Exception as error:
            message = f"the journal could not be written: {type(error).__name__}: {error}"
            raise JournalError(message, task_ids) from error
        if self._emit is not None:
            self._emit(Submitted(plan.key, task_ids))

    async def _record_uncertain(self, plan: Planned, error: SubmissionUncertain) -> None:
        # None leaves alone what an earlier run knew: ids are only ever added to.
        ids = self._reconciler.confirmed(plan.key) if self._reconciler is not None else ()
        known = tuple(dict.fromkeys((*error.task_ids, *ids)))
        await _write_quietly(self._journal.mark_uncertain, plan.key, error.reason, known or None)
        if self._reconciler is not None:
            self._reconciler.mark_lost(plan.key)
        if self._emit is not None:
            self._emit(Uncertain(plan.key, error.reason))

    async def _record_refusal(self, plan: Planned, error: BaseException) -> None:
        """Write that no task was made, which tells nothing of an earlier create in doubt.

        A key that is refused says nothing of the request: it is still to be made.
        """
        journal, entry = self._journal, plan.entry
        if entry is not None and entry.state is State.UNCERTAIN:
            await _write_quietly(journal.mark_uncertain, plan.key, entry.reason)
        elif isinstance(error, APIError) and not isinstance(error, AuthenticationError):
            await _write_quietly(journal.mark_refused, plan.key, str(error))
        else:
            await _write_quietly(journal.mark_planned, plan.key)

    async def _post(self, call: HttpRequest, plan: Planned, turn: Permit) -> tuple[str, ...]:
        try:
            reply = await self._answer(call, plan)
            return await self._read(call, reply, plan, turn)
        except (Retryable, KeevxError):
            raise
        except Exception as error:
            log.debug("a create ended with an unexpected error", exc_info=True)
            reason = self._host.quote(f"{type(error).__name__}: {error}", _callbacks_of(call))
            # Without a cause: some of aiohttp's errors hold the request's headers.
            raise SubmissionUncertain(plan.request, plan.key, reason) from None

    async def _answer(self, call: HttpRequest, plan: Planned) -> HttpResponse:
        try:
            return await self._exchange.exchange(call)
        except TransportError as fault:
            if fault.verdict is Verdict.NOT_SENT:
                raise Retryable(ConnectionFailed(self._host.name, fault.reason)) from fault
            raise SubmissionUncertain(plan.request, plan.key, fault.reason) from fault
        except asyncio.CancelledError as error:
            interruption = interruption_of(error)
            if not interruption.sent:
                raise
            if interruption.response is not None:
                return interruption.response
            # The task is the fan-out's or carry()'s, which wait for it to end.
            reason = "cancelled before the answer"
            raise SubmissionUncertain(plan.request, plan.key, reason) from None

    async def _read(
        self, call: HttpRequest, reply: HttpResponse, plan: Planned, turn: Permit
    ) -> tuple[str, ...]:
        """Return the ids of an answer, or raise what it means."""
        envelope = decode_envelope(reply.body)
        if envelope is not None and reply.complete:
            self._host.is_keevx = True
            if envelope.code == 0 and reply.status < 400:
                ids = decode_ids(envelope.data)
                if ids is not None and not self._owners.foreign(ids, plan.key):
                    return self._accepted(ids, plan, turn)
        return await self._judge(call, reply, envelope, plan, turn)

    def _accepted(self, ids: tuple[str, ...], plan: Planned, turn: Permit) -> tuple[str, ...]:
        self._throttle.accepted(turn)
        self._owners.add(ids, plan.key)
        if len(ids) != plan.request.count:
            log.warning(
                "create %s: %d distinct task id(s) came for %d asked for: %s",
                plan.key,
                len(ids),
                plan.request.count,
                ", ".join(ids),
            )
        return ids

    async def _judge(
        self,
        call: HttpRequest,
        reply: HttpResponse,
        envelope: Envelope | None,
        plan: Planned,
        turn: Permit,
    ) -> tuple[str, ...]:
        """Return the ids of an answer that is not simply accepted, or raise what it means."""
        kind, host = plan.request.kind, self._host
        found = read_contents(reply.body, kind.prefix, _charset_of(reply))
        foreign = self._owners.foreign((*found.ids, *found.traces), plan.key)
        ids = Ids.DOUBTFUL if foreign or found.traces else Ids.READ if found.ids else Ids.NONE
        code = envelope.code if envelope is not None else None
        wait = retry_after(reply.headers, time.time())

        def fate(*, is_keevx: bool) -> Verdict:
            return classify(
                reply.status,
                code,
                ids=ids,
                complete=reply.complete,
                retry_after=wait is not None,
                html=is_html(reply),
                is_keevx=is_keevx,
            )

        verdict = fate(is_keevx=host.is_keevx)
        if verdict is Verdict.WRONG_HOST:
            # Perhaps Keevx has just not been heard yet. Asking costs nothing.
            try:
                is_foreign = await host.is_foreign(query_path(kind, kind.prefix + "0" * 32))
            except asyncio.CancelledError:
                reason = f"HTTP {reply.status}, cancelled before it was known who answers there"
                raise SubmissionUncertain(plan.request, plan.key, reason) from None
            if is_foreign:
                raise host.wrong(call, reply)
            verdict = fate(is_keevx=True)
        secrets = _callbacks_of(call)
        if verdict is Verdict.ACCEPTED:
            if reply.status >= 400 or found.code != 0:
                log.warning(
                    "create %s: task ids %s came in an answer that is no success (HTTP %d) and "
                    "are kept: %s",
                    plan.key,
                    ", ".join(found.ids),
                    reply.status,
                    host.quote(reply.body, secrets),
                )
            return self._accepted(found.ids, plan, turn)
        text = host.quote(reply.body, secrets)
        if verdict is Verdict.REFUSED:
            msg = host.quote(envelope.msg, secrets) if envelope is not None else ""
            error = api_error(reply.status, code, msg, text, kind.codes)
            raise self._refusal(error, wait, turn)
        kept = [one for one in (*found.ids, *found.traces) if one not in foreign]
        self._owners.add(kept, plan.key)
        reason = _reason(reply, foreign, text, is_keevx=host.is_keevx)
        raise SubmissionUncertain(plan.request, plan.key, reason, kept)

    def _refusal(self, error: APIError, wait: float | None, turn: Permit) -> Exception:
        if not is_busy(error.status, error.code):
            return error
        # 0, or a date that has passed, is no time to wait: then it is ours to choose.
        wait = wait or None
        if is_rate_limit(error.status, error.code):
            self._throttle.refused(turn, wait)
            return Retryable(error, wait or 0.0)
        return Retryable(error, wait)


def _reason(reply: HttpResponse, foreign: Mapping[str, str], text: str, *, is_keevx: bool) -> str:
    """Say what was seen where it is not known what became of a create."""
    if foreign:
        whose = ", ".join(f"{task_id} of create {key}" for task_id, key in foreign.items())
        return f"HTTP {reply.status}, the answer to another create: it names {whose}"
    what = "no task ids could be read"
    if not reply.complete:
        what = f"cut off ({reply.reason}), and {what}"
    where = "" if is_keevx else "; this host has never answered as Keevx does: check the base URL"
    return f"HTTP {reply.status}, {what} from: {text!r}{where}"


def _charset_of(reply: HttpResponse) -> str | None:
    _, _, charset = reply.headers.get("Content-Type", "").lower().partition("charset=")
    return charset.partition(";")[0].strip(" \"'") or None


def _callbacks_of(call: HttpRequest) -> tuple[str, ...]:
    """Return a create's callback URL and its token: an answer may echo them."""
    body = json.loads(call.body) if isinstance(call.body, bytes) else {}
    url = body.get("callback_url") or ""
    token = url.rstrip("/").rpartition("/")[2]
    return (url, token) if token else ()


async def _write_through(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Have something written, to its end: what is known of paid work outlives a cancellation."""
    try:
        await write(*what)
    except asyncio.CancelledError:
        again = asyncio.ensure_future(write(*what))  # the same row; done when it is durable
        while not again.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({again})
        again.result()


async def _write_quietly(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Have something written beside an error; the error itself is what the caller must see.

    A journal that cannot be written stops later creates, and what is left in it as ``sending``
    reads as uncertain.
    """
    try:
        await _write_through(write, *what)
    except JournalError:
        pass
    except Exception:
        log.exception("the journal could not be written")
