"""Runs creates that may outlive the calls that started them, and that other calls can join.

A create with a named key or a timeout runs in its own task. When a call ends, the create may
continue:
1. The call times out: the create continues in the background until its response arrives or its
   exchange times out, and the result is recorded.
2. The call is cancelled while another call waits for the create, or after a timeout: as in case 1.
3. The only waiting call is cancelled: a create that was sent gets its grace period to receive a
   response, and a create that was not sent ends at once.
4. The client closes: as in case 3.
A call with the key of a create in progress joins that create, and sends nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time

from attrs import define, field

from ..errors import (
    ConfigurationError,
    JournalError,
    SubmissionPending,
    SubmissionUncertain,
)
from ..http.retry import error_correlation
from ..http.transport import CLIENT_CLOSED
from ..journal.encoding import other_request_error
from ..models.bounded import BoundedDict
from ..models.request import Request
from .planned import Planned
from .shield import MAY_BE_CHARGED, end_within
from .submitter import MAX_OWNED, Submitter

log = logging.getLogger("keevx_async.submission")


@define(eq=False)
class PendingCreate:
    """A create that runs in its own task and guards its own paid steps.

    Attributes:
        plan: the create's plan.
        task: the task, which returns the create's ids.
        callers: the number of calls that are waiting for the create.
        is_detached: whether a call has timed out, so the create continues without callers.
        is_sending: whether the create is in a paid step, has its ids, or may have been charged.
        is_ending: whether no further attempt may start, because the caller was cancelled or the
            client is closing.
        began: the start time, from ``time.monotonic``.
    """

    plan: Planned
    task: asyncio.Task[tuple[str, ...]] = field(init=False)
    callers: int = 0
    is_detached: bool = False
    is_sending: bool = False
    is_ending: bool = False
    began: float = field(factory=time.monotonic)

    def __enter__(self) -> None:
        self.is_sending = not self.is_ending
        if not self.is_sending:
            raise asyncio.CancelledError

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # A create that succeeded, or that may have been charged, still has its key to release.
        if error is None or isinstance(error, MAY_BE_CHARGED):
            return
        self.is_sending = False
        if self.is_ending:
            self.task.cancel()  # do not retry: end at the next wait

    async def end(self, grace: float) -> None:
        """End the create: at once if nothing was sent, else after at most ``grace`` seconds."""
        self.is_ending = True
        if not self.is_sending:
            self.task.cancel()
        await end_within({self.task}, grace)


@define(eq=False)
class PendingCreates:
    """A client's creates that other calls may join, on one event loop.

    Args:
        submitter: sends the creates.
        grace: ``RetryPolicy.grace``, the seconds that a create in flight has to receive a response.
        running: creates in progress, by key. Clients made by ``with_options`` share this and the
            next two arguments, so calls on any of them can join a create.
        ended: creates that ended in the background, by key.
        stopped: set once no more creates may start.
    """

    _submitter: Submitter = field(alias="submitter")
    _grace: float = field(alias="grace")
    _running: dict[str, PendingCreate] = field(factory=dict[str, PendingCreate], alias="running")
    # Without a journal, nothing else remembers the result of a create whose call has ended.
    _ended: BoundedDict[str, PendingCreate] = field(
        factory=lambda: BoundedDict[str, PendingCreate](MAX_OWNED), alias="ended"
    )
    _stopped: asyncio.Event = field(factory=asyncio.Event, alias="stopped")

    async def submit(
        self, request: Request, key: str | None, timeout: float | None
    ) -> tuple[Planned, tuple[str, ...]]:
        """Submit a request, or join the create with the same key. Return its plan and task ids.

        Args:
            request: the request to submit.
            key: the create's key; None for a new key.
            timeout: seconds for this call; the create continues. None for no limit.

        Raises:
            SubmissionPending: the timeout passed. Submit with the same key to join the create.
            JournalError: the key belongs to another request.
            KeevxError: see ``Submitter.submit``.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    create = await self._find(key) or await self._begin(request, key)
            except TimeoutError:
                reason = f"after {timeout:g} s, another call still holds its key"
                raise SubmissionPending(request, key or "", reason) from None
            plan = create.plan
            if plan.request is not request:
                body = await self._submitter.body(request)
                if plan.body != body:
                    raise other_request_error("this client", plan.key, plan.body.decode(), body)
            if not await self._wait(create, deadline):
                reason = f"no response within {timeout:g} s"
                raise SubmissionPending(request, plan.key, reason)
            if not create.task.cancelled():
                return plan, create.task.result()
            # The create ended before it was sent, because the call that started it was cancelled.
            # This call was not cancelled, so it tries again.
            if self._stopped.is_set():
                raise ConfigurationError(CLIENT_CLOSED)
            key = plan.key

    def stop(self) -> None:
        """Stop sending creates."""
        self._stopped.set()
        for create in self._running.values():
            create.is_ending = True

    async def drain(self) -> None:
        """End every create. Creates in flight get their grace period; their ids are recorded."""
        await asyncio.sleep(0)  # a task that is cancelled before it starts does not clean up
        creates = list(self._running.values())
        await asyncio.gather(*(create.end(self._grace) for create in creates))

    async def _find(self, key: str | None) -> PendingCreate | None:
        """Return the create with this key if it is in progress or has ended in the background."""
        if key is None:
            return None
        # The journal has the latest state, for example after `settle`. Use the create in memory
        # only if the journal has no entry.
        ended = self._ended.get(key)
        if ended is not None and await self._submitter.is_recorded(key):
            ended = None
        return self._running.get(key) or ended

    async def _begin(self, request: Request, key: str | None) -> PendingCreate:
        """Start a create and return it, or return the create that already has the key."""
        submitter = self._submitter
        plan = await submitter.plan(request, key)
        if create := self._running.get(plan.key):  # another call has started it in the meantime
            await submitter.release(plan)
            return create
        if self._stopped.is_set():
            await submitter.release(plan)
            raise ConfigurationError(CLIENT_CLOSED)
        create = PendingCreate(plan)
        create.task = asyncio.create_task(submitter.submit(plan, create))
        create.task.add_done_callback(lambda _: self._end(create))
        self._running[plan.key] = create
        return create

    async def _wait(self, create: PendingCreate, deadline: float | None) -> bool:
        """Wait for a create until the deadline; return whether the create has ended."""
        create.callers += 1
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait({create.task})
        except TimeoutError:
            create.is_detached = True
            return create.task.done()
        except asyncio.CancelledError:
            if create.callers == 1 and not create.is_detached:
                await create.end(self._grace)
            raise
        finally:
            create.callers -= 1
        return True

    def _end(self, create: PendingCreate) -> None:
        key, task = create.plan.key, create.task
        del self._running[key]
        if task.cancelled():
            return
        # A create that made no task may be sent again; any other is remembered by its key.
        error = task.exception()
        made = error is None or isinstance(error, SubmissionUncertain)
        made = made or (isinstance(error, JournalError) and bool(error.task_ids))
        if made and create.is_detached:
            self._ended[key] = create
        if create.callers == 0 or create.is_ending:
            late = "its call was cancelled" if create.is_ending else "its call timed out"
            level = logging.INFO if error is None and create.is_detached else logging.WARNING
            result, seconds = error or task.result(), time.monotonic() - create.began
            extra = error_correlation(key, error, seconds)
            log.log(level, "create %s ended after %s: %s", key, late, result, extra=extra)
