"""Add requests to a fleet, and wait for their results."""

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
"""Maximum number of requests added in one round trip."""


class KeevxDocket:
    """The request queue of a fleet of workers.

    Use it as ``async with KeevxDocket(…) as docket:``. Requests stay in Redis until they are done,
    even if the program that added them exits.

    Args:
        name: the fleet's name. The fleet's docket is called ``NAME-create``, its journal ``NAME``.
        url: the Redis or Valkey URL; ``memory://…`` keeps the fleet in this process, for tests. The
            password may be in KEEVX_REDIS_PASSWORD instead of the URL.
        polling: sets the maximum time to wait for tasks.

    Attributes:
        name: the fleet's name.

    Raises:
        ConfigurationError: Redis does not respond when the docket is opened.
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
            # A wrong URL fails at once. Later calls wait while Redis is unavailable.
            try:
                await redis.exists("keevx")
            except RedisError as error:
                is_login = isinstance(error, (AuthenticationError, AuthorizationError))
                hint = f"its password, in {PASSWORD_VARIABLE} or in the URL" if is_login else ""
                raise ConfigurationError(
                    f"cannot connect to Redis: {error}; check {hint or 'the URL and the server'}"
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
        """Add one request and return its key. A submitted create is not submitted again.

        Args:
            request: the request. It must not name local files, since workers may be on other
                machines.
            key: identifies the create. The default is a digest of the request followed by a running
                number. A service that may get the same request twice should pass a different key
                each time.

        Raises:
            InvalidRequest: the request names a local file.
            JournalError: the key belongs to another request.
        """
        (added,) = await self._add([(request, key)])
        return added

    async def add_many(
        self, requests: Iterable[R] | AsyncIterable[R], *, key: KeyOf[R] | None = None
    ) -> int:
        """Add requests in batches, and return the number of requests.

        If the same program runs again, it adds nothing twice.

        Args:
            requests: any iterable or async iterable, of any length, consumed lazily.
            key: a function that returns the create's key for a request.

        Raises:
            InvalidRequest: a request names a local file; earlier requests may have been added.
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
                message = "workers may be on other machines; upload it and pass its URL"
                raise InvalidRequest(
                    [Violation("request", file, "url", f"{file}: {message}") for file in files]
                )
            rows.append(Planned(request.kind.name, encode_request(request), key))
        added = await self.journal.add_many(rows, self._run)
        # 1. It was submitted, and every task has ended: there is nothing to do.
        # 2. It was refused or uncertain: it is queued again. The worker that recorded this may not
        #    have returned yet, in which case add_many() would leave the old execution in place.
        # 3. Otherwise it is queued, unless it is already queued.
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
            JournalError: Redis stayed unavailable, or did not accept some of the creates, for
                example because it is full.
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
        """Wait until all of a create's tasks have ended, and return the tasks.

        Args:
            key: the key that ``add`` returned.
            timeout: the maximum number of seconds to wait. By default, only the time after the
                submission is limited, to the maximum wait for the create's kind.

        Raises:
            TaskFailed: a task ended without a result; the error's ``tasks`` contains all tasks.
            SubmissionUncertain: the response was lost, or the worker died while sending the create.
            APIError: Keevx refused the create.
            NotStarted: the fleet has stopped because it has no funds, its budget is used up, or its
                creates are refused. It makes this create once it is working again.
            WaitTimeout: the tasks did not end in time; the fleet keeps working on them.
            JournalError: the create was never added, or Redis stayed unavailable.
        """
        try:
            async with asyncio.timeout(timeout):
                record = await self.wait_until_done(key)
        except TimeoutError:
            so_far = (await self.journal.find_records([key])).get(key)
            raise (await self._timeout_of(so_far) if so_far else WaitTimeout(())) from None
        if None in record.records:  # a task that did not end within the maximum wait
            raise await self._timeout_of(record)
        return raise_for_failed(tuple(each.task for each in record.records if each is not None))

    async def progress(self) -> dict[str, int]:
        """Return the number of creates in each state, and of tasks that succeeded and failed.

        The keys are the values of ``State``, plus ``succeeded`` and ``failed`` for tasks.
        """
        return await self.journal.counts()

    async def has_workers(self) -> bool:
        """Return whether any of the fleet's workers is alive, based on its two-second heartbeat.

        Raises:
            JournalError: Redis cannot be used.
        """
        purpose = "the fleet's workers could not be read"
        return bool(await self.journal.connection.call(purpose, self.creates.workers))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the outcome of an uncertain create, and queue the create again.

        Args:
            key: the create's key.
            task_ids: the ids of the create's tasks, which are then polled. Empty means that the
                create was not made; it is then submitted.

        Raises:
            JournalError: the create is not uncertain, or it has ids but none were passed.
        """
        await self.journal.settle(key, task_ids)
        # Not add(): the worker that lost the response may not have returned yet.
        await self._queue(self.creates.replace_many, [key])

    async def wait_until_done(self, key: str) -> CreateRecord:
        """Wait until a create is done, and return it with the records of its tasks.

        The record of a task that did not end within the maximum wait is None.

        Raises:
            JournalError: the create was never added, or Redis stayed unavailable.
            NotStarted: the fleet stopped before making the create; ``__cause__`` says why.
            WaitTimeout: the fleet has stopped, and no worker is left to poll the tasks.
            SubmissionUncertain: the response was lost, or the worker died while sending the create.
            APIError: Keevx refused the create.
        """
        record = await self._completion.wait(key)
        entry = record.entry
        if entry.state is State.REFUSED:
            raise APIError(0, None, entry.reason)
        if entry.state is State.UNCERTAIN:
            raise SubmissionUncertain(request_of(entry), entry.key, entry.reason, entry.task_ids)
        return record

    async def _find_complete(self, keys: Sequence[str]) -> dict[str, CreateRecord | Exception]:
        """Return complete creates, and errors for creates that there is no point in waiting for."""
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
        """Return an error for each create that nobody is working on because the fleet stopped."""
        # 1. The fleet is working: there are no such creates.
        # 2. The create is planned: it has not started, and stays in the docket for later workers.
        # 3. It is submitted, and no worker is left to poll its tasks: it is unfinished.
        # 4. Anything else, such as a create in flight: its worker records the outcome.
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
        # 1. Uncertain or refused: complete, unless it is queued, because a worker may still process
        #    it: a dead worker's create is redelivered, and a refused create may have been added
        #    again. If it is no longer queued, a worker may have recorded its end since the record
        #    was read, so the entry is read again.
        # 2. Not submitted yet: not complete.
        # 3. All tasks have ended, or the maximum wait is over: complete.
        # 4. Each task has ended or was abandoned without a result: complete, unless an abandoned
        #    task will be polled again, because its create was added again.
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
        """Return the number of seconds since a create was sent, never less than 0."""
        # The clock that wrote the entry may be ahead of ours. The age of an entry from the future
        # is the time for which this process has been waiting for it.
        age, now = time.time() - entry.at, time.monotonic()
        if age < 0:
            self._ahead.setdefault(entry.key, now)
        return max(age, now - self._ahead.get(entry.key, now))

    async def _timeout_of(self, record: CreateRecord) -> WaitTimeout:
        """Return the error for a wait that timed out, with each unfinished task's last status."""
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
    """Yield an iterable's items in lists of at most WINDOW items."""
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
