"""The one path of every create: upload, pace, POST, verdict. Never sent twice by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple, TypeVarTuple

from .errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    JournalError,
    SubmissionUncertain,
    Violation,
)
from .events import Emit, Refused, Submitted, Uncertain
from .fanout import Guard
from .inputs import TASK_SCHEME
from .journal import Entry, JournalProtocol, State
from .lane import Lane, Turn
from .offers import Offers
from .requests import Request
from .retry import Again, Retrier
from .settling import Settlements
from .transport import Call, Exchange, Reply, interruption_of
from .verdict import Fate, Fault, api_error, fate_of, is_rate_limit, is_transient, retry_after
from .wire import canonical_body, decode_envelope, decode_ids, encode_request

Ts = TypeVarTuple("Ts")
_NO_URL = nullcontext()
TASK_MARK = f'"{TASK_SCHEME}'.encode()
"""Where it is not in a canonical body, no result of a task is: the body is sent as it is."""
Uploads = Callable[[tuple[Path, ...], tuple[str, ...]], Awaitable[Mapping[Path, str]]]
"""Takes local files, and the names of the formats that they may be; returns the URL of each."""


class Plan(NamedTuple):
    """A create to be made: what, under which key, its canonical body, and what is known of it."""

    request: Request
    key: str
    body: bytes
    entry: Entry | None


class Creator:
    """Submits requests.

    Args:
        exchange: one request, one answer.
        retrier: repeats what may be repeated.
        lane: says when the next may go.
        uploads: brings local files to URLs.
        journal: keeps the intent and what came of it.
        settlements: gives each create a callback URL of its own, where there is a receiver.
        offers: refuses what this Keevx does not offer.
        host: named in errors.
        emit: told of each create that was accepted, was refused, or is uncertain.
    """

    def __init__(
        self,
        exchange: Exchange,
        retrier: Retrier,
        lane: Lane,
        uploads: Uploads,
        journal: JournalProtocol,
        settlements: Settlements | None,
        offers: Offers,
        host: str,
        emit: Emit | None = None,
    ) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._lane = lane
        self._uploads = uploads
        self._journal = journal
        self._settlements = settlements
        self._offers = offers
        self._host = host
        self._emit = emit

    async def plan(self, request: Request, key: str | None) -> Plan:
        """Claim the request's key; without one, a digest and a running number.

        Raises:
            JournalError: the key stands for another request.
        """
        if self._settlements is not None and request.callback_url is not None:
            message = "every create has a callback URL of its own where callbacks= is given"
            raise InvalidRequest(
                [Violation("callback_url", request.callback_url, "unused", message)]
            )
        body = canonical_body(request)
        claim = await self._journal.claim(request.kind.name, body, key)
        return Plan(request, claim.key, body, claim.entry)

    async def create(self, plan: Plan, guard: Guard) -> tuple[str, ...]:
        """Make at most one paid create; none, where the journal knows of one. Return its ids.

        Raises:
            InvalidRequest: it asks for what this Keevx does not offer.
            SubmissionUncertain: it was sent, now or in an earlier run, and its answer was lost.
            APIError: Keevx refused it.
            ConnectionFailed: Keevx could not be reached.
            JournalError: the intent could not be written, so nothing was sent.
        """
        made = False
        try:
            task_ids = self._recorded(plan)
            if not task_ids:
                self._offers.check(plan.request)
                async with self._expecting(plan) as callback_url:
                    body = await self._body(plan, callback_url)
                    call = Call("POST", plan.request.kind.path, body)
                    task_ids = await self._retrier(self._attempt, call, plan, guard)
            made = True
        except (APIError, ConnectionFailed) as error:
            if self._emit is not None:
                self._emit(Refused(plan.key, error))
            raise
        finally:
            await self._journal.release(plan.key, made=made)
        return task_ids

    def _recorded(self, plan: Plan) -> tuple[str, ...]:
        entry = plan.entry
        if entry is None:
            return ()
        if entry.state is State.UNCERTAIN and not self._journal.resubmits:
            raise SubmissionUncertain(plan.request, plan.key, entry.reason)
        return entry.task_ids if entry.state is State.SUBMITTED else ()

    async def _attempt(self, call: Call, plan: Plan, guard: Guard) -> tuple[str, ...]:
        turn = self._lane.try_enter() or await self._lane.enter()
        try:
            return await guard(self._send(call, plan, turn))
        finally:
            self._lane.leave(turn)

    def _expecting(self, plan: Plan) -> AbstractAsyncContextManager[str | None]:
        if self._settlements is None:
            return _NO_URL
        return self._settlements.expecting(plan.key, plan.request.count, plan.request.kind)

    async def _body(self, plan: Plan, callback_url: str | None) -> bytes:
        request, files = plan.request, plan.request.local_files()
        if files:
            urls = await self._uploads(files, request.kind.formats)
            request = request.with_urls(urls)
        differs = files or callback_url or TASK_MARK in plan.body
        return encode_request(request, callback_url) if differs else plan.body

    async def _send(self, call: Call, plan: Plan, turn: Turn) -> tuple[str, ...]:
        """Write the intent, send, and write what came of it, before anyone else knows."""
        try:
            await self._journal.begin(plan.key, plan.request.kind.name, plan.body)
            task_ids = await self._post(call, plan, turn)
        except SubmissionUncertain as error:
            await self._lost(plan, error)
            raise
        except (Again, APIError, ConfigurationError, asyncio.CancelledError) as error:
            await self._unmade(plan, error)
            raise
        await self._made(plan, task_ids)
        return task_ids

    async def _made(self, plan: Plan, task_ids: tuple[str, ...]) -> None:
        if self._settlements is not None:
            self._settlements.owns(plan.key, task_ids)
        try:
            await _written(self._journal.submitted, plan.key, task_ids)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        if self._emit is not None:
            self._emit(Submitted(plan.key, task_ids))

    async def _lost(self, plan: Plan, error: SubmissionUncertain) -> None:
        await _noted(self._journal.uncertain, plan.key, error.reason)
        if self._settlements is not None:
            self._settlements.lost(plan.key)
        if self._emit is not None:
            self._emit(Uncertain(plan.key, error.reason))

    async def _unmade(self, plan: Plan, error: BaseException) -> None:
        """Write that no task was made, which tells nothing of an earlier create in doubt.

        A key that is refused says nothing of the request: it is still to be made.
        """
        journal, entry = self._journal, plan.entry
        if entry is not None and entry.state is State.UNCERTAIN:
            await _noted(journal.uncertain, plan.key, entry.reason)
        elif isinstance(error, APIError) and not isinstance(error, AuthenticationError):
            await _noted(journal.refused, plan.key, str(error))
        else:
            await _noted(journal.put_back, plan.key)

    async def _post(self, call: Call, plan: Plan, turn: Turn) -> tuple[str, ...]:
        try:
            reply = await self._exchange.exchange(call)
        except Fault as fault:
            if fault.fate is Fate.NOT_SENT:
                raise Again(ConnectionFailed(self._host, fault.reason)) from fault
            raise SubmissionUncertain(plan.request, plan.key, fault.reason) from fault
        except asyncio.CancelledError as error:
            interruption = interruption_of(error)
            if not interruption.sent:
                raise
            if interruption.reply is not None:
                return self._read(interruption.reply, plan, turn)
            # The task is the fan-out's or carry()'s, which wait for it to end.
            reason = "cancelled before the answer"
            raise SubmissionUncertain(plan.request, plan.key, reason) from None
        return self._read(reply, plan, turn)

    def _read(self, reply: Reply, plan: Plan, turn: Turn) -> tuple[str, ...]:
        envelope = decode_envelope(reply.body)
        code = envelope.code if envelope else None
        fate = fate_of(reply.status, code)
        ids = decode_ids(envelope.data) if envelope and fate is Fate.ACCEPTED else None
        if ids is not None:
            self._lane.accepted(turn)
            return ids
        if not reply.complete:  # a refusal is believed only when it came whole
            raise SubmissionUncertain(plan.request, plan.key, reply.reason)
        if fate is Fate.REFUSED:
            raise self._refusal(reply, code, envelope.msg if envelope else "", plan, turn)
        said = reply.body[:300].decode("utf-8", "replace")
        reason = f"HTTP {reply.status}, and no task ids could be read from: {said!r}"
        raise SubmissionUncertain(plan.request, plan.key, reason)

    def _refusal(
        self, reply: Reply, code: int | None, msg: str, plan: Plan, turn: Turn
    ) -> Exception:
        text = reply.body[:500].decode("utf-8", "replace")
        error = api_error(reply.status, code, msg, text, plan.request.kind.codes)
        if not is_transient(reply.status, code):
            return error
        # 0, or a date that has passed, is no time to wait: then it is ours to choose.
        wait = retry_after(reply.headers.get("Retry-After"), time.time()) or None
        if is_rate_limit(reply.status, code):
            self._lane.refused(turn, wait)
            return Again(error, wait or 0.0)
        return Again(error, wait)


async def _written(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Have something written, to its end: what is known of paid work outlives a cancellation."""
    try:
        await write(*what)
    except asyncio.CancelledError:
        again = asyncio.ensure_future(write(*what))  # the same row; done when it is durable
        while not again.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({again})
        again.result()


async def _noted(write: Callable[[*Ts], Awaitable[None]], *what: *Ts) -> None:
    """Have something written beside an error; the error itself is what the caller must see.

    A journal that cannot be written stops later creates, and what is left in it as ``sending``
    reads as uncertain.
    """
    with suppress(JournalError):
        await _written(write, *what)
