"""A worker's client, which makes creates as usual but with the fleet's journal and rate limit."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, cast

from attrs import astuple, evolve, frozen
from docket import CurrentDocket, CurrentWorker, Docket, Worker

from ..client.fuse import Fuse
from ..client.keevx import Keevx
from ..client.task_waiter import WAIT_FACTOR
from ..errors import BudgetExceeded, InvalidRequest, JournalError, KeevxError, RateLimitError
from ..journal.protocol import Entry, State
from ..journal.redis.journal import RedisJournal
from ..journal.redis.lease import LEASE
from ..journal.redis.polls import Polled, PollQueue
from ..journal.redis.unwritten import default_folder
from ..models.registry import REQUESTS, kind_by_name
from ..models.request import Request
from ..polling.fleet_schedule import PollIntervals
from ..polling.poller import RESULT_GRACE, RESULT_PAUSE
from ..settings import NotGiven, PollPolicy
from .poller import FleetPoller
from .rate_limit import SharedRateLimiter, Stop
from .settings import WorkerSettings, fleet_of, worker_settings
from .stop_mark import STOPPED, dump_stop

log = logging.getLogger("keevx_async.docket")

RATE = "rate"
"""The name of the journal note that stores the fleet's rate."""

STOP_TIMEOUT = 20.0
"""Maximum seconds that a stopping worker waits for an unavailable Redis."""

MARK_INTERVAL = 0.5
"""Minimum seconds before the same worker marks the fleet as stopped again."""

worker_stop: ContextVar[Stop] = ContextVar("worker_stop")
"""The ``Stop`` of the worker that runs the current task."""


class UnreadableRecord(JournalError):
    """A create's record in the journal cannot be read, so its request is unknown."""


def request_of(entry: Entry) -> Request:
    """Return the request of a journal entry.

    Raises:
        InvalidRequest: the request breaks a rule that was unknown when the request was added.
        UnreadableRecord: the entry's record cannot be read.
    """
    try:
        return REQUESTS[entry.kind].from_dict(json.loads(entry.body))
    except InvalidRequest:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = entry.reason or f"its record cannot be read: {type(error).__name__}: {error}"
        raise UnreadableRecord(f"{entry.key}: {reason}") from None


def wait_limit(kind: str, polling: PollPolicy) -> float:
    """Return the maximum number of seconds to wait for a task.

    The default is WAIT_FACTOR times the vendor's documented maximum for the task's kind.
    """
    if isinstance(polling.timeout, NotGiven):
        return WAIT_FACTOR * kind_by_name(kind).max_seconds
    return math.inf if polling.timeout is None else polling.timeout


@frozen
class PollState:
    """The state kept between two polls of a task. Times are in seconds since the epoch.

    Attributes:
        task_id: the task's id.
        kind: the job's kind.
        group: the task's group; tasks in a group are expected to take about the same time.
        created_at: when the create was sent.
        seen_at: when the task was last seen running.
        status: the last status that Keevx returned; empty before the first poll.
        resultless_since: when Keevx first reported the task as SUCCEEDED without a result; 0 if it
            has not.
    """

    task_id: str
    kind: str
    group: str
    created_at: float
    seen_at: float
    status: str = ""
    resultless_since: float = 0.0

    def dump(self) -> str:
        """Return the state as text, without the task id."""
        return json.dumps(astuple(self)[1:], separators=(",", ":"))

    @classmethod
    def load(cls, task_id: str, text: str) -> PollState:
        """Recreate a state from the text that ``dump`` returned."""
        return cls(task_id, *json.loads(text))


class WorkerClient(Keevx):
    """The client of a fleet worker.

    Args:
        journal: the fleet's journal.
        shared_limit: the fleet's rate limit.
        redelivery: seconds after which another worker takes over a dead worker's polls.
        settings: the worker's settings.
        stop: used to stop the worker.
    """

    def __init__(
        self,
        journal: RedisJournal,
        shared_limit: SharedRateLimiter,
        redelivery: float,
        settings: WorkerSettings,
        stop: Stop,
    ) -> None:
        self.journal = journal
        self.polls = PollQueue(journal.connection)
        concurrency = settings.polling.concurrency
        self.poller = FleetPoller(self.polls, self.poll_once, concurrency, redelivery)
        self.stop = stop
        self._polling = settings.polling
        self._fuse = Fuse(settings.retry.fuse)
        self._marked_at = -math.inf
        super().__init__(
            settings.api_key,
            base_url=settings.base_url,
            journal=journal,
            budget=settings.budget,
            retry=settings.retry,
            polling=settings.polling,
            timeout=settings.timeout,
            max_connections=settings.concurrency,
        )
        self._config = evolve(self._config, shared_limit=shared_limit)
        self._intervals: PollIntervals | None = None

    async def claim(self, key: str) -> Entry | None:
        """Claim a create and return its journal entry, or None if it is not in the journal.

        Raises:
            JournalError: another worker held the create too long, or Redis stayed unavailable.
        """
        claim = await self.journal.claim("", b"", key)
        if claim.entry is None:
            await self.journal.release(key)
        return claim.entry

    async def submit_entry(self, entry: Entry) -> tuple[str, ...]:
        """Submit a claimed create and return its task ids. A submitted create is not sent again.

        The claim is released. The worker stops when its fuse blows: the API key is refused, the
        account has no funds, or several creates in a row get the same refusal. Creates that have
        not started then go back to the docket.

        Raises:
            InvalidRequest: the request breaks a rule that was unknown when the request was added.
                The create is recorded as refused.
            UnreadableRecord: the entry's record cannot be read.
            KeevxError: see ``Keevx.submit``.
        """
        try:
            try:
                request = request_of(entry)
                step = self._components().jobs.submit_claimed(request, entry)
            except Exception:
                await self.journal.release(entry.key)
                raise
            task_ids = await step  # releases the claim itself
        except InvalidRequest as error:
            await self._refuse(entry.key, str(error))
            raise
        except BudgetExceeded as error:
            await self._mark_stopped(error)
            raise
        except KeevxError as error:
            if self._fuse.blown_by(error):
                await self._mark_stopped(error)
                self.stop.call(error)
            raise
        if entry.state is not State.SUBMITTED:  # else nothing was sent
            self._fuse.accepted()
        return task_ids

    async def _mark_stopped(self, error: KeevxError) -> None:
        """Mark the fleet as stopped, for the programs that are waiting for its results."""
        # Thousands of creates may exceed the same budget at once; one mark is enough for a while.
        now = time.monotonic()
        if now - self._marked_at < MARK_INTERVAL:
            return
        self._marked_at = now
        with suppress(JournalError):
            await self.journal.set_note(STOPPED, dump_stop(error, time.time()))

    async def give_up(self, key: str, reason: str) -> None:
        """Give up on a create: record it as refused, so that it may be added again.

        A create that may have been charged is left unchanged.
        """
        log.error("%s failed for good: %s", key, reason)
        await self._refuse(key, reason)

    async def _refuse(self, key: str, reason: str) -> None:
        entry = await self.claim(key)
        if entry is None:
            return
        try:
            if entry.state in (State.PLANNED, State.REFUSED):
                await self.journal.mark_refused(key, reason)
        finally:
            await self.journal.release(key)

    async def schedule_polls(self, entry: Entry, task_ids: Iterable[str]) -> None:
        """Schedule the first poll for each of a create's tasks.

        Args:
            entry: the create's journal entry as it was before the submission.
            task_ids: the create's task ids.
        """
        group, now = request_of(entry).group, time.time()
        # A create that was submitted earlier is as old as its intent, unless the clock that
        # recorded the intent was ahead of ours. Any other create was submitted just now.
        created_at = min(entry.at, now) if entry.state is State.SUBMITTED else now
        intervals = await self._loaded_intervals()
        polls: list[tuple[str, float, str]] = []
        for task_id in task_ids:
            state = PollState(task_id, entry.kind, group, created_at, created_at)
            polls.append((task_id, intervals.next(group, now - created_at), state.dump()))
        await self.polls.schedule(polls)

    async def poll_once(self, task_id: str, text: str) -> Polled:
        """Poll a task once and return the outcome.

        Args:
            task_id: the task's id.
            text: the poll's state.
        """
        # The clocks of two machines differ, so the task may seem to come from the future.
        state = PollState.load(task_id, text)
        state = evolve(state, created_at=min(state.created_at, time.time()))
        min_wait, max_wait = 0.0, math.inf
        # 1. The poll failed: the task is polled again as usual or, after a 429, no sooner than
        #    after the longest interval.
        # 2. The task has ended: its end is recorded, and its duration improves later intervals.
        # 3. The task SUCCEEDED without a result: it is polled again soon until the grace period
        #    ends, and is then recorded as abandoned.
        # 4. The task is still running: it is polled again as usual.
        # In cases 1, 3 and 4 the task is abandoned once the maximum wait is over.
        try:
            task = await self._components().api.status_once(task_id, kind_by_name(state.kind))
        except KeevxError as error:
            log.debug("status of %s: %s", task_id, error)
            if isinstance(error, RateLimitError):
                min_wait = self._polling.longest
        else:
            if task.done:
                low, high = state.seen_at - state.created_at, time.time() - state.created_at
                intervals = await self._loaded_intervals()
                intervals.observe(state.group, max(0.0, low), max(0.0, high))
                return Polled(task_id, None, "", task)
            now, since = time.time(), 0.0
            if task.lacks_result:
                since = state.resultless_since or now
                if now - since >= RESULT_GRACE:
                    log.warning("task %s SUCCEEDED without a result; stopped polling it", task_id)
                    return Polled(task_id, None, "", task)
                max_wait = RESULT_PAUSE
            state = evolve(state, seen_at=now, status=task.status, resultless_since=since)
        age = time.time() - state.created_at
        if age > wait_limit(state.kind, self._polling):
            log.warning("task %s has not ended after %.0f s; stopped polling it", task_id, age)
            return Polled(task_id, None, "", None)
        wait = (await self._loaded_intervals()).next(state.group, age)
        return Polled(task_id, max(min_wait, min(max_wait, wait)), state.dump(), None)

    async def _loaded_intervals(self) -> PollIntervals:
        await self._config.durations.load()
        if self._intervals is None:
            self._intervals = PollIntervals(self._polling, self._config.durations.durations)
        return self._intervals


current_client: ContextVar[WorkerClient] = ContextVar("current_client")
"""The client that a ``KeevxWorker`` opened for its tasks."""


@asynccontextmanager
async def worker_client(
    docket: Docket = CurrentDocket(), worker: Worker = CurrentWorker()
) -> AsyncGenerator[WorkerClient]:
    """Provide the client for a worker's tasks while the worker runs.

    Docket's own ``Worker`` has no client, so this opens one that polls in the background.

    Args:
        docket: the docket whose tasks the worker runs; its name contains the fleet's name.
        worker: the worker.
    """
    if (client := current_client.get(None)) is not None:
        yield client
        return
    redelivery = worker.redelivery_timeout.total_seconds()
    async with open_client(docket, worker.name, redelivery) as client:
        polling = asyncio.create_task(client.poller.run())
        try:
            yield client
        finally:
            await _cancel(polling)


@asynccontextmanager
async def open_client(docket: Docket, name: str, redelivery: float) -> AsyncGenerator[WorkerClient]:
    """Open a worker's client.

    Args:
        docket: the docket that contains the fleet's creates.
        name: the worker's name.
        redelivery: seconds after which another worker takes over a dead worker's work.
    """
    fleet, settings = fleet_of(docket.name), worker_settings.get(WorkerSettings())
    # A dead worker's leases must have ended by the time its creates are redelivered.
    lease = min(LEASE, redelivery / 2)
    async with docket.redis() as redis:
        stop = worker_stop.get(None) or Stop()
        journal = RedisJournal(
            cast(Any, redis),
            fleet,
            on_uncertain=settings.on_uncertain,
            reconnect_timeout=math.inf,
            lease=lease,
            holder_name=name,
            unwritten=default_folder(fleet, docket.url),
        )
        async with journal, AsyncExitStack() as stack:
            limit = SharedRateLimiter(journal.connection, stop)
            limit.observe_rate(await set_rate(journal, settings.rate))
            # Whoever starts a worker has presumably fixed the problem that stopped the fleet. If
            # not, the fleet stops again.
            await journal.set_note(STOPPED, "")
            for work in (journal.write_left_ids(), _bound_waits(journal, stop)):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            client = WorkerClient(journal, limit, redelivery, settings, stop)
            yield await stack.enter_async_context(client)


async def _bound_waits(journal: RedisJournal, stop: Stop) -> None:
    """Put a time limit on waits for Redis once the worker is stopping."""
    await stop.event.wait()
    journal.connection.end_within(STOP_TIMEOUT)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def set_rate(journal: RedisJournal, rate: float | None) -> str:
    """Set the rate for all of a fleet's workers, and return it as text; empty if there is none.

    Args:
        journal: the fleet's journal, which stores the rate.
        rate: creates per second; None leaves the rate unchanged.
    """
    if rate is None:
        return await journal.get_note(RATE) or ""
    await journal.set_note(RATE, repr(float(rate)))
    return repr(float(rate))
