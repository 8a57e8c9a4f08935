"""The one path of every create: key, upload, throttle, intent, POST, record.

The money rule. A create is paid and has no idempotency key, so it is sent again only when it is
certain that no task was made. What became of a POST decides, and nothing else does:

1. It was not handed to a connection (refused, DNS, TLS, a proxy's CONNECT, a connect timeout): no
   task was made. It is retried under the RetryPolicy, then raised as ConnectionFailed.
2. Keevx refused it (429, 503, an envelope with a code of its own and no task ids): no task was
   made. It is retried if Keevx is busy, else raised as APIError.
3. The host has never answered as Keevx does, and its answer is no answer of Keevx's: no task was
   made. ConfigurationError names the base URL.
4. The answer holds task ids: they were made and are kept, whatever else the answer claims.
5. Anything else (dropped after it was sent, timed out, cancelled, unreadable): nobody knows. It is
   never sent again by itself. SubmissionUncertain says so, and a callback may still settle it.

The journal holds each step before the next begins. A create's State is
- planned: nothing was sent, or nothing was made for certain. It may be sent.
- sending: the intent is on disk; the POST may be on its way. A run that ends here leaves a create
  that reads as uncertain.
- submitted: its ids are on disk. It is never sent again; its ids are returned.
- refused: case 2 or 3. It cost nothing, and the same request may be sent again.
- uncertain: case 5, with the ids that are known to be its own. It is left alone unless the user
  asks for ``on_uncertain="resubmit"``, and even then if it has an id.

The intent is durable before the first byte is sent, and the ids are durable before the caller has
them. Between these two nothing but the answer, or the end of its grace, ends a create: the step is
shielded from the caller's cancellation. A fan-out shields the steps of its own workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from attrs import define, field

from ..errors import (
    APIError,
    AuthenticationError,
    BudgetExceeded,
    ConfigurationError,
    ConnectionFailed,
    InsufficientFunds,
    JournalError,
    KeevxError,
    SubmissionUncertain,
    request_id_of,
)
from ..events import Emit, Refused, Span, Submitted, Uncertain
from ..http.queries import Host
from ..http.retry import Retrier, Retryable, correlation
from ..http.transport import CLIENT_CLOSED, HttpRequest, Transport, interruption_of
from ..http.verdict import TransportError, Verdict, is_rate_limit
from ..http.wire import decode_envelope, decode_ids
from ..journal.protocol import JournalProtocol, OverLimit, State
from ..models.kinds import Kind
from ..models.request import NO_FILES, Request, canonical_body, encode_request
from ..models.sources import TASK_SCHEME
from .answers import callback_secrets, log_hold, log_late, read_answer
from .availability import Availability
from .planned import Planned
from .reconciler import Reconciler
from .reservations import Reservations
from .shield import Guard, run_shielded, write_quietly, write_through
from .sources import Sources
from .throttle import Permit, Throttle

log = logging.getLogger("keevx_async.submission")

T = TypeVar("T")
IdsToCome = Coroutine[Any, Any, tuple[str, ...]]
TASK_MARK = f'"{TASK_SCHEME}'.encode()
"""A canonical body without it holds no task's result, and is sent unchanged."""
MAX_OWNED = 100_000
"""Task ids of which a client remembers the create; the oldest are forgotten."""


@define(eq=False)
class Submitter:
    """Submits requests, on one event loop: each create at most once.

    Args:
        transport: sends one request and returns one response.
        retrier: repeats what may be repeated.
        throttle: decides when the next create may go.
        sources: knows local files by their bytes, and brings them to URLs.
        journal: keeps the intent and what came of it.
        reconciler: gives each create a callback URL of its own; None without a receiver.
        availability: what this edition offers.
        reservations: keep the budget.
        host: who answers; named in errors.
        owners: the key of the create that each id was given to. An id that comes again for another
            key shows that a server or a gateway answered twice on one connection.
        register: receives each task's id, request, and age in seconds.
        remember_kind: receives ids whose prefix may not name their kind.
        emit: receives Submitted, Refused and Uncertain events.
        span: entered around each submit.
        shielded, stopped: paid steps under way; whether no more may begin. ``with_options`` shares.
    """

    _transport: Transport = field(alias="transport")
    _retrier: Retrier = field(alias="retrier")
    _throttle: Throttle = field(alias="throttle")
    _sources: Sources = field(alias="sources")
    _journal: JournalProtocol = field(alias="journal")
    _reconciler: Reconciler | None = field(alias="reconciler")
    _availability: Availability = field(alias="availability")
    reservations: Reservations
    _host: Host = field(alias="host")
    _owners: OrderedDict[str, str] = field(alias="owners")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _remember_kind: Callable[[Sequence[str], Kind], None] = field(alias="remember_kind")
    _emit: Emit | None = field(default=None, alias="emit")
    _span: Span | None = field(default=None, alias="span")
    _shielded: set[asyncio.Task[Any]] = field(factory=set[asyncio.Task[Any]], alias="shielded")
    _stopped: asyncio.Event = field(factory=asyncio.Event, alias="stopped")
    _waited_for_funds: set[str] = field(factory=set[str], alias="waited_for_funds")

    async def plan(self, request: Request, key: str | None) -> Planned:
        """Claim the request's key; without one, a digest and a running number.

        Raises:
            InvalidRequest: the request has a callback URL of its own where every create gets one.
            JournalError: the key stands for another request.
            UploadError: a local file cannot be read, or is nothing that Keevx takes.
        """
        if self._reconciler is not None:
            self._reconciler.check(request)
        has_files = bool(request.files())
        body = await self.body(request) if has_files else canonical_body(request)
        claim = await self._journal.claim(request.kind.name, body, key)
        return Planned(request, claim.key, body, claim.entry, has_files=has_files)

    async def body(self, request: Request) -> bytes:
        """Return a request's canonical JSON, with local files by their digests."""
        digests = await self._sources.digests(request) if request.local_files() else NO_FILES
        return canonical_body(request, digests)

    async def is_recorded(self, key: str) -> bool:
        """Return whether the journal has a create."""
        return await self._journal.find(key) is not None

    async def release(self, plan: Planned) -> None:
        """Give up the claim of a plan that is not submitted."""
        await self._journal.release(plan.key)

    def submit(self, plan: Planned, guard: Guard | None = None) -> IdsToCome:
        """Make at most one paid create, and none where the journal has its ids. Return the ids.

        When cancelled, a create that was sent gets ``RetryPolicy.grace`` seconds to be answered,
        and is recorded before the cancellation goes on.

        Args:
            plan: from `plan`; good for one call.
            guard: shields the paid step; by default `run_shielded` does.

        Raises:
            InvalidRequest: it asks for what this edition does not offer.
            BudgetExceeded: it does not fit in what is left of the budget.
            SubmissionUncertain: it was sent, now or in an earlier run, and its answer was lost.
            APIError: Keevx refused it.
            ConfigurationError: the host at the base URL is not Keevx, or the client was closed.
            ConnectionFailed: Keevx could not be reached.
            JournalError: the intent could not be written: nothing was sent; or the ids could not:
                ``task_ids`` holds them.
        """
        if self._span is None:
            return self._submit(plan, guard)
        return self._spanned(plan, guard, self._span)

    async def _spanned(self, plan: Planned, guard: Guard | None, span: Span) -> tuple[str, ...]:
        with span("submit", plan.key, plan.request):
            return await self._submit(plan, guard)

    async def _submit(self, plan: Planned, guard: Guard | None) -> tuple[str, ...]:
        made = False
        try:
            task_ids = self._recorded_ids(plan)
            if not task_ids:
                if self._availability.limits:
                    self._availability.check(plan.request)
                is_resent = plan.entry is not None and plan.entry.state is State.UNCERTAIN
                if self.reservations.is_limited or is_resent:
                    reservation = await self.reservations.reserve(plan.request, again=is_resent)
                    plan = plan._replace(reservation=reservation)
                if self._reconciler is None:
                    task_ids = await self._create(plan, None, guard)
                else:
                    kind, count = plan.request.kind, plan.request.count
                    async with self._reconciler.expecting(plan.key, count, kind) as callback_url:
                        task_ids = await self._create(plan, callback_url, guard)
            made = True
        except (APIError, BudgetExceeded, ConfigurationError, ConnectionFailed) as error:
            if self._emit is not None:
                self._emit(Refused(plan.key, error))
            raise
        finally:
            self._waited_for_funds.discard(plan.key)
            if plan.reservation is not None:
                plan.reservation.end()
            await self._journal.release(plan.key, made=made)
        # The prefix of a new id names its kind, as a rule. An id of an earlier run may have been
        # queried in this one, under a kind that the caller got wrong; and a clock that was wrong
        # must not make its wait longer.
        entry, kind = plan.entry, plan.request.kind
        age = max(0.0, time.time() - entry.at) if entry and entry.task_ids else 0.0
        for task_id in task_ids:
            if entry is not None or not task_id.startswith(kind.prefix):
                self._remember_kind((task_id,), kind)
            self._register(task_id, plan.request, age)
        return task_ids

    def stop(self) -> None:
        """Let no create that this submitter shields be sent from now on."""
        self._stopped.set()

    async def drain(self) -> None:
        """Wait for the paid steps under way, for at most ``RetryPolicy.grace`` seconds."""
        if self._shielded:
            await asyncio.wait(self._shielded, timeout=self._retrier.policy.grace)

    async def _shield(self, step: Coroutine[Any, Any, T], key: str) -> T:
        if self._stopped.is_set():
            step.close()
            raise ConfigurationError(CLIENT_CLOSED)
        task = asyncio.create_task(step)
        self._shielded.add(task)
        task.add_done_callback(self._shielded.discard)
        return await run_shielded(task, self._retrier.policy.grace, partial(log_late, key))

    def _recorded_ids(self, plan: Planned) -> tuple[str, ...]:
        """Return the ids that the journal has of a create; none where it is to be sent."""
        # 1. Submitted: its ids.
        # 2. Some id is recorded: it was made and is not sent again in any mode. It stays in doubt
        #    until callbacks confirm all of its ids.
        # 3. Uncertain without an id: left alone, unless the journal is to resubmit such creates.
        # 4. Anything else cost nothing and is sent.
        entry = plan.entry
        if entry is None or not entry.is_final(resubmits=self._journal.resubmits):
            return ()
        if entry.is_submitted:
            self._claim(entry.task_ids, plan.key)
            return entry.task_ids
        raise SubmissionUncertain(plan.request, plan.key, entry.reason, entry.task_ids)

    async def _create(
        self, plan: Planned, callback_url: str | None, guard: Guard | None
    ) -> tuple[str, ...]:
        request, body = plan.request, plan.body
        if self._emit is not None or plan.has_files:
            request = await self._sources.prepare(plan.key, request)
        if request is not plan.request or callback_url or TASK_MARK in body:
            body = encode_request(request, callback_url)
        call = HttpRequest("POST", request.kind.path, body, key=plan.key)
        return await self._retrier(self._attempt, call, plan, guard, key=plan.key)

    async def _attempt(
        self, call: HttpRequest, plan: Planned, guard: Guard | None
    ) -> tuple[str, ...]:
        permit = self._throttle.try_acquire() or await self._throttle.acquire()
        try:
            is_counted = plan.reservation is not None or self.reservations.is_counted
            send = self._send_counted if is_counted else self._send
            step = send(call, plan, permit)
            return await (self._shield(step, plan.key) if guard is None else guard(step))
        finally:
            self._throttle.release(permit)

    async def _send_counted(
        self, call: HttpRequest, plan: Planned, permit: Permit
    ) -> tuple[str, ...]:
        # The step may outlive the call that is cancelled: until it ends, its share is not free.
        reservation = plan.reservation or await self.reservations.reserve_step(plan.request)
        with reservation or nullcontext():
            return await self._send(call, plan._replace(reservation=reservation), permit)

    async def _send(self, call: HttpRequest, plan: Planned, permit: Permit) -> tuple[str, ...]:
        """Write the intent, send, and write what came of it, before anyone else knows."""
        try:
            task_ids: tuple[str, ...] = ()
            if self._reconciler is not None:
                task_ids = await self._reconciler.announced(plan.key, plan.request)
            if not task_ids:
                await self._journal.mark_sending(plan.key, plan.request.kind.name, plan.body)
        except OverLimit as error:
            raise self.reservations.exceeded(plan.request, error.usage) from None
        except SubmissionUncertain as error:
            await self._record_uncertain(plan, error)
            raise
        except asyncio.CancelledError as error:  # the intent may be written, but nothing was sent
            await self._record_refusal(plan, error)
            raise
        # Once the intent is written, whatever ends the exchange is written down as what it is:
        # 1. Ids: submitted.
        # 2. A refusal, a wrong host, no connection, a client that was closed: no task was made.
        # 3. Anything else, a cancellation and an unexpected error included: uncertain.
        try:
            task_ids = task_ids or await self._exchange(call, plan, permit)
        except SubmissionUncertain as error:
            await self._record_uncertain(plan, error)
            raise
        except (Retryable, KeevxError, asyncio.CancelledError) as error:
            await self._record_refusal(plan, error)
            raise
        if self._reconciler is not None:
            self._reconciler.claim_ids(plan.key, task_ids)
        if plan.reservation is not None:
            plan.reservation.keep(len(task_ids))
        try:
            await write_through(self._journal.mark_submitted, plan.key, task_ids)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        except Exception as error:
            reason = f"the journal could not be written: {type(error).__name__}: {error}"
            raise JournalError(reason, task_ids) from error
        if self._emit is not None:
            self._emit(Submitted(plan.key, task_ids))
        return task_ids

    async def _exchange(self, call: HttpRequest, plan: Planned, permit: Permit) -> tuple[str, ...]:
        """Send once, and return the ids in the answer or raise what became of the create."""
        # 1. The transport failed before a connection had the request: it may be retried.
        # 2. It failed afterwards: uncertain.
        # 3. Cancelled before it was sent: the cancellation goes on. Afterwards, what came of the
        #    answer is read; without one, uncertain. The guard raises the cancellation later.
        # 4. A plain success: its ids. Any other answer is read with care, by `read_answer`.
        # 5. An error of no kind of ours: uncertain, and without a cause, for some of aiohttp's
        #    errors hold the request's headers.
        request, key = plan.request, plan.key
        try:
            try:
                response = await self._transport.exchange(call)
            except TransportError as error:
                if error.verdict is Verdict.NOT_SENT:
                    raise Retryable(ConnectionFailed(self._host.name, error.reason)) from error
                raise SubmissionUncertain(request, key, error.reason) from error
            except asyncio.CancelledError as error:
                interruption = interruption_of(error)
                if not interruption.sent:
                    raise
                if interruption.response is None:
                    raise SubmissionUncertain(request, key, "cancelled before the answer") from None
                response = interruption.response
            task_ids: tuple[str, ...] | None = None
            envelope = decode_envelope(response.body) if response.complete else None
            if envelope is not None:
                self._host.is_keevx = True
                if envelope.code == 0 and response.status < 400:
                    task_ids = decode_ids(envelope.data)
            if task_ids is None or self._claim(task_ids, key):
                # What such an answer names is looked up, not claimed: it may be another create's
                # whose own answer is still on its way.
                foreign = partial(self._foreign, key=key)
                age = self._throttle.age(permit)
                task_ids = await read_answer(call, response, self._host, request, key, foreign, age)
                self._claim(task_ids, key)
            self._throttle.accepted(permit)
            wrong = len(task_ids) != request.count
            if wrong or log.isEnabledFor(logging.DEBUG):
                seconds, request_id = self._throttle.age(permit), request_id_of(response.headers)
                extra = correlation(key, seconds, response.status, request_id)
                ids = f"{len(task_ids)} distinct: {', '.join(task_ids)}"
                if wrong:
                    what = "create %s: expected %d task ids, got %s"
                    log.warning(what, key, request.count, ids, extra=extra)
                else:
                    log.debug("create %s: accepted, %s", key, ", ".join(task_ids), extra=extra)
            return task_ids
        except Retryable as retry:
            refusal = retry.error
            if isinstance(refusal, InsufficientFunds):
                # Funds that are to come are waited for once, and no other create goes meanwhile.
                if key in self._waited_for_funds:
                    raise refusal from None
                self._waited_for_funds.add(key)
                log_hold(key, refusal, self._throttle.hold(retry.delay or 0.0))
            elif isinstance(refusal, APIError) and is_rate_limit(refusal.status, refusal.code):
                log_hold(key, refusal, self._throttle.refused(permit, retry.delay or None))
            raise
        except SubmissionUncertain as error:
            self._claim(error.task_ids, key)
            raise
        except KeevxError:
            raise
        except Exception as error:
            what, extra = "create %s ended with an unexpected error", correlation(key)
            log.debug(what, key, exc_info=True, extra=extra)
            reason = self._host.quote(f"{type(error).__name__}: {error}", callback_secrets(call))
            raise SubmissionUncertain(request, key, reason) from None

    def _claim(self, task_ids: Sequence[str], key: str) -> dict[str, str]:
        """Remember whose some ids are; return those that are another create's, with its key."""
        foreign: dict[str, str] = {}
        for task_id in task_ids:
            owner = self._owners.setdefault(task_id, key)
            if owner != key:
                foreign[task_id] = owner
        while len(self._owners) > MAX_OWNED:
            self._owners.popitem(last=False)
        return foreign

    def _foreign(self, task_ids: Sequence[str], key: str) -> dict[str, str]:
        """Return those ids that are another create's, with its key."""
        owners = self._owners
        return {task_id: owners[task_id] for task_id in task_ids if owners.get(task_id, key) != key}

    async def _record_uncertain(self, plan: Planned, error: SubmissionUncertain) -> None:
        # None leaves alone what an earlier run recorded: ids are only ever added to.
        ids = self._reconciler.confirmed(plan.key) if self._reconciler is not None else ()
        task_ids = tuple(dict.fromkeys((*error.task_ids, *ids)))
        if plan.reservation is not None:
            plan.reservation.keep(len(task_ids))
        await write_quietly(self._journal.mark_uncertain, plan.key, error.reason, task_ids or None)
        if self._reconciler is not None:
            self._reconciler.mark_lost(plan.key)
        if self._emit is not None:
            self._emit(Uncertain(plan.key, error.reason))

    async def _record_refusal(self, plan: Planned, error: BaseException) -> None:
        """Write that this attempt made no task."""
        # 1. An earlier create of the key is in doubt: it stays so, for this one settles nothing.
        # 2. Keevx refused the request: refused.
        # 3. Keevx refused the API key, there were no funds, or nothing was sent: the request is
        #    still to be made.
        journal, entry = self._journal, plan.entry
        if entry is not None and entry.state is State.UNCERTAIN:
            await write_quietly(journal.mark_uncertain, plan.key, entry.reason)
        elif isinstance(error, APIError) and not isinstance(
            error, AuthenticationError | InsufficientFunds
        ):
            await write_quietly(journal.mark_refused, plan.key, str(error))
        else:
            await write_quietly(journal.mark_planned, plan.key)
