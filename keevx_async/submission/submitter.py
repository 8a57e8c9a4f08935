"""The path of every create: key, upload, throttle, intent, POST, record.

The money rule: a create is charged and has no idempotency key, so it is sent again only if it is
certain that no task was made. That depends only on how the POST ended:

1. It was not handed to a connection (refused, DNS, TLS, a proxy's CONNECT, a connect timeout): no
   task was made. It is retried under the RetryPolicy, then ConnectionFailed is raised.
2. Keevx refused it (429, 503, an envelope with Keevx's own code and no task ids): no task was
   made. It is retried if Keevx is busy; otherwise APIError is raised.
3. The host has never responded as Keevx does, and this response is not from Keevx either: no task
   was made. ConfigurationError names the base URL.
4. The response has task ids: the tasks were made, and the ids are kept, whatever else it claims.
5. Anything else (dropped after it was sent, timed out, cancelled, unreadable): it is unknown if a
   task was made. The create is never sent again automatically. SubmissionUncertain is raised; a
   callback may still settle the create.

The journal records each step before the next step starts. A create's State is
- planned: nothing was sent, or it is certain that no task was made. The create may be sent.
- sending: the intent is on disk; the POST may be on its way. If a run ends here, the create counts
  as uncertain.
- submitted: the ids are on disk. The create is never sent again; its ids are returned.
- refused: case 2 or 3. It cost nothing, and the same request may be sent again.
- uncertain: case 5, with any ids known to be the create's. The create is sent again only if the
  user asks for ``on_uncertain="resubmit"``, and never if it has an id.

The intent is durable before the first byte is sent, and the ids are durable before the caller gets
them. In between, only the response or the end of the grace period ends a create: the step is
shielded from the caller's cancellation. A fan-out shields its own workers' steps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from attrs import define, evolve, field

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
from ..http.decoding import decode_envelope, decode_ids
from ..http.queries import Host
from ..http.retry import Retrier, Retryable, correlation
from ..http.transport import CLIENT_CLOSED, HttpRequest, Transport, interruption_of
from ..http.verdict import TransportError, Verdict, is_rate_limit
from ..journal.protocol import JournalProtocol, OverLimit, State
from ..models.bounded import BoundedDict
from ..models.kinds import Kind
from ..models.request import NO_FILES, Request, canonical_body, encode_request
from .answers import callback_secrets, log_hold, log_late, read_answer
from .availability import Availability
from .planned import Planned
from .reconciler import Reconciler
from .reservations import Reservations
from .shield import Guard, run_shielded, write_again, write_quietly
from .sources import Sources
from .throttle import Permit, Throttle

log = logging.getLogger("keevx_async.submission")

T = TypeVar("T")
IdsToCome = Coroutine[Any, Any, tuple[str, ...]]
MAX_OWNED = 100_000
"""The maximum number of task ids whose create a client remembers. The oldest are forgotten."""


@define(eq=False)
class Submitter:
    """Submits requests on one event loop, each create at most once.

    Args:
        transport: sends one request and returns one response.
        retrier: retries attempts that may be repeated.
        throttle: decides when the next create may be sent.
        sources: hashes and uploads local files.
        journal: records the intent and the result.
        reconciler: gives each create its own callback URL; None if there is no receiver.
        availability: the values offered by this edition of Keevx.
        reservations: enforces the budget.
        host: the host at the base URL; named in errors.
        owners: maps each task id to its create's key. If an id arrives again for another key, a
            server or gateway responded twice on one connection.
        register: called with each task's id, request, and age in seconds.
        remember_kind: called with ids whose prefix may not show their kind.
        emit: receives Submitted, Refused and Uncertain events.
        span: opens a span around each submit.
        shielded: paid steps in progress. Clients made by ``with_options`` share this and `stopped`.
        stopped: set once no more paid steps may start.
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
    _owners: BoundedDict[str, str] = field(alias="owners")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _remember_kind: Callable[[Sequence[str], Kind], None] = field(alias="remember_kind")
    _emit: Emit | None = field(default=None, alias="emit")
    _span: Span | None = field(default=None, alias="span")
    _shielded: set[asyncio.Task[Any]] = field(factory=set[asyncio.Task[Any]], alias="shielded")
    _stopped: asyncio.Event = field(factory=asyncio.Event, alias="stopped")
    _waited_for_funds: set[str] = field(factory=set[str], alias="waited_for_funds")

    async def plan(self, request: Request, key: str | None) -> Planned:
        """Claim a key for the request: ``key``, or by default a digest and a running number.

        Raises:
            InvalidRequest: the request sets a callback URL, but every create gets its own.
            JournalError: the key belongs to another request.
            UploadError: a local file cannot be read, or is not in a format that Keevx accepts.
        """
        if self._reconciler is not None:
            self._reconciler.check(request)
        is_plain = request.has_plain_sources
        body = canonical_body(request) if is_plain else await self.body(request)
        claim = await self._journal.claim(request.kind.name, body, key)
        return Planned(request, claim.key, body, claim.entry, is_plain=is_plain)

    async def body(self, request: Request) -> bytes:
        """Return a request's canonical JSON, with digests in place of local files."""
        digests = await self._sources.digests(request) if request.local_files() else NO_FILES
        return canonical_body(request, digests)

    async def is_recorded(self, key: str) -> bool:
        """Return whether the journal has a create with this key."""
        return await self._journal.find(key) is not None

    async def release(self, plan: Planned) -> None:
        """Release the key of a plan that will not be submitted."""
        await self._journal.release(plan.key)

    def submit(self, plan: Planned, guard: Guard | None = None) -> IdsToCome:
        """Send at most one paid create, or none if the journal has its ids. Return the ids.

        If cancelled, a create that was sent gets ``RetryPolicy.grace`` seconds to receive its
        response, which is recorded before the cancellation is raised.

        Args:
            plan: a plan made by `plan`; valid for one call.
            guard: shields the paid step; by default, `run_shielded`.

        Raises:
            InvalidRequest: the request has a value that this edition does not offer.
            BudgetExceeded: the request does not fit in the remaining budget.
            SubmissionUncertain: the create was sent, now or in an earlier run, and its response
                was lost.
            APIError: Keevx refused the create.
            ConfigurationError: the host at the base URL is not Keevx, or the client was closed.
            ConnectionFailed: Keevx could not be reached.
            JournalError: the intent could not be written, so nothing was sent; or the ids could
                not be written, but the error's ``task_ids`` has them.
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
                    plan.reservation = await self.reservations.reserve(
                        plan.request, again=is_resent
                    )
                if self._reconciler is None and self._emit is None and plan.is_plain:
                    task_ids = await self._create(plan, plan.body, guard)
                else:
                    task_ids = await self._prepare_and_create(plan, guard)
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
        # A new id's prefix usually shows its kind. But an id from an earlier run may have been
        # queried in this run with a wrong kind=. And a wrong clock must not make the wait longer.
        entry, kind = plan.entry, plan.request.kind
        age = max(0.0, time.time() - entry.at) if entry and entry.task_ids else 0.0
        for task_id in task_ids:
            if entry is not None or not task_id.startswith(kind.prefix):
                self._remember_kind((task_id,), kind)
            self._register(task_id, plan.request, age)
        return task_ids

    def stop(self) -> None:
        """Start no more paid steps outside of fan-outs."""
        self._stopped.set()

    async def drain(self) -> None:
        """Wait for paid steps in progress, for at most ``RetryPolicy.grace`` seconds."""
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
        """Return a create's ids from the journal, or an empty tuple if it must be sent."""
        # 1. Submitted: return its ids.
        # 2. Some id is recorded: the create was made and is never sent again. It remains uncertain
        #    until callbacks confirm all of its ids.
        # 3. Uncertain without an id: left alone, unless the journal resubmits such creates.
        # 4. Anything else cost nothing and is sent.
        entry = plan.entry
        if entry is None or not entry.is_final(resubmits=self._journal.resubmits):
            return ()
        if entry.is_submitted:
            self._claim(entry.task_ids, plan.key)
            return entry.task_ids
        raise SubmissionUncertain(plan.request, plan.key, entry.reason, entry.task_ids)

    async def _prepare_and_create(self, plan: Planned, guard: Guard | None) -> tuple[str, ...]:
        """Upload the request's files, add the callback URL, and send the create."""
        request, key = plan.request, plan.key
        if self._reconciler is None:
            request = await self._sources.prepare(key, request)
            body = plan.body if plan.is_plain else encode_request(request)
            return await self._create(plan, body, guard)
        async with self._reconciler.expecting(key, request.count, request.kind) as callback_url:
            request = await self._sources.prepare(key, request)
            return await self._create(plan, encode_request(request, callback_url), guard)

    def _create(self, plan: Planned, body: bytes, guard: Guard | None) -> IdsToCome:
        call = HttpRequest("POST", plan.request.kind.path, body, 0.0, plan.key)
        return self._retrier.run(self._attempt, call, plan, guard, key=plan.key)

    async def _attempt(
        self, call: HttpRequest, plan: Planned, guard: Guard | None
    ) -> tuple[str, ...]:
        permit = self._throttle.try_acquire() or await self._throttle.acquire()
        try:
            send = self._send
            if plan.reservation is not None or self.reservations.is_counted:
                send = self._send_counted
            if guard is None:
                return await self._shield(send(call, plan, permit), plan.key)
            with guard:
                return await send(call, plan, permit)
        finally:
            self._throttle.release(permit)

    async def _send_counted(
        self, call: HttpRequest, plan: Planned, permit: Permit
    ) -> tuple[str, ...]:
        # The step may outlive a cancelled call, so its share stays reserved until the step ends.
        reservation = plan.reservation or await self.reservations.reserve_step(plan.request)
        with reservation or nullcontext():
            return await self._send(call, evolve(plan, reservation=reservation), permit)

    async def _send(self, call: HttpRequest, plan: Planned, permit: Permit) -> tuple[str, ...]:
        """Record the intent, send the create, and record the result before returning it."""
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
        # Once the intent is written, record how the exchange ends:
        # 1. Ids: submitted.
        # 2. A refusal, a wrong host, no connection, a closed client: no task was made.
        # 3. Anything else, including a cancellation and an unexpected error: uncertain.
        try:
            task_ids = task_ids or await self._exchange(call, plan, permit)
        except SubmissionUncertain as error:
            await self._record_uncertain(plan, error)
            raise
        except (Retryable, KeevxError, asyncio.CancelledError) as error:
            await self._record_refusal(plan, error)
            raise
        # The create has been answered: another may be sent while its ids are being written.
        self._throttle.release(permit)
        if self._reconciler is not None:
            self._reconciler.claim_ids(plan.key, task_ids)
        if plan.reservation is not None:
            plan.reservation.keep(len(task_ids))
        try:
            try:
                await self._journal.mark_submitted(plan.key, task_ids)
            except asyncio.CancelledError:
                await write_again(self._journal.mark_submitted, plan.key, task_ids)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        except Exception as error:
            reason = f"could not write the journal: {type(error).__name__}: {error}"
            raise JournalError(reason, task_ids) from error
        if self._emit is not None:
            self._emit(Submitted(plan.key, task_ids))
        return task_ids

    async def _exchange(self, call: HttpRequest, plan: Planned, permit: Permit) -> tuple[str, ...]:
        """Send the create once. Return the ids in the response, or raise the matching error."""
        # 1. The transport failed before a connection had the request: it may be retried.
        # 2. The transport failed afterwards: uncertain.
        # 3. Cancelled before it was sent: raise the cancellation. Cancelled later: read the part of
        #    the response that arrived; without one, uncertain. The guard raises the cancellation.
        # 4. A plain success: return its ids. `read_answer` interprets any other response.
        # 5. An unexpected error: uncertain, and raised without a cause, since some aiohttp errors
        #    contain the request's headers.
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
                    raise SubmissionUncertain(request, key, "cancelled in flight") from None
                response = interruption.response
            task_ids: tuple[str, ...] | None = None
            envelope = decode_envelope(response.body) if response.complete else None
            if envelope is not None:
                self._host.is_keevx = True
                if envelope.code == 0 and response.status < 400:
                    task_ids = decode_ids(envelope.data)
            if task_ids is None or self._claim(task_ids, key):
                # Ids in such a response are looked up, not claimed: they may belong to another
                # create whose own response is still on its way.
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
                # Wait for funds once. No other create is sent in the meantime.
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
            what = "create %s ended with an unexpected error"
            log.debug(what, key, exc_info=True, extra=correlation(key))
            reason = self._host.quote(f"{type(error).__name__}: {error}", callback_secrets(call))
            raise SubmissionUncertain(request, key, reason) from None

    def _claim(self, task_ids: Sequence[str], key: str) -> dict[str, str]:
        """Claim ids for a create; return the ids that belong to other creates, with their keys."""
        foreign: dict[str, str] = {}
        for task_id in task_ids:
            owner = self._owners.setdefault(task_id, key)
            if owner != key:
                foreign[task_id] = owner
        return foreign

    def _foreign(self, task_ids: Sequence[str], key: str) -> dict[str, str]:
        """Return the ids that belong to other creates, with their keys."""
        owners = self._owners
        return {task_id: owners[task_id] for task_id in task_ids if owners.get(task_id, key) != key}

    async def _record_uncertain(self, plan: Planned, error: SubmissionUncertain) -> None:
        # None keeps the ids that an earlier run recorded: ids are only ever added.
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
        """Record that this attempt made no task."""
        # 1. An earlier create with this key is uncertain: it remains so, since this attempt does
        #    not settle it.
        # 2. Keevx refused the request: refused.
        # 3. Keevx refused the API key, there were no funds, or nothing was sent: planned.
        journal, entry = self._journal, plan.entry
        if entry is not None and entry.state is State.UNCERTAIN:
            await write_quietly(journal.mark_uncertain, plan.key, entry.reason)
        elif isinstance(error, APIError) and not isinstance(
            error, AuthenticationError | InsufficientFunds
        ):
            await write_quietly(journal.mark_refused, plan.key, str(error))
        else:
            await write_quietly(journal.mark_planned, plan.key)
