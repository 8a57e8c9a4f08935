"""Waits for tasks and records in the journal that they ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from attrs import define, field

from ..events import Span
from ..journal.protocol import JournalProtocol
from ..models.kinds import Kind
from ..models.registry import REQUESTS
from ..models.tasks import Task
from ..polling.poller import Ends, Poller
from ..settings import NOT_GIVEN, NotGiven
from .duration_store import DurationStore
from .kind_lookup import KindResolver
from .result_files import has_expired
from .stopped import brief_if_stopped, describe_waits, make_brief

WAIT_FACTOR = 1.5
"""The default timeout is the vendor's documented maximum for the kind, times this factor."""
NO_SPAN = nullcontext()


@define(eq=False)
class TaskWaiter:
    """Waits for tasks, on one event loop.

    Args:
        poller: polls tasks until they end.
        journal: has the tasks that ended in earlier runs, and records tasks that end now.
        kinds: resolves a task's kind.
        durations: the learned task durations; loaded before the first wait.
        timeout: the default for waits, in seconds; None for no limit; NOT_GIVEN to derive it from
            the tasks' kinds.
        span: opens a span around each wait that polls.
    """

    _poller: Poller = field(alias="poller")
    _journal: JournalProtocol = field(alias="journal")
    _kinds: KindResolver = field(alias="kinds")
    _durations: DurationStore = field(alias="durations")
    _timeout: float | NotGiven | None = field(alias="timeout")
    _span: Span | None = field(default=None, alias="span")

    async def wait(
        self,
        task_ids: Iterable[str],
        timeout: float | NotGiven | None = NOT_GIVEN,
        *,
        any_age: bool = False,
    ) -> tuple[Task, ...]:
        """Wait for tasks and return them in the order of their ids.

        Args:
            task_ids: the task ids of one submission.
            timeout: see ``wait_many``.
            any_age: whether to accept a recorded task whose URL has expired, if its result is on
                disk.

        Raises:
            WaitTimeout: some tasks did not end in time.
        """
        order = tuple(task_ids)
        tasks: dict[str, Task] = {}
        for task_id in order:
            if (ended := await self._recorded_end(task_id, any_age=any_age)) is not None:
                tasks[task_id] = ended
        pending = [task_id for task_id in order if task_id not in tasks]
        if pending:
            ends = await self._poll(pending, timeout, list(tasks.values()))
            try:
                with self._span_of(pending), ends:
                    async for task in ends:
                        await self._record_end(task)
                        tasks[task.task_id] = task
            except asyncio.CancelledError as error:
                make_brief(error, lambda: describe_waits(list(ends.pending)))
                raise
        return tuple(tasks[task_id] for task_id in order)

    async def wait_many(
        self, task_ids: Iterable[str], timeout: float | NotGiven | None
    ) -> AsyncGenerator[Task]:
        """Yield each task as it ends.

        If the journal shows that a task has ended and its URL has not expired, the task is yielded
        at once without a query.

        Args:
            task_ids: task ids from any submissions.
            timeout: seconds for all tasks together; None for no limit; NOT_GIVEN for the default
                (see `default_timeout`).

        Raises:
            WaitTimeout: some tasks did not end in time.
        """
        ended, pending = list[Task](), list[str]()
        for task_id in task_ids:
            if (task := await self._recorded_end(task_id)) is None:
                pending.append(task_id)
            else:
                ended.append(task)
                yield task
        ends = await self._poll(pending, timeout, ended)
        with (
            self._span_of(pending),
            brief_if_stopped(lambda: describe_waits([*ends.pending])),
            ends,
        ):
            async for task in ends:
                await self._record_end(task)
                yield task

    async def _recorded_end(self, task_id: str, *, any_age: bool = False) -> Task | None:
        """Return a task whose end is in the journal; None if it must be polled.

        A task whose URL has expired must be polled, since a query renews it, unless ``any_age``
        holds and its result is on disk.
        """
        record = await self._journal.find_task(task_id)
        if record is None or not record.task.done:
            return None
        is_kept = any_age and record.path is not None
        return record.task if is_kept or not has_expired(record) else None

    async def _poll(
        self, pending: Sequence[str], timeout: float | NotGiven | None, ended: Sequence[Task]
    ) -> Ends:
        """Start polling the tasks that have not ended."""
        # The default depends on the kinds of the pending tasks, so it is chosen only now.
        if isinstance(timeout, NotGiven):
            timeout = self.default_timeout(map(self._kinds.lookup, pending))
        await self._durations.load()
        return self._poller.wait_many(pending, timeout, ended)

    async def _record_end(self, task: Task) -> None:
        if task.done:  # polling may give up on a task: the next run queries it again
            await self._journal.mark_ended(task)

    def _span_of(self, pending: Sequence[str]) -> AbstractContextManager[object]:
        return self._span("wait", pending[0], None) if self._span and pending else NO_SPAN

    def default_timeout(self, kinds: Iterable[Kind | None]) -> float | None:
        """Return the default timeout, in seconds, for a wait for tasks of these kinds.

        Args:
            kinds: each task's kind; None for an unknown kind, which gets the longest timeout.
        """
        if not isinstance(self._timeout, NotGiven):
            return self._timeout
        slowest = max(request.kind.max_seconds for request in REQUESTS.values())
        seconds = (kind.max_seconds if kind else slowest for kind in kinds)
        return WAIT_FACTOR * max(seconds, default=0)
