"""A job's whole way: submit, wait, download. Single verbs and fan-outs share it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Container,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, cast

from ..errors import (
    DownloadError,
    InvalidRequest,
    JournalError,
    SubmissionUncertain,
    TaskFailed,
    Violation,
    WaitTimeout,
)
from ..http.api import ApiClient
from ..journal.protocol import Entry, JournalProtocol, TaskRecord
from ..models.kinds import Kind
from ..models.outcomes import Outcome, R, Submission
from ..models.registry import REQUESTS
from ..models.request import Request
from ..models.tasks import Task
from ..models.validators import key_of, shown
from ..polling.poller import Poller
from ..settings import NOT_GIVEN, NotGiven
from ..submission.reconciler import Reconciler
from ..submission.shield import Guard
from ..submission.submitter import Planned, Submitter
from ..transfer.downloads import Downloads, GoneError
from ..transfer.parts import DownloadedFile
from ..transfer.paths import Destination, OutputNames, result_paths, target_path
from .fanout import FollowUp, Job
from .kind_lookup import KindResolver

log = logging.getLogger("keevx_async")

KeyOf = Callable[[R], str | None]
WAIT_FACTOR = 1.5
"""How often as long as the vendor says that a kind may take its tasks are waited for."""
URL_LIFE = 7 * 24 * 3600.0
"""Seconds; keevx-api.md, "Query": result URLs live for 7 days."""
NEW_FOR = 600.0
"""Seconds after a task's end in which its storage host may not know the result yet."""
CUT_SHORT = "cut short; download the task again: what has come is kept"


class Jobs:
    """Takes requests along their way, on one event loop.

    Args:
        creator: makes the create.
        watcher: waits for tasks.
        querier: asks about one anew.
        downloads: brings results home.
        journal: knows what earlier runs did.
        settlements: knows what callbacks told of uncertain creates.
        kinship: is told of what kind each task is.
        learn: has what earlier runs learned of durations taken in.
        timeout: seconds that a job's wait takes at most; by default as its kind may need.
    """

    def __init__(
        self,
        creator: Submitter,
        watcher: Poller,
        querier: ApiClient,
        downloads: Downloads,
        journal: JournalProtocol,
        settlements: Reconciler | None,
        kinship: KindResolver,
        learn: Callable[[], Awaitable[None]],
        timeout: float | NotGiven | None,
    ) -> None:
        self._creator = creator
        self._watcher = watcher
        self._querier = querier
        self._downloads = downloads
        self._journal = journal
        self._settlements = settlements
        self._kinship = kinship
        self._learn = learn
        self._timeout = timeout
        self._names_taken: set[str] = set()

    async def submit(self, request: R, key: str | None, guard: Guard) -> Submission[R]:
        """Make one create."""
        plan = await self._creator.plan(check_request(request), key)
        task_ids = await self._creator.submit(plan, guard)
        self._register(plan, task_ids)
        return Submission(request, plan.key, task_ids)

    def _register(self, plan: Planned, task_ids: tuple[str, ...]) -> None:
        self._kinship.remember(task_ids, plan.request.kind)
        age = _since(plan.entry) if plan.entry and plan.entry.task_ids else 0.0
        for task_id in task_ids:
            self._watcher.register(task_id, plan.request, age)

    async def wait(self, task_ids: Iterable[str], *, at_home: bool = False) -> tuple[Task, ...]:
        """Return every task, ended, in the order of its ids.

        Args:
            task_ids: from one submission.
            at_home: whether a result that was downloaded needs no URL.
        """
        order = tuple(task_ids)
        coming = self.wait_many(order, NOT_GIVEN, at_home=at_home)
        ended = {task.task_id: task async for task in coming}
        return tuple(ended[one] for one in order)

    async def wait_many(
        self, task_ids: Iterable[str], timeout: float | NotGiven | None, *, at_home: bool = False
    ) -> AsyncGenerator[Task]:
        """Yield each task as it ends: at once where the journal knows its end."""
        pending: list[str] = []
        done: list[Task] = []
        for task_id in task_ids:
            if (task := await self._recorded(task_id, at_home)) is not None:
                done.append(task)
                yield task
            else:
                pending.append(task_id)
        limit = timeout
        if isinstance(limit, NotGiven):
            limit = self._default_timeout(map(self._kinship.lookup, pending))
        await self._learn()
        async for task in self._watcher.wait_many(pending, limit, done):
            if task.done:  # else it was given up without its result: the next run asks again
                await self._journal.mark_ended(task)
            yield task

    def _default_timeout(self, kinds: Iterable[Kind | None]) -> float | None:
        """Return the seconds that tasks are waited for where the call does not say."""
        if not isinstance(self._timeout, NotGiven):
            return self._timeout
        longest = [
            one.kind.max_seconds for one in REQUESTS.values()
        ]  # of a kind that is not known yet
        return WAIT_FACTOR * max(
            (one.max_seconds if one else max(longest) for one in kinds), default=0
        )

    async def _recorded(self, task_id: str, at_home: bool) -> Task | None:
        """Return a task whose end is on record, unless its URL is needed and has expired."""
        record = await self._journal.find_task(task_id)
        if record is None or not record.task.done:
            return None
        needed = not (at_home and record.path is not None)
        return None if needed and _has_expired(record) else record.task

    async def download(
        self, what: Task | str, destination: Destination, *, overwrite: bool
    ) -> Path:
        """Download a result, and what belongs to it; an expired URL is asked for anew, once."""
        target = target_path(what, destination)
        if isinstance(what, str):
            return (await self._downloads.fetch(what, target, overwrite=overwrite)).path
        files = result_paths(what, target)
        if not overwrite and (there := await asyncio.to_thread(_existing, files)):
            raise DownloadError(f"{there[0]} exists; pass overwrite=True to replace it")
        async for _ in self._fetch(what, files, overwrite=overwrite):
            pass
        return target

    async def _fetch(
        self, task: Task, files: Mapping[str, Path], *, overwrite: bool, there: Container[Path] = ()
    ) -> AsyncGenerator[Path]:
        """Yield each of a task's files once it is there, the main one first, which is recorded."""
        main = next(iter(files))
        for field, path in files.items():
            if path not in there:
                task, brought = await self._fetch_one(task, field, path, overwrite)
                if field == main:
                    await self._journal.mark_downloaded(task, path, brought.size, brought.digest)
            yield path

    async def _fetch_one(
        self, task: Task, field: str, path: Path, overwrite: bool
    ) -> tuple[Task, DownloadedFile]:
        """Download one of a task's files, with a new URL where the host no longer has it.

        1. The URL that the task has is requested. Where it is gone, it may have expired, so
           Keevx is asked for another, once: that is free, and quicker than to wait.
        2. A host may answer 403 or 404 to what was made a moment ago. So the second URL is
           requested by the retry policy, unless the task is known to have ended long ago.
        """
        expected = field.removesuffix("_url")
        try:
            brought = await self._downloads.fetch(
                url_of(task, field), path, overwrite=overwrite, expected=expected
            )
        except GoneError:
            record = await self._journal.find_task(task.task_id)
            is_new = record is None or time.time() - record.at < NEW_FOR
            task = await self._querier.status(task.task_id)
            brought = await self._downloads.fetch(
                url_of(task, field), path, overwrite=overwrite, expected=expected, is_new=is_new
            )
        return task, brought

    async def _fetch_results(self, task: Task, outcome: Outcome[Any], names: OutputNames) -> None:
        """Download a task's results, but for those that were, and are still there and whole."""
        record = await self._journal.find_task(task.task_id)
        there: Sequence[Path] = ()
        if record is not None and record.path is not None:
            files = result_paths(task, record.path)
            if await asyncio.to_thread(_is_whole, record.path, record.size):
                there = await asyncio.to_thread(_existing, files)
            if len(there) < len(files) and _has_expired(record):
                task = await self._querier.status(task.task_id)
            if there:
                await self._note(outcome, self._fetch(task, files, overwrite=False, there=there))
                return
        with names.name(task, outcome, self._names_taken) as (path, mine):
            await self._note(outcome, self._fetch(task, result_paths(task, path), overwrite=mine))

    async def _note(self, outcome: Outcome[Any], coming: AsyncGenerator[Path]) -> None:
        async for path in coming:
            outcome.paths += (path,)

    def submitting(self, key: KeyOf[Any] | None) -> Job:
        """Return the work of ``submit_many``."""

        async def work(outcome: Outcome[Any], guard: Guard) -> None:
            request = check_request(outcome.request)
            plan = await self._creator.plan(request, key_of(key(request)) if key else None)
            outcome.key = plan.key
            try:
                outcome.task_ids = await self._creator.submit(plan, guard)
            except (JournalError, SubmissionUncertain) as error:
                outcome.task_ids = error.task_ids
                raise
            self._register(plan, outcome.task_ids)

        return work

    def generating(self, key: KeyOf[Any] | None, names: OutputNames | None) -> Job:
        """Return the work of ``generate_many``: waiting and downloading need no slot."""
        submit = self.submitting(key)

        async def follow(outcome: Outcome[Any]) -> None:
            await self.finish(outcome, names)

        async def hold_open(outcome: Outcome[Any]) -> None:
            uncertain = cast(SubmissionUncertain, outcome.error)
            try:
                outcome.task_ids = await self.settled(uncertain)
            finally:
                outcome.task_ids = outcome.task_ids or await self._ids_so_far(uncertain.key)
            outcome.error = WaitTimeout(outcome.task_ids)  # holds if the wait is cut short
            await follow(outcome)

        async def work(outcome: Outcome[Any], guard: Guard) -> FollowUp:
            try:
                await submit(outcome, guard)
            except SubmissionUncertain as error:
                outcome.error = error
                return hold_open
            outcome.error = WaitTimeout(outcome.task_ids)  # holds if the wait is cut short
            return follow

        return work

    async def finish(self, outcome: Outcome[Any], names: OutputNames | None) -> None:
        """Wait for the tasks of an outcome that has their ids, and bring the results home.

        Raises:
            TaskFailed: one ended without a result.
            WaitTimeout: one had not ended in time.
            DownloadError: a result could not be had whole.
        """
        outcome.tasks = await self.wait(outcome.task_ids, at_home=names is not None)
        if names is not None:
            outcome.error = DownloadError(CUT_SHORT)  # holds if the download is cut short
            await self._download_results(outcome, names)
        outcome.error = None
        raise_for_failed(outcome.tasks)

    async def settled(self, error: SubmissionUncertain) -> tuple[str, ...]:
        """Return the ids of an uncertain create, if its callbacks come before the deadline.

        Raises:
            SubmissionUncertain: they did not, or there is no receiver.
        """
        if self._settlements is None:
            raise error
        entry = await self._journal.find(error.key)
        spent = _since(entry) if entry else 0.0
        count, kind = error.request.count, error.request.kind
        limit = self._default_timeout([kind])
        try:
            async with asyncio.timeout(limit and max(0.0, limit - spent)):
                task_ids = await self._settlements.wait(error.key, count, kind)
        except TimeoutError:
            if known := await self._ids_so_far(error.key):
                log.warning("of %s, callbacks have told of %s only", error.key, known)
            raise error from None
        self._kinship.remember(task_ids, kind)
        return task_ids

    async def _ids_so_far(self, key: str) -> tuple[str, ...]:
        return await self._settlements.ids_so_far(key) if self._settlements is not None else ()

    async def _download_results(self, outcome: Outcome[Any], names: OutputNames) -> None:
        for task in outcome.tasks:
            if task.succeeded:
                await self._fetch_results(task, outcome, names)


def _since(entry: Entry) -> float:
    """Return the seconds since an intent was written; 0 where a clock was wrong meanwhile.

    A time that lies ahead of our clock must not make a wait longer.
    """
    return max(0.0, time.time() - entry.at)


def _has_expired(record: TaskRecord) -> bool:
    return record.task.succeeded and time.time() - record.at > URL_LIFE


def _is_whole(path: Path, size: int | None) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _existing(files: Mapping[str, Path]) -> list[Path]:
    return [path for path in files.values() if os.path.exists(path)]  # never raises


def check_request(value: object) -> Request:
    """Return value if it is a request.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(value, Request):
        message = f"must be a request (got {shown(value)}): make an ImageToVideo, for example"
        raise InvalidRequest([Violation("request", value, "type", message)])
    return value


def raise_for_failed(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return tasks if none of them failed.

    Raises:
        TaskFailed: one did.
    """
    for task in tasks:
        if not task.succeeded:
            raise TaskFailed(task, tasks)
    return tasks


def url_of(task: Task, field: str) -> str:
    """Return where a task's result lies.

    Raises:
        DownloadError: it has none.
    """
    if field not in task.results:
        said = task.error_message or f"its status is {task.status}"
        what = field.removesuffix("_url")
        raise DownloadError(f"task {task.task_id} has no {what} to download: {said}")
    return task.results[field]
