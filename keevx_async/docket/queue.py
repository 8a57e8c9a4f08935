"""Where requests are added to a fleet, and their results are waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from secrets import token_hex
from typing import Any, Self, TypeVar, cast

from docket import Disposition, Docket, Execution, TaskCall
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from ..client.fuse import not_started
from ..client.jobs import KeyOf, raise_for_failed
from ..errors import (
    APIError,
    ConfigurationError,
    InvalidRequest,
    JournalError,
    SubmissionUncertain,
    Violation,
    WaitTimeout,
)
from ..journal.protocol import Entry, State
from ..journal.redis.credentials import PASSWORD_VARIABLE
from ..journal.redis.encoding import CreateRecord, Planned
from ..journal.redis.journal import RedisJournal
from ..journal.redis.polls import PollQueue
from ..models.outcomes import R
from ..models.request import Request, check_request, encode_request
from ..models.tasks import Task
from ..settings import PollPolicy
from .client import PollState, request_of, wait_limit
from .completion import CompletionWaiter
from .settings import docket_of
from .stop_mark import STOPPED, StopWatch
from .tasks import create

T = TypeVar("T")
WINDOW = 1_000
"""Requests added in one round trip."""


class KeevxDocket:
    """Takes requests for a fleet of workers.

    Use it as ``async with KeevxDocket(…) as docket:``. What is added stays in Redis until it is
    done, whatever becomes of the program that added it.

    Args:
        name: the name of the fleet: of its docket, ``NAME-create``, and its journal.
        url: the URL of Redis or Valkey; ``memory://…`` is a fleet in this process, for tests. The
            password may be in KEEVX_REDIS_PASSWORD instead; a URL that has one keeps it.
        polling: how long tasks are waited for.

    Attributes:
        name: the name of the fleet.

    Raises:
        ConfigurationError: Redis does not answer when it is opened.
    """

    def __init__(
        self,
        name: str = "keevx",
        url: str = "memory://keevx",
        *,
        polling: PollPolicy | None = None,
    ) -> None:
        self.creates: Docket = docket_of(name, url)
        self.name: str = name
        self._polling = polling or PollPolicy()
        self._run = token_hex(8)
        self._stack = AsyncExitStack()
        self._completion = CompletionWaiter(self._find_complete)
        self._ahead: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.creates)
            redis = cast(Any, await stack.enter_async_context(self.creates.redis()))
            # An error at once if the URL is wrong. Later Redis may be unavailable for a while,
            # and is waited for.
            try:
                await redis.exists("keevx")
            except RedisError as error:
                is_login = isinstance(error, (AuthenticationError, AuthorizationError))
                hint = f"its password, in {PASSWORD_VARIABLE} or in the URL" if is_login else ""
                raise ConfigurationError(
                    f"Redis does not answer: {error}; check {hint or 'the URL and the server'}"
                ) from None
            journal = RedisJournal(redis, self.name)
            self.journal = await stack.enter_async_context(journal)
            self._polls = PollQueue(journal.connection)
            self._stop_watch = StopWatch(await self.journal.get_note(STOPPED) or "")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._completion.close()
        await self._stack.aclose()

    async def add(self, request: Request, *, key: str | None = None) -> str:
        """Add one request; return its key. What was submitted before is not submitted again.

        Args:
            request: what to make. It names no local files: workers may be on other machines.
            key: identifies the create; by default a digest of the request and a running number.
                A service that is asked for the same video twice must pass a key of its own for
                each.

        Raises:
            InvalidRequest: it names a local file.
            JournalError: the key belongs to another request.
        """
        (added,) = await self._add([(request, key)])
        return added

    async def add_many(
        self, requests: Iterable[R] | AsyncIterable[R], *, key: KeyOf[R] | None = None
    ) -> int:
        """Add requests, a window at a time; return how many.

        The same program run again adds nothing twice.

        Args:
            requests: any iterable or async iterable, of any length, consumed lazily.
            key: returns the key of a request's create.

        Raises:
            InvalidRequest: one names a local file; those before it may have been added.
            JournalError: a key belongs to another request.
        """
        count = 0
        async for window in _windows(requests):
            await self._add([(request, key(request) if key else None) for request in window])
            count += len(window)
        return count

    async def _add(self, requests: Sequence[tuple[Request, str | None]]) -> list[str]:
        rows: list[Planned] = []
        for request, key in requests:
            if files := check_request(request).local_files():
                message = "workers may be on other machines; upload it, and give the URL"
                raise InvalidRequest(
                    [Violation("request", file, "url", f"{file}: {message}") for file in files]
                )
            rows.append(Planned(request.kind.name, encode_request(request), key))
        added = await self.journal.add_many(rows, self._run)
        # 1. Submitted before, and every task has ended: there is nothing to do.
        # 2. Refused or uncertain before: queued again. The worker that recorded this may not have
        #    returned yet, and then add_many() would leave its old execution in place.
        # 3. Any other: queued, unless it is queued already.
        submitted = [
            key for key, entry in added if entry is not None and entry.state is State.SUBMITTED
        ]
        records = await self.journal.find_records(submitted) if submitted else {}
        new: list[str] = []
        failed: list[str] = []
        for key, entry in added:
            if key in records and records[key].done:
                continue
            is_over = entry is not None and entry.state in (State.REFUSED, State.UNCERTAIN)
            (failed if is_over else new).append(key)
        await self._queue(self.creates.add_many, new)
        await self._queue(self.creates.replace_many, failed)
        return [key for key, _ in added]

    async def _queue(
        self, put: Callable[[Iterable[TaskCall]], Awaitable[list[Execution]]], keys: Iterable[str]
    ) -> None:
        """Queue creates.

        Raises:
            JournalError: Redis stayed unavailable, or did not accept some, such as when it is full.
        """
        calls = [self.creates.call(create, key=key)(key) for key in keys]
        purpose = f"{len(calls)} creates could not be queued"
        executions = await self.journal.connection.call(purpose, lambda: put(calls))
        failed = [each for each in executions if each.disposition is Disposition.FAILED]
        if failed:
            raise JournalError(
                f"{len(failed)} of {len(executions)} creates were not queued: "
                f"{failed[0].schedule_exception}. Check Redis, then add them again: "
                "nothing is submitted twice"
            )

    async def get_result(self, key: str, *, timeout: float | None = None) -> tuple[Task, ...]:
        """Wait until every task of a create has ended, and return them.

        Args:
            key: what ``add`` returned.
            timeout: seconds; by default as long as its kind may take, once it is submitted.

        Raises:
            TaskFailed: one ended without a result; ``tasks`` holds them all.
            SubmissionUncertain: its answer was lost, or its worker died while sending it.
            APIError: Keevx refused it.
            NotStarted: the fleet has stopped, without funds, over its budget or because its
                creates are refused; it makes this one once it works again.
            WaitTimeout: it had not ended in time; the fleet goes on.
            JournalError: it was never added, or Redis stayed unavailable.
        """
        try:
            async with asyncio.timeout(timeout):
                record = await self.wait_until_done(key)
        except TimeoutError:
            so_far = (await self.journal.find_records([key])).get(key)
            raise (await self._timeout_of(so_far) if so_far else WaitTimeout(())) from None
        if None in record.records:  # its task was waited for as long as its kind may take
            raise await self._timeout_of(record)
        return raise_for_failed(tuple(each.task for each in record.records if each is not None))

    async def progress(self) -> dict[str, int]:
        """Return how many creates are in each state, and how many tasks succeeded and failed.

        The keys are those of ``State``, ``succeeded`` and ``failed``.
        """
        return await self.journal.counts()

    async def has_workers(self) -> bool:
        """Return whether a worker of the fleet is alive: Docket hears of each every two seconds.

        Raises:
            JournalError: Redis cannot be used.
        """
        purpose = "the fleet's workers could not be read"
        return bool(await self.journal.connection.call(purpose, self.creates.workers))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record what became of an uncertain create, and go on with it.

        Args:
            key: the key of the create.
            task_ids: its ids, which are then waited for; empty if it was not made: then it is
                submitted.

        Raises:
            JournalError: it is not uncertain, or has ids and so cannot be settled without any.
        """
        await self.journal.settle(key, task_ids)
        # Not add(): the worker that lost the answer may not have returned yet.
        await self._queue(self.creates.replace_many, [key])

    async def wait_until_done(self, key: str) -> CreateRecord:
        """Wait until nothing is left to do for a create; return it with its tasks' records.

        A record is None if its task was not waited for any longer.

        Raises:
            JournalError: it was never added, or Redis stayed unavailable.
            NotStarted: the fleet has stopped before it; the cause is its ``__cause__``.
            WaitTimeout: the fleet has stopped, and no worker is left to poll its tasks.
            SubmissionUncertain: its answer was lost, or its worker died while sending it.
            APIError: Keevx refused it.
        """
        record = await self._completion.wait(key)
        entry = record.entry
        if entry.state is State.REFUSED:
            raise APIError(0, None, entry.reason)
        if entry.state is State.UNCERTAIN:
            raise SubmissionUncertain(request_of(entry), entry.key, entry.reason, entry.task_ids)
        return record

    async def _find_complete(self, keys: Sequence[str]) -> dict[str, CreateRecord | Exception]:
        """Return those creates for which nothing is left to do; an error if one was never added."""
        records = await self.journal.find_records(keys)
        unknown = f"is not a key of fleet {self.name!r}; add a request under it first"
        missing: dict[str, CreateRecord | Exception] = {
            key: JournalError(f"{key!r} {unknown}") for key in keys if key not in records
        }
        complete = {
            key: record for key, record in records.items() if await self._is_complete(record)
        }
        waiting = [record for key, record in records.items() if key not in complete]
        return missing | complete | await self._find_stopped(waiting)

    async def _find_stopped(self, waiting: Sequence[CreateRecord]) -> dict[str, Exception]:
        """Return those creates that nobody works on, because the fleet has stopped."""
        # 1. The fleet works: none.
        # 2. Planned: not started. It stays in the docket, for the next workers.
        # 3. Submitted, and no worker is left to poll its tasks: unfinished.
        # 4. Anything else, such as a create in flight: its worker records how it ends.
        if not waiting:
            return {}
        mark = await self.journal.get_note(STOPPED) or ""
        reason = self._stop_watch.observe(mark, time.monotonic())
        if reason is None:
            return {}
        stopped: dict[str, Exception] = {}
        has_workers = await self.has_workers()
        for record in waiting:
            entry = record.entry
            if entry.state is State.PLANNED:
                stopped[entry.key] = not_started(reason)
            elif entry.state is State.SUBMITTED and not has_workers:
                stopped[entry.key] = await self._timeout_of(record)
            else:
                continue
            stopped[entry.key].__cause__ = reason
        return stopped

    async def _is_complete(self, record: CreateRecord) -> bool:
        # 1. Uncertain or refused: complete, unless it is queued. A worker may still take it up: a
        #    dead worker's is redelivered, and a refused one may have been added again. Where it is
        #    no longer queued, a worker may have written its end since the record was read: only
        #    what is read after that is final.
        # 2. Not submitted yet: not complete.
        # 3. All tasks have ended, or were waited for as long as their kind may take: complete.
        # 4. Each task has ended or was abandoned without a result: complete, unless one that was
        #    abandoned is to be polled again, as its create was added again.
        entry = record.entry
        if entry.state in (State.UNCERTAIN, State.REFUSED):
            if await self._is_queued(entry.key):
                return False
            latest = await self.journal.find(entry.key)
            return latest is not None and latest.state is entry.state
        if entry.state is not State.SUBMITTED:
            return False
        if self._age(entry) > wait_limit(entry.kind, self._polling) or record.done:
            self._ahead.pop(entry.key, None)
            return True
        if None in record.records or await self._is_queued(entry.key):
            return False
        tasks = [each.task for each in record.records if each is not None]
        abandoned = [task.task_id for task in tasks if not task.done]
        return not any(await self._polls.find(abandoned))

    async def _is_queued(self, key: str) -> bool:
        find = self.creates.get_execution
        purpose = f"{key} could not be looked up"
        return await self.journal.connection.call(purpose, lambda: find(key)) is not None

    def _age(self, entry: Entry) -> float:
        """Return the seconds since a create was sent, never fewer than 0."""
        # The clock that wrote the entry may be ahead of ours. One from the future is as old as it
        # has been waited for in this process.
        age, now = time.time() - entry.at, time.monotonic()
        if age < 0:
            self._ahead.setdefault(entry.key, now)
        return max(age, now - self._ahead.get(entry.key, now))

    async def _timeout_of(self, record: CreateRecord) -> WaitTimeout:
        """Return the error of a wait that ended too early, with the last status of each task."""
        pairs = zip(record.entry.task_ids, record.records, strict=True)
        ended = {task_id: each.task for task_id, each in pairs if each and each.task.done}
        pending = [task_id for task_id in record.entry.task_ids if task_id not in ended]
        states = zip(pending, await self._polls.find(pending), strict=True)
        statuses = {
            task_id: PollState.load(task_id, state).status if state else ""
            for task_id, state in states
        }
        return WaitTimeout(pending, list(ended.values()), statuses)


async def _windows(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[list[T]]:
    """Yield the items of an iterable in lists of at most WINDOW."""
    if not isinstance(items, AsyncIterable):
        iterator = iter(items)
        while window := list(islice(iterator, WINDOW)):
            yield window
        return
    window = list[T]()
    async for item in items:
        window.append(item)
        if len(window) == WINDOW:
            yield window
            window = []
    if window:
        yield window
