"""Commands about tasks and files that are there: each asks Keevx, tells, and ends."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keevx_async.client.keevx import Keevx
from keevx_async.errors import APIError, AuthenticationError, DownloadError, TaskFailed
from keevx_async.models.registry import REQUESTS
from keevx_async.models.tasks import Task
from keevx_async.settings import NOT_GIVEN, RetryPolicy
from keevx_async.transfer.addresses import is_url
from keevx_async.transfer.paths import target_path

from ..output.printer import FLAG, Download, Json, Place, Printer, each, seconds
from ..output.report import OK

DEFAULT_WAIT = RetryPolicy(attempts=4)
"""A person waits: a host that cannot be reached is told of after seconds, not minutes."""


def resolve_kind(_: object, name: str | None) -> None:
    """Refuse what is no kind of job."""
    if name is not None and name not in REQUESTS:
        raise ValueError(f"there is {', '.join(REQUESTS)}")


Kind = Annotated[
    str | None,
    Parameter(
        help=f"Of the tasks: {', '.join(REQUESTS)}; by default as the ids begin.",
        validator=resolve_kind,
    ),
]
TaskIds = Annotated[list[str], Parameter(name="ID", help="Task ids, as submit printed them.")]
Timeout = Annotated[
    float | None,
    Parameter(
        help="Seconds to wait at most; by default as long as their kind may need.",
        validator=seconds,
    ),
]


async def status(ids: TaskIds, /, *, kind: Kind = None, json: Json = False) -> int:
    """Ask about tasks, once."""
    teller = Printer(json)
    async with Keevx(retry=DEFAULT_WAIT) as keevx:
        return await each(ids, partial(keevx.status, kind=kind), teller.task)


async def wait(
    ids: TaskIds,
    /,
    *,
    kind: Kind = None,
    timeout: Timeout = None,
    download: Download = None,
    json: Json = False,
) -> int:
    """Wait until tasks have ended, and tell of each when it has."""
    async with Keevx(retry=DEFAULT_WAIT) as keevx:
        try:  # a wrong key or host is told of at once, which a wait sits out
            await keevx.status(ids[0], kind=kind)
        except AuthenticationError:
            raise
        except APIError:
            pass  # it may pass, as where the task is new: the wait knows
        return await wait_and_fetch(keevx, ids, Printer(json), download, timeout, kind)


async def wait_and_fetch(
    keevx: Keevx,
    task_ids: list[str],
    teller: Printer,
    download: Path | None,
    timeout: float | None = None,
    kind: str | None = None,
) -> int:
    """Wait for tasks, bring their results home, tell each when it is; return the exit code."""
    limit = NOT_GIVEN if timeout is None else timeout

    async def follow(task_id: str) -> tuple[Task, Path | None]:
        try:
            task = await keevx.wait(task_id, timeout=limit, kind=kind)
        except TaskFailed as failed:
            if failed.task.lacks_result:
                raise
            return failed.task, None
        if download is None:
            return task, None
        return task, await keevx.download(task, in_folder(download), overwrite=True)

    return await each(task_ids, follow, lambda ended: teller.task(*ended), in_order=False)


async def download(
    what: Annotated[list[str], Parameter(name="ID|URL", help="Task ids, or URLs of results.")],
    /,
    *,
    out: Annotated[Place, Parameter(help="Folder for the results; made if need be.")] = Path(
        "videos"
    ),
    kind: Kind = None,
    overwrite: Annotated[bool, FLAG, Parameter(help="Replace files that are there.")] = False,
    json: Json = False,
) -> int:
    """Download the results of tasks that have succeeded."""
    teller = Printer(json)

    async def bring(one: str) -> tuple[str, Path]:
        result = one if is_url(one) else _ended(await keevx.status(one, kind=kind))
        target = target_path(result, in_folder(out))
        if not overwrite and await asyncio.to_thread(os.path.exists, target):
            raise DownloadError(f"{target} is there already; --overwrite replaces it")
        return one, await keevx.download(result, in_folder(out), overwrite=overwrite)

    def tell(brought: tuple[str, Path]) -> int:
        one, path = brought
        teller.print({"url" if is_url(one) else "task_id": one, "path": path}, str(path))
        return OK

    async with Keevx(retry=DEFAULT_WAIT) as keevx:
        return await each(what, bring, tell)


async def upload(
    files: Annotated[
        list[str], Parameter(name="FILE", help="Images: JPEG, PNG or WebP, 20 MB at most.")
    ],
    /,
    *,
    json: Json = False,
) -> int:
    """Upload images, and print their URLs in the order given."""
    teller = Printer(json)

    async def bring(file: str) -> tuple[str, str]:
        return file, await keevx.upload(file)

    def tell(brought: tuple[str, str]) -> int:
        file, url = brought
        teller.print({"file": file, "url": url}, url)
        return OK

    async with Keevx(retry=DEFAULT_WAIT) as keevx:
        return await each(files, bring, tell)


def in_folder(folder: Path) -> str:
    """Return folder so that it is read as one, whatever its name: ``run.2026`` too."""
    return f"{folder}/"


def _ended(task: Task) -> Task:
    if task.succeeded:
        return task
    if task.done:
        raise TaskFailed(task)
    raise DownloadError(
        f"task {task.task_id} has no result yet, it is {task.status}; "
        f"keevx wait {task.task_id} --download FOLDER waits for it"
    )
