"""Where a fleet's requests are added, and asked about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import islice
from secrets import token_hex
from typing import Any, Self, TypeVar, cast

from attrs import fields
from docket import Disposition, Docket, Execution, TaskCall
from redis.exceptions import RedisError

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
from ..journal import Entry, State
from ..journal.redis.journal import Added, Planned, RedisJournal
from ..journal.redis.reading import Ends
from ..models.encoding import encode_request
from ..models.request import Request, check_request
from ..models.tasks import R, Task
from ..settings import PollPolicy
from .client import CREATES, POLLS, PollState, docket_of, request_of, wait_limit
from .completion import CompletionWaiter
from .tasks import create

T = TypeVar("T")
STATUS = [one.name for one in fields(PollState)].index("status")
"""Where a poll carries its task's last status."""
WINDOW = 1_000
"""Requests that are added in one round trip."""


class KeevxDocket:
    """Takes requests for a fleet of workers.

    Use it as ``async with KeevxDocket(…) as docket:``. What is added stays in Redis until it is
    done, whatever becomes of the program that added it.

    Args:
        name: the fleet's: of its two dockets, ``NAME-create`` and ``NAME-poll``, and its journal.
        url: of Redis or Valkey; ``memory://…`` is a fleet within this process, for tests.
        polling: how long tasks are waited for.

    Raises:
        ConfigurationError: no Redis answers when it is opened.
    """

    def __init__(
        self,
        name: str = "keevx",
        url: str = "memory://keevx",
        *,
        polling: PollPolicy | None = None,
    ) -> None:
        self.creates: Docket = docket_of(name, CREATES, url)
        self.polls: Docket = docket_of(name, POLLS, url)
        self._name = name
        self._polling = polling or PollPolicy()
        self._run = token_hex(8)
        self._stack = AsyncExitStack()
        self._lookout = CompletionWaiter(self._ended)
        self._ahead: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.creates)
            await stack.enter_async_context(self.polls)
            redis = cast(Any, await stack.enter_async_context(self.creates.redis()))
            await _greet(redis)
            journal = RedisJournal(redis, self._name)
            self.journal = await stack.enter_async_context(journal)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lookout.close()
        await self._stack.aclose()

    async def add(self, request: Request, *, key: str | None = None) -> str:
        """Add one request; return its key. What was made already is not made again.

        Args:
            request: what to make. It names no local files: workers may be on other machines.
            key: names the create; by default a digest of the request and a running number. A
                service that is asked twice for the same must give each its own.

        Raises:
            InvalidRequest: it names a local file.
            JournalError: the key stands for another request.
        """
        (added,) = await self._add([(request, key)])
        return added

    async def add_many(
        self, requests: Iterable[R] | AsyncIterable[R], *, key: KeyOf[R] | None = None
    ) -> int:
        """Add requests, as many at a time as one round trip takes; return how many.

        The same program run again adds nothing twice.

        Args:
            requests: any iterable or async iterable, of any length, pulled lazily.
            key: names each create; a function of the request.

        Raises:
            InvalidRequest: one names a local file; those before it are added.
            JournalError: a key stands for another request.
        """
        count = 0
        async for window in _windows(requests):
            await self._add([(one, key(one) if key else None) for one in window])
            count += len(window)
        return count

    async def _add(self, asked: Sequence[tuple[Request, str | None]]) -> list[str]:
        rows = [Planned(_portable(one).kind.name, encode_request(one), key) for one, key in asked]
        added = await self.journal.add_many(rows, self._run)
        open_ = await self._open(added)
        await self._queue(self.creates.add_many, (one.key for one in open_ if not _is_over(one)))
        # Not add_many(): where the worker that was refused has not quite ended, nothing would be.
        await self._queue(self.creates.replace_many, (one.key for one in open_ if _is_over(one)))
        return [key for key, _ in added]

    async def _open(self, added: Sequence[Added]) -> list[Added]:
        """Return those for which there is something to do: to be made, or asked about."""
        made = [one.key for one in added if one.entry and one.entry.state is State.SUBMITTED]
        ends = await self.journal.ends(made) if made else {}
        over = {key for key, end in ends.items() if end.done}
        return [one for one in added if one.key not in over]

    async def _queue(
        self, put: Callable[[Iterable[TaskCall]], Awaitable[list[Execution]]], keys: Iterable[str]
    ) -> None:
        """Put creates in the queue.

        Raises:
            JournalError: Redis took some of them not, as when it is full.
        """
        done = await put([self.creates.call(create, key=key)(key) for key in keys])
        failed = [one for one in done if one.disposition is Disposition.FAILED]
        if failed:
            raise JournalError(
                f"{len(failed)} of {len(done)} creates were not queued: "
                f"{failed[0].schedule_exception}. Look after Redis, then add them again: "
                "nothing is made twice"
            )

    async def get_result(self, key: str, *, timeout: float | None = None) -> tuple[Task, ...]:
        """Wait until every task of a create has ended, and return them.

        Args:
            key: what ``add`` returned.
            timeout: seconds; by default as long as its kind may take, once it is made.

        Raises:
            TaskFailed: one ended without a result; ``tasks`` holds them all.
            SubmissionUncertain: its answer was lost, or its worker died during it.
            APIError: Keevx refused it.
            WaitTimeout: it had not ended in time.
            JournalError: it was never added, or Redis stayed away.
        """
        try:
            async with asyncio.timeout(timeout):
                end = await self.end_of(key)
        except TimeoutError:
            so_far = (await self.journal.ends([key])).get(key)
            raise (await self._late(so_far) if so_far else WaitTimeout(())) from None
        if None in end.records:
            raise await self._late(end)
        return raise_for_failed(tuple(one.task for one in end.records if one is not None))

    async def progress(self) -> dict[str, int]:
        """Return how many creates are in each state, and how many tasks ended how."""
        return await self.journal.counts()

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Say what became of an uncertain create: its ids, which are then waited for, or none.

        Without ids it is made.

        Raises:
            JournalError: there is no uncertain create of that key.
        """
        await self.journal.settle(key, task_ids)
        # Not add(): where the worker that lost the answer has not quite ended, nothing would be.
        await self.creates.replace(create, datetime.now(UTC), key)(key)

    async def end_of(self, key: str) -> Ends:
        """Return a create that was made, and what is known of its tasks, once nothing is due.

        Raises:
            JournalError: it was never added.
            SubmissionUncertain: its answer was lost, or its worker died during it.
            APIError: Keevx refused it.
        """
        found = await self._lookout.wait(key)
        entry = found.entry
        if entry.state is State.UNCERTAIN:
            raise SubmissionUncertain(request_of(entry), entry.key, entry.reason, entry.task_ids)
        if entry.state is State.REFUSED:
            raise APIError(0, None, entry.reason)
        return found

    async def _ended(self, keys: Sequence[str]) -> dict[str, Ends | Exception]:
        """Return those of some creates that have come to their end, or were never added."""
        found = await self.journal.ends(keys)
        unknown = f"is no key of fleet {self._name!r}; add a request under it first"
        missing: dict[str, Ends | Exception] = {
            key: JournalError(f"{key!r} {unknown}") for key in keys if key not in found
        }
        return missing | {key: one for key, one in found.items() if await self._has_ended(one)}

    async def _has_ended(self, found: Ends) -> bool:
        entry = found.entry
        if entry.state in (State.UNCERTAIN, State.REFUSED):
            # A worker may yet take it up: of a dead one's, or as it was added again.
            return await self.creates.get_execution(entry.key) is None
        if entry.state is not State.SUBMITTED:
            return False
        if self._age(entry) > wait_limit(entry.kind, self._polling) or found.done:
            self._ahead.pop(entry.key, None)
            return True
        return None not in found.records and not await self._is_queued(found)

    def _age(self, entry: Entry) -> float:
        """Return the seconds since a create; a clock that was ahead then makes them no fewer.

        What was written in the future is as old as it has been looked at here.
        """
        age, now = time.time() - entry.at, time.monotonic()
        if age < 0:
            self._ahead.setdefault(entry.key, now)
        return max(age, now - self._ahead.get(entry.key, now))

    async def _is_queued(self, found: Ends) -> bool:
        """Tell whether tasks that were given up without a result are to be asked about again."""
        if await self.creates.get_execution(found.entry.key) is not None:
            return True
        given_up = [one.task.task_id for one in found.records if one and not one.task.done]
        return any([await self.polls.get_execution(one) is not None for one in given_up])

    async def _late(self, found: Ends) -> WaitTimeout:
        """Return the error of a wait that ended first, with the last status of each task."""
        both = list(zip(found.entry.task_ids, found.records, strict=True))
        done = [record.task for _, record in both if record is not None and record.task.done]
        ended = {task.task_id for task in done}
        pending = [task_id for task_id, _ in both if task_id not in ended]
        statuses = {one: await self._status(one) for one in pending}
        return WaitTimeout(pending, done, statuses)

    async def _status(self, task_id: str) -> str:
        """Return the last status of a task, which its next poll carries; empty if none does."""
        execution = await self.polls.get_execution(task_id)
        carried = execution.args[STATUS:] if execution is not None else ()
        return str(carried[0]) if carried else ""


def _is_over(added: Added) -> bool:
    return added.entry is not None and added.entry.state in (State.REFUSED, State.UNCERTAIN)


async def _greet(redis: Any) -> None:
    """See that Redis is there: later it may be away for a while, and is waited for.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        await redis.exists("keevx")
    except RedisError as error:
        raise ConfigurationError(
            f"no Redis answers: {error}; check the URL and the server"
        ) from None


def _portable(request: Request) -> Request:
    """Return a request that any machine can make.

    Raises:
        InvalidRequest: it names a local file.
    """
    files = check_request(request).local_files()
    if files:
        message = "workers may be on other machines; upload it, and give the URL"
        raise InvalidRequest(
            [Violation("request", file, "url", f"{file}: {message}") for file in files]
        )
    return request


async def _windows(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[list[T]]:
    """Yield an iterable's items, so many at a time."""
    if not isinstance(items, AsyncIterable):
        each = iter(items)
        while window := list(islice(each, WINDOW)):
            yield window
        return
    few: list[T] = []
    async for item in items:
        few.append(item)
        if len(few) == WINDOW:
            yield few
            few = []
    if few:
        yield few
