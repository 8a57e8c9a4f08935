"""Runs whole jobs: submit, wait, download."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast

from attrs import define, field

from ..errors import (
    BudgetExceeded,
    DownloadError,
    JournalError,
    KeevxError,
    SubmissionPending,
    SubmissionUncertain,
    TaskFailed,
    WaitTimeout,
)
from ..http.retry import correlation
from ..journal.protocol import Entry, JournalProtocol, State
from ..models.outcomes import Outcome, R
from ..models.request import Request, canonical_body, check_request
from ..models.tasks import Task
from ..models.validators import key_of
from ..settings import NotGiven
from ..submission.pending import PendingCreates
from ..submission.planned import Planned
from ..submission.recall import Recall
from ..submission.reconciler import Reconciler
from ..submission.submitter import Submitter
from ..transfer.output_paths import OutputNames
from .fanout import FollowUp, Job
from .fuse import UNREACHABLE, Fuse, not_started
from .kind_lookup import KindResolver
from .recorded import RecordedCreates, recorded_request
from .result_files import Results
from .slot import Slot
from .task_waiter import TaskWaiter

log = logging.getLogger("keevx_async.client")

KeyOf = Callable[[R], str | None]
CUT_SHORT = "interrupted; download the task again: the bytes received so far are kept"


@define(eq=False)
class Jobs:
    """Runs requests' jobs on one event loop.

    Args:
        submitter: submits requests.
        recall: finds creates from earlier runs without waiting; None to always use the submitter.
        creates: pending creates, which other calls may join.
        register: registers a task's id, request and age in seconds with the poller.
        waiter: waits for tasks.
        results: downloads the tasks' results.
        journal: the record of this run and earlier runs.
        reconciler: settles uncertain creates from callbacks; None if there is no receiver.
        kinds: resolves a task's kind.
        fuse: ``RetryPolicy.fuse``.
    """

    _submitter: Submitter = field(alias="submitter")
    _recall: Recall | None = field(alias="recall")
    _creates: PendingCreates = field(alias="creates")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _waiter: TaskWaiter = field(alias="waiter")
    results: Results
    _journal: JournalProtocol = field(alias="journal")
    _reconciler: Reconciler | None = field(alias="reconciler")
    _kinds: KindResolver = field(alias="kinds")
    _fuse: int = field(alias="fuse")

    async def submit(
        self, request: Request, key: str | None, timeout: float | None
    ) -> tuple[Planned, tuple[str, ...]]:
        """Submit one request outside of a fan-out; return its plan and task ids.

        Args:
            request: the request to submit.
            key: the create's key; with a key or a timeout, other calls may join the create.
            timeout: seconds for this call; the create continues. None for no limit.

        Raises:
            KeevxError: see ``Keevx.submit``.
        """
        if key is not None or timeout is not None:
            return await self._creates.submit(request, key, timeout)
        plan = await self._submitter.plan(request, None)
        return plan, await self._submitter.submit(plan)

    def submit_claimed(
        self, request: Request, entry: Entry
    ) -> Coroutine[Any, Any, tuple[str, ...]]:
        """Submit a request whose key is already claimed; see ``Submitter.submit``."""
        body, is_plain = canonical_body(request), request.has_plain_sources
        return self._submitter.submit(Planned(request, entry.key, body, entry, is_plain=is_plain))

    async def generate(
        self,
        request: Request,
        key: str | None,
        timeout: float | NotGiven | None,
        names: OutputNames | None,
    ) -> list[Task]:
        """Submit one request, wait for its tasks, download their results, and return the tasks.

        Args:
            request: the request to submit.
            key: see ``submit``.
            timeout: seconds for the whole call; None for no limit; NOT_GIVEN to limit only the
                wait (see ``Keevx.wait``).
            names: the template for the results' paths; None to download nothing.

        Raises:
            KeevxError: see ``Keevx.generate``.
        """
        loop, deadline = asyncio.get_running_loop(), None
        if timeout is not None and not isinstance(timeout, NotGiven):
            deadline = loop.time() + timeout
        outcome = Outcome[Any](0, request)
        try:
            async with asyncio.timeout_at(deadline):
                await self.check_destination(names)
        except TimeoutError:
            raise DownloadError(
                f"{names and names.folder} did not respond in time; nothing was sent"
            ) from None
        try:
            left = None if deadline is None else deadline - loop.time()
            plan, outcome.task_ids = await self.submit(request, key, left)
            outcome.key = plan.key
        except SubmissionPending:
            raise
        except SubmissionUncertain as error:
            try:
                async with asyncio.timeout_at(deadline):
                    outcome.key, outcome.task_ids = error.key, await self.settle(error)
            except TimeoutError:
                raise error from None
        try:
            limit = timeout if deadline is None else max(0.0, deadline - loop.time())
            outcome.tasks = await self._waiter.wait(
                outcome.task_ids, limit, any_age=names is not None
            )
        except BaseException:
            what = "create %s: a wait was interrupted; its tasks keep running: %s"
            log.warning(what, outcome.key, outcome.task_ids, extra=correlation(outcome.key))
            raise
        if names is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.results.download_all(outcome, names)
            except TimeoutError:
                raise DownloadError(CUT_SHORT) from None
        return list(raise_for_failed(outcome.tasks))

    async def check_destination(self, names: OutputNames | None) -> None:
        """Raise ConfigurationError if the destination is in object storage and not writable."""
        if names is not None:
            await self.results.check_writable(names.folder)

    def submitting(self, key: KeyOf[Any] | None) -> Job:
        """Return the job for ``submit_many``: it submits an item and has no follow-up.

        The job stops the feed when its fuse blows or the budget is used up.

        Args:
            key: a function that returns the key for each request's create.

        Raises:
            JournalError: the journal is read-only.
        """
        if self._journal.lost is not None:
            raise JournalError(self._journal.lost)
        fuse, recorded = Fuse(self._fuse), RecordedCreates(self._journal)

        async def stop(slot: Slot, reason: KeevxError) -> None:
            # Keep delivering the results of earlier runs, unless status queries would fail too.
            if isinstance(reason, UNREACHABLE):
                slot.stop(reason)
                return
            await recorded.load()
            slot.stop(reason, recorded.has_more if recorded.has_more() else None)

        def work(outcome: Outcome[Any], slot: Slot) -> Awaitable[None] | None:
            if outcome.task_ids:  # submitted before the fan-out was stopped
                return None
            request = check_request(outcome.request)
            name = key_of(key(request)) if key else None
            if self._recall and (entry := self._recall(request, name)) is not None:
                recorded.count(entry)
                outcome.key, outcome.task_ids = entry.key, entry.task_ids
                return None
            return submit(outcome, request, name, slot)

        async def submit(
            outcome: Outcome[Any], request: Request, name: str | None, slot: Slot
        ) -> None:
            plan = await self._submitter.plan(request, name)
            outcome.key = plan.key
            if not recorded.meet(plan.entry) and slot.stopped_by is not None:
                await self._journal.release(plan.key, made=False)
                raise not_started(slot.stopped_by)
            try:
                outcome.task_ids = await self._submitter.submit(plan, slot)
            except (JournalError, SubmissionUncertain) as error:
                outcome.task_ids = error.task_ids
                raise
            except BudgetExceeded as error:
                # A smaller request may still fit, and the journal may have a later request's ids.
                if self._submitter.reservations.is_exhausted:
                    await stop(slot, error)
                raise
            except KeevxError as error:
                if fuse.blown_by(error):
                    await stop(slot, error)
                raise
            if plan.entry is None or not plan.entry.is_submitted:
                fuse.accepted()

        return work

    def generating(self, key: KeyOf[Any] | None, names: OutputNames | None) -> Job:
        """Return the job for ``generate_many``: it submits an item and has a follow-up.

        1. If the item was submitted, the follow-up waits for its tasks and downloads the results.
        2. If the create is uncertain, the follow-up first waits for callbacks to report the ids.

        Args:
            key: a function that returns the key for each request's create.
            names: the template for the results' paths; None to download nothing.
        """
        return self._followed(self.submitting(key), names)

    def resuming(self, names: OutputNames | None) -> Job:
        """Return the job for ``follow_unfinished``. Its items are journal entries.

        Args:
            names: see ``generating``.
        """

        async def take_up(outcome: Outcome[Any], slot: Slot) -> None:
            if outcome.task_ids:  # resumed before the fan-out was stopped
                return
            entry: Entry = outcome.request
            request = outcome.request = recorded_request(entry)
            outcome.key, outcome.task_ids = entry.key, entry.task_ids
            self._kinds.remember(entry.task_ids, request.kind)
            for task_id in entry.task_ids:
                self._register(task_id, request, max(0.0, time.time() - entry.at))
            if entry.state is not State.SUBMITTED:
                raise SubmissionUncertain(request, entry.key, entry.reason, entry.task_ids)

        return self._followed(take_up, names)

    async def unfinished(self, *, download: bool) -> AsyncGenerator[Entry]:
        """Yield earlier runs' journal entries whose tasks have not ended.

        Uncertain creates are included. Creates submitted after the iteration started are not.

        Args:
            download: whether to include creates whose results have not been downloaded.
        """
        now = time.time()
        async for entry in self._journal.entries():
            if entry.at >= now or entry.state not in (State.SUBMITTED, State.UNCERTAIN):
                continue
            records = [await self._journal.find_task(task_id) for task_id in entry.task_ids]
            if entry.state is State.UNCERTAIN or any(
                record is None
                or not record.task.done
                or (download and record.task.succeeded and record.path is None)
                for record in records
            ):
                yield entry

    def _followed(self, submit: Job, names: OutputNames | None) -> Job:
        """Return a job that runs ``submit``, with a follow-up that waits and downloads."""
        follow = partial(self.finish, names=names)

        async def settle_and_follow(outcome: Outcome[Any]) -> None:
            uncertain = cast(SubmissionUncertain, outcome.error)
            try:
                outcome.task_ids = await self.settle(uncertain)
            finally:
                outcome.task_ids = outcome.task_ids or await self._ids_so_far(uncertain.key)
            outcome.error = WaitTimeout(outcome.task_ids)  # kept if the wait is interrupted
            await follow(outcome)

        async def work(outcome: Outcome[Any], slot: Slot) -> FollowUp:
            if not outcome.task_ids:  # a submitted item must not be interrupted here
                await self.results.wait_for_room()
            try:
                if (rest := submit(outcome, slot)) is not None:
                    await rest
            except SubmissionUncertain as error:
                outcome.error = error
                return settle_and_follow
            outcome.error = WaitTimeout(outcome.task_ids)  # kept if the wait is interrupted
            return follow

        return work

    async def finish(self, outcome: Outcome[Any], names: OutputNames | None) -> None:
        """Wait for an outcome's tasks and download their results. The outcome must have task ids.

        If cancelled, the outcome keeps everything recorded so far.

        Raises:
            TaskFailed: a task ended without a result; raised after the other tasks' downloads.
            WaitTimeout: a task did not end in time.
            DownloadError: a result could not be downloaded.
        """
        outcome.tasks = await self._waiter.wait(outcome.task_ids, any_age=names is not None)
        if names is not None:
            outcome.error = DownloadError(CUT_SHORT)  # kept if the download is interrupted
            await self.results.download_all(outcome, names)
        outcome.error = None
        raise_for_failed(outcome.tasks)

    async def settle(self, error: SubmissionUncertain) -> tuple[str, ...]:
        """Return the ids of an uncertain create, once callbacks have reported all of them.

        It waits no longer than the create's tasks may take, counted from the time of its intent.

        Raises:
            SubmissionUncertain: the ids did not arrive in time, or there is no receiver.
        """
        if self._reconciler is None:
            raise error
        entry = await self._journal.find(error.key)
        age = max(0.0, time.time() - entry.at) if entry else 0.0  # a clock may have been wrong
        count, kind = error.request.count, error.request.kind
        limit = self._waiter.default_timeout([kind])
        try:
            async with asyncio.timeout(limit and max(0.0, limit - age)):
                task_ids = await self._reconciler.wait(error.key, count, kind)
        except TimeoutError:
            if ids := await self._ids_so_far(error.key):
                what = "callbacks reported only these tasks of %s: %s"
                log.warning(what, error.key, ids, extra=correlation(error.key))
            raise error from None
        self._kinds.remember(task_ids, kind)
        return task_ids

    async def _ids_so_far(self, key: str) -> tuple[str, ...]:
        return await self._reconciler.ids_so_far(key) if self._reconciler is not None else ()


def raise_for_failed(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return tasks if all of them succeeded.

    Raises:
        TaskFailed: a task failed. The error contains the first failed task and all tasks.
    """
    for task in tasks:
        if not task.succeeded:
            raise TaskFailed(task, tasks)
    return tasks
