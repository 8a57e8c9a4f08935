"""A worker's client: the same create path as everywhere, with the fleet's journal and pace."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from attrs import evolve, field, frozen
from docket import CurrentDocket, CurrentWorker, Docket, Worker

from ..client.jobs import WAIT_FACTOR
from ..client.keevx import Keevx
from ..client.options import check_whole
from ..errors import InvalidRequest, KeevxError, RateLimitError
from ..journal import Entry, State, resubmits
from ..journal.redis.journal import RedisJournal
from ..journal.redis.lease import LEASE
from ..models.registry import REQUESTS, kind_by_name
from ..models.request import Request
from ..models.tasks import Task
from ..polling.intervals import PollIntervals
from ..polling.poller import RESULT_GRACE, RESULT_PAUSE
from ..settings import DEFAULT_TIMEOUT, NotGiven, PollPolicy, RetryPolicy
from .rate_limit import SharedRateLimiter, Stop, quota

log = logging.getLogger("keevx_async")

CREATES, POLLS = "-create", "-poll"
"""How the two dockets' names end. On one, polls would queue behind creates, and no job end."""
RATE = "rate"
MAX_CONNECTIONS = 10_000
"""Connections to Redis at most; redis-py's own 100 end a worker of concurrency 200."""


@frozen(kw_only=True)
class WorkerSettings:
    """What a worker's client is set up with.

    Attributes:
        api_key: by default from ``KEEVX_API_KEY``.
        base_url: as of ``Keevx``.
        rate: most creates per second of the whole fleet; by default what another worker of it
            has named, else as many as Keevx takes.
        concurrency: most creates in flight in this worker.
        on_uncertain: ``"report"`` leaves a create whose worker died during it alone,
            ``"resubmit"`` sends it again, though it may have been paid.
        retry: as of ``Keevx``.
        polling: as of ``Keevx``.
        timeout: seconds for one exchange.

    Raises:
        ConfigurationError: one of them cannot be.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    rate: float | None = None
    concurrency: int = 64
    on_uncertain: Literal["report", "resubmit"] = "report"
    retry: RetryPolicy = field(factory=RetryPolicy)
    polling: PollPolicy = field(factory=PollPolicy)
    timeout: float = DEFAULT_TIMEOUT

    def __attrs_post_init__(self) -> None:
        if self.rate is not None:
            quota(self.rate)
        check_whole("concurrency", self.concurrency)
        resubmits("on_uncertain", self.on_uncertain)


worker_settings: ContextVar[WorkerSettings] = ContextVar("worker_settings")
"""What the tasks' clients are set up with; where nothing is set, the environment's key is."""

worker_stop: ContextVar[Stop] = ContextVar("worker_stop")
"""How a worker that these tasks run in is stopped."""


def docket_of(name: str, which: str, url: str) -> Docket:
    """Return one of a fleet's two dockets; the journal is the record, so it keeps no results."""
    return Docket(f"{name}{which}", with_max_connections(url), execution_ttl=timedelta(0))


def fleet_of(docket: str) -> str:
    """Return the name of the fleet that a docket is of; its own may end in ``-poll``."""
    return docket.removesuffix(CREATES if docket.endswith(CREATES) else POLLS)


def with_max_connections(url: str) -> str:
    """Return a Redis URL that lets a worker have as many connections as it needs."""
    if url.startswith("memory:") or "max_connections=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}max_connections={MAX_CONNECTIONS}"


def request_of(entry: Entry) -> Request:
    """Return the request that a create of the journal is of."""
    return REQUESTS[entry.kind].from_dict(json.loads(entry.body))


def wait_limit(kind: str, polling: PollPolicy) -> float:
    """Return the seconds that a task of a kind is waited for."""
    if isinstance(polling.timeout, NotGiven):
        return WAIT_FACTOR * kind_by_name(kind).max_seconds
    return math.inf if polling.timeout is None else polling.timeout


@frozen
class PollState:
    """What is carried from one poll of a task to the next.

    Attributes:
        task_id: whom it is about.
        kind: the job's kind.
        group: tasks of one group are thought to last alike.
        born: when its create was begun, in seconds since the epoch.
        seen: when it was last seen alive, likewise.
        status: its last status, as Keevx gave it; empty where it was not asked about yet.
        resultless: since when it has been SUCCEEDED without a result, likewise; 0 if it is not.
    """

    task_id: str
    kind: str
    group: str
    created_at: float
    seen: float
    status: str = ""
    resultless: float = 0.0


class WorkerClient(Keevx):
    """The client of one worker of a fleet.

    Args:
        journal: the fleet's.
        pace: likewise.
        polls: where its tasks' polls are scheduled.
        settings: what it is set up with.
        stop: stops the worker.
    """

    def __init__(
        self,
        journal: RedisJournal,
        pace: SharedRateLimiter,
        polls: Docket,
        settings: WorkerSettings,
        stop: Stop,
    ) -> None:
        self.journal = journal
        self.polls = polls
        self.stop = stop
        self._polling = settings.polling
        super().__init__(
            settings.api_key,
            base_url=settings.base_url,
            journal=journal,
            retry=settings.retry,
            polling=settings.polling,
            timeout=settings.timeout,
            max_connections=settings.concurrency,
        )
        self._config = evolve(self._config, shared_limit=pace)
        self._waits: PollIntervals | None = None

    async def make(self, entry: Entry) -> tuple[str, ...]:
        """Make one create of the journal's, unless it was made; return its ids."""
        try:
            request = request_of(entry)
            return (await self.submit(request, key=entry.key)).task_ids
        except InvalidRequest as error:  # of rules, or an edition, that its adder did not know
            await self.journal.claim(entry.kind, entry.body.encode(), entry.key)
            await self.journal.mark_sending(entry.key, entry.kind, entry.body.encode())
            await self.journal.mark_refused(entry.key, str(error))
            await self.journal.release(entry.key)
            raise

    async def initial_polls(
        self, entry: Entry, task_ids: Iterable[str]
    ) -> AsyncIterator[tuple[PollState, datetime]]:
        """Yield what is to be known of a create's tasks, and when each is first asked about."""
        group, now = request_of(entry).group, time.time()
        # Else it was just made. A clock that was wrong then must not make the wait longer.
        born = min(entry.at, now) if entry.state is State.SUBMITTED else now
        for task_id in task_ids:
            wait = (await self._loaded_intervals()).next(group, now - born)
            yield PollState(task_id, entry.kind, group, born, born), _from_now(wait)

    async def poll_once(self, watched: PollState) -> tuple[PollState, float] | None:
        """Ask about a task; return what is known of it then, and the seconds to the next time.

        Nothing is returned once it has ended, or is given up.
        """
        # Clocks of two machines differ: by each look it was born by then, at the latest.
        watched = evolve(watched, created_at=min(watched.created_at, time.time()))
        kind = kind_by_name(watched.kind)
        try:
            task = await self._components().api.status_once(watched.task_id, kind)
        except KeevxError as error:
            log.debug("status of %s: %s", watched.task_id, error)
            held = self._polling.longest if isinstance(error, RateLimitError) else 0.0
            return await self._next(watched, at_least=held)
        if not task.done:
            return await self._next_of(task, watched)
        await self.journal.mark_ended(task)
        age, alive = time.time() - watched.created_at, watched.seen - watched.created_at
        (await self._loaded_intervals()).ended(watched.group, max(0.0, alive), max(0.0, age))
        return None

    async def _next_of(self, task: Task, watched: PollState) -> tuple[PollState, float] | None:
        """Go on with a task that has not ended, unless it has gone without its result too long."""
        now = time.time()
        since = (watched.resultless or now) if task.lacks_result else 0.0
        if task.lacks_result and now - since >= RESULT_GRACE:
            log.warning("task %s SUCCEEDED without a result; it is left alone", task.task_id)
            await self.journal.gave_up(task)
            return None
        watched = evolve(watched, seen=now, status=task.status, resultless=since)
        return await self._next(watched, at_most=RESULT_PAUSE if since else math.inf)

    async def _next(
        self, watched: PollState, at_least: float = 0.0, at_most: float = math.inf
    ) -> tuple[PollState, float] | None:
        age = time.time() - watched.created_at
        if age > wait_limit(watched.kind, self._polling):
            log.warning("task %s has not ended in %.0f s; it is left alone", watched.task_id, age)
            return None
        wait = (await self._loaded_intervals()).next(watched.group, age)
        return watched, max(at_least, min(at_most, wait))

    async def _loaded_intervals(self) -> PollIntervals:
        await self._config.durations.load()
        if self._waits is None:
            self._waits = PollIntervals(self._polling, self._config.durations.durations)
        return self._waits


def _from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@asynccontextmanager
async def worker_client(
    docket: Docket = CurrentDocket(), worker: Worker = CurrentWorker()
) -> AsyncGenerator[WorkerClient]:
    """Give a worker's tasks their client, for as long as the worker runs."""
    name = fleet_of(docket.name)
    settings = worker_settings.get(WorkerSettings())
    # A dead worker's creates must be nobody's by the time that they come to another.
    lease = min(LEASE, worker.redelivery_timeout.total_seconds() / 2)
    async with docket.redis() as redis, docket_of(name, POLLS, docket.url) as polls:
        client, stop = cast(Any, redis), worker_stop.get(None) or Stop()
        journal = RedisJournal(
            client, name, on_uncertain=settings.on_uncertain, patience=math.inf, lease=lease
        )
        async with journal:
            rate = await agree_on_rate(journal, settings.rate)
            pace = SharedRateLimiter(client, name, rate, docket.url, stop)
            async with WorkerClient(journal, pace, polls, settings, stop) as one:
                yield one


async def agree_on_rate(journal: RedisJournal, rate: float | None) -> float | None:
    """Return the rate of the fleet: the one given, which others are told, or what they were."""
    noted = await journal.get_note(RATE)
    if rate is None:
        return float(noted) if noted else None
    if noted and float(noted) != rate:
        log.warning("the fleet's rate was %s, and now is %s; restart other workers", noted, rate)
    await journal.set_note(RATE, str(rate))
    return rate
