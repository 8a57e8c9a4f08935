"""A job's whole way: submit, wait, download. Single verbs and fan-outs share it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .creating import Creator
from .errors import DownloadError, InvalidRequest, TaskFailed, Violation, WaitTimeout
from .fanout import Follow, Guard, Work
from .media import Downloads, GoneError, target_of
from .querying import Querier
from .requests import Request
from .tasks import Outcome, Submission, Task
from .waiting import Watcher

KeyOf = Callable[[Any], str]
Destination = str | os.PathLike[str]


class Jobs:
    """Takes requests along their way, on one event loop.

    Args:
        creator: makes the create.
        watcher: waits for tasks.
        querier: asks about one anew.
        downloads: brings results home.
        timeout: seconds that a job's wait takes at most.
    """

    def __init__(
        self,
        creator: Creator,
        watcher: Watcher,
        querier: Querier,
        downloads: Downloads,
        timeout: float | None,
    ) -> None:
        self._creator = creator
        self._watcher = watcher
        self._querier = querier
        self._downloads = downloads
        self._timeout = timeout

    async def submit(self, request: Request, key: str | None, guard: Guard) -> Submission:
        """Make one create."""
        return await self._creator.create(self._creator.plan(checked(request), key), guard)

    async def wait(self, task_ids: Iterable[str]) -> tuple[Task, ...]:
        """Return every task, ended, in the order of its ids."""
        order = tuple(task_ids)
        ended = {task.task_id: task async for task in self._watcher.wait_many(order, self._timeout)}
        return tuple(ended[one] for one in order)

    async def download(
        self, what: Task | str, destination: Destination, *, overwrite: bool
    ) -> Path:
        """Download a result; an expired URL is asked for anew, once."""
        target = target_of(what, destination)
        if isinstance(what, str):
            return await self._downloads.fetch(what, target, overwrite=overwrite)
        try:
            return await self._downloads.fetch(url_of(what), target, overwrite=overwrite)
        except GoneError:
            fresh = url_of(await self._querier.status(what.task_id))
            return await self._downloads.fetch(fresh, target, overwrite=overwrite)

    def submitting(self, key: KeyOf | None) -> Work:
        """Return the work of ``submit_many``."""

        async def work(outcome: Outcome, guard: Guard) -> None:
            await self._submit(outcome, guard, key)

        return work

    def generating(self, key: KeyOf | None, download: Destination | None) -> Work:
        """Return the work of ``generate_many``: waiting and downloading need no slot."""

        async def follow(outcome: Outcome) -> None:
            outcome.tasks = await self.wait(outcome.task_ids)
            outcome.error = None
            if download is not None:
                await self._bring_home(outcome, download)
            succeeded(outcome.tasks)

        async def work(outcome: Outcome, guard: Guard) -> Follow:
            await self._submit(outcome, guard, key)
            outcome.error = WaitTimeout(outcome.task_ids)  # holds if the wait is cut short
            return follow

        return work

    async def _submit(self, outcome: Outcome, guard: Guard, key: KeyOf | None) -> None:
        request = checked(outcome.request)
        plan = self._creator.plan(request, key(request) if key else None)
        outcome.key = plan.key
        outcome.task_ids = (await self._creator.create(plan, guard)).task_ids

    async def _bring_home(self, outcome: Outcome, download: Destination) -> None:
        for task in outcome.tasks:
            if task.succeeded:
                outcome.paths += (await self.download(task, download, overwrite=True),)


def checked(value: object) -> Request:
    """Return value if it is a request.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(value, Request):
        message = f"{value!r} is no request; make an ImageToVideo"
        raise InvalidRequest([Violation("request", value, "type", message)])
    return value


def succeeded(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return tasks if none of them failed.

    Raises:
        TaskFailed: one did.
    """
    for task in tasks:
        if not task.succeeded:
            raise TaskFailed(task, tasks)
    return tasks


def url_of(task: Task) -> str:
    """Return where a task's result lies.

    Raises:
        DownloadError: it has none.
    """
    if not task.video_url:
        said = task.error_message or f"its status is {task.status}"
        raise DownloadError(f"task {task.task_id} has no video to download: {said}")
    return task.video_url
