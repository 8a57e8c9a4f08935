"""The one path of every create: upload, pace, POST, verdict. Never sent twice by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path

from attrs import frozen

from .errors import ConnectionFailed, RateLimitError, SubmissionUncertain
from .fanout import Guard
from .pacing import Pacer
from .requests import Request
from .retry import Again, Retrier
from .tasks import Submission
from .transport import Call, Exchange, Reply
from .verdict import Fate, Fault, api_error, fate_of, is_rate_limit, is_transient, retry_after
from .wire import decode_envelope, decode_ids, encode_request

Uploads = Callable[[tuple[Path, ...]], Awaitable[Mapping[Path, str]]]


class Lane:
    """Lets creates through one by one as the pacer says, at most so many at a time.

    Args:
        pacer: says when.
        width: most creates in flight.
        patience: seconds; a longer wait fails at once.
    """

    def __init__(self, pacer: Pacer, width: int, patience: float) -> None:
        self.pacer = pacer
        self.slots = asyncio.Semaphore(width)
        self._patience = patience
        self._turn = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    async def enter(self) -> None:
        """Return when a create may go.

        Raises:
            RateLimitError: that would take longer than patience.
        """
        async with self._turn:
            while (wait := self.pacer.delay(self._now())) > 0:
                if wait > self._patience:
                    raise RateLimitError(429, None, f"asked to wait for {wait:.0f} s")
                await asyncio.sleep(wait)
            self.pacer.take(self._now())

    def held(self, seconds: float | None) -> None:
        """Hold everyone: Keevx said 429."""
        self.pacer.refused(self._now(), seconds)


@frozen
class Plan:
    """A create to be made: what, under which key, and its canonical body."""

    request: Request
    key: str
    body: bytes


class Creator:
    """Submits requests.

    Args:
        exchange: one request, one answer.
        retrier: repeats what may be repeated.
        lane: says when the next may go.
        uploads: brings local files to URLs.
        host: named in errors.
    """

    def __init__(
        self, exchange: Exchange, retrier: Retrier, lane: Lane, uploads: Uploads, host: str
    ) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._lane = lane
        self._uploads = uploads
        self._host = host
        self._numbers = count(1)

    def plan(self, request: Request, key: str | None) -> Plan:
        """Return what is to be created; without a key, under a digest and a running number."""
        body = encode_request(request)
        digest = sha256(body).hexdigest()[:32]
        return Plan(request, key or f"{digest}-{next(self._numbers)}", body)

    async def create(self, plan: Plan, guard: Guard) -> Submission:
        """Make at most one paid create.

        Raises:
            SubmissionUncertain: it was sent, and its answer was lost.
            APIError: Keevx refused it.
            ConnectionFailed: Keevx could not be reached.
        """
        call = Call("POST", plan.request.kind.path, await self._body(plan))

        async def attempt() -> tuple[str, ...]:
            async with self._lane.slots:
                await self._lane.enter()
                return await guard(self._post(call, plan))

        return Submission(plan.request, plan.key, await self._retrier(attempt))

    async def _body(self, plan: Plan) -> bytes:
        files = plan.request.local_files()
        if not files:
            return plan.body
        return encode_request(plan.request.with_urls(await self._uploads(files)))

    async def _post(self, call: Call, plan: Plan) -> tuple[str, ...]:
        try:
            reply = await self._exchange.exchange(call)
        except Fault as fault:
            if fault.fate is Fate.NOT_SENT:
                raise Again(ConnectionFailed(self._host, fault.reason)) from fault
            raise SubmissionUncertain(plan.request, plan.key, fault.reason) from fault
        except asyncio.CancelledError:
            # The task is the fan-out's or carry()'s, which wait for it to end.
            raise SubmissionUncertain(
                plan.request, plan.key, "cancelled before the answer"
            ) from None
        return self._read(reply, plan)

    def _read(self, reply: Reply, plan: Plan) -> tuple[str, ...]:
        envelope = decode_envelope(reply.body)
        code = envelope.code if envelope else None
        fate = fate_of(reply.status, code)
        ids = decode_ids(envelope.data) if envelope and fate is Fate.ACCEPTED else None
        if ids is not None:
            self._lane.pacer.accepted()
            return ids
        if fate is Fate.REFUSED:
            raise self._refusal(reply, code, envelope.msg if envelope else "")
        reason = f"HTTP {reply.status} with an answer that holds no task ids"
        raise SubmissionUncertain(plan.request, plan.key, reason)

    def _refusal(self, reply: Reply, code: int | None, msg: str) -> Exception:
        error = api_error(reply.status, code, msg, reply.body[:500].decode("utf-8", "replace"))
        if not is_transient(reply.status, code):
            return error
        wait = retry_after(reply.headers.get("Retry-After"), time.time())
        if is_rate_limit(reply.status, code):
            self._lane.held(wait)
            return Again(error, wait or 0.0)
        return Again(error, wait)
