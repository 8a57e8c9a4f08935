"""Commands for working with existing tasks and files: status, wait, download, upload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

from cyclopts import Parameter

from keevx_async.client.keevx import Keevx
from keevx_async.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    DownloadError,
    TaskFailed,
)
from keevx_async.models.registry import REQUESTS
from keevx_async.models.tasks import Task
from keevx_async.settings import NOT_GIVEN, RetryPolicy
from keevx_async.transfer.addresses import is_url
from keevx_async.transfer.output_paths import target_path

from ..input.task_ids import read_task_ids
from ..options import FLAG, Download, Json, PathOption, check_seconds
from ..output.console import OK
from ..output.printer import Printer, run_each
from ..output.run_status import show_run

P = ParamSpec("P")
INTERACTIVE_RETRY = RetryPolicy(attempts=4)
"""A person is waiting, so an unreachable host is reported after seconds rather than minutes."""


def check_kind(_: object, name: str | None) -> None:
    """Check that an option's value is a kind of job. Called by cyclopts.

    Raises:
        ValueError: the value is not a kind; the message lists the kinds.
    """
    if name is not None and name not in REQUESTS:
        raise ValueError(f"Must be one of {', '.join(REQUESTS)}.")


Kind = Annotated[
    str | None,
    Parameter(
        help=f"Kind of the tasks ({', '.join(REQUESTS)}); detected from their ids by default.",
        validator=check_kind,
    ),
]


TaskIds = Annotated[
    list[str],
    Parameter(
        name="ID|FILE",
        help="Task ids; a results.jsonl, or @FILE with ids or JSON lines; - for stdin.",
    ),
]


def reading_ids(
    command: Callable[Concatenate[list[str], P], Coroutine[Any, Any, int]],
) -> Callable[Concatenate[list[str], P], Coroutine[Any, Any, int]]:
    """Wrap a command so that it receives the ids from its arguments and from files they name.

    Files are read before the event loop starts: a blocking read inside the loop would
    delay Ctrl-C.
    """

    @wraps(command)
    def read(
        ids: list[str] | None = None, /, *args: P.args, **options: P.kwargs
    ) -> Coroutine[Any, Any, int]:
        return command(read_task_ids(ids or []), *args, **options)

    return read


@reading_ids
async def status(
    ids: TaskIds | None = None,
    /,
    *,
    journal: Annotated[
        PathOption | None,
        Parameter(help="Journal of a run, to show its progress instead; Keevx is not queried."),
    ] = None,
    watch: Annotated[
        bool, FLAG, Parameter(help="With --journal: refresh until the run ends.")
    ] = False,
    kind: Kind = None,
    json: Json = False,
) -> int:
    """Print the current status of tasks, or of a run.

    Each task is queried once; a task that cannot be queried is an error. The exit code is 1 if any
    task has failed. A run's status is read from its journal, which may be in use.

    Raises:
        ConfigurationError: ids and a journal were both passed or both left out, or ``--watch`` was
            passed without a journal.
    """
    if bool(ids) == (journal is not None) or (watch and journal is None):
        raise ConfigurationError("pass task ids, or --journal FILE; --watch needs --journal")
    printer = Printer(json)
    if journal is not None:
        return await show_run(journal, printer, watch=watch)
    async with Keevx(retry=INTERACTIVE_RETRY) as keevx:
        return await run_each(
            ids or [], partial(keevx.status, kind=kind), printer.print_task, as_json=json
        )


@reading_ids
async def wait(
    ids: TaskIds,
    /,
    *,
    kind: Kind = None,
    timeout: Annotated[
        float | None,
        Parameter(
            help="Maximum seconds to wait; by default, as long as tasks of this kind may take.",
            validator=check_seconds,
        ),
    ] = None,
    download: Download = None,
    json: Json = False,
) -> int:
    """Wait for tasks, and print each when it ends.

    Stopping the wait does not stop the tasks; wait for the same ids again to continue.
    """
    async with Keevx(retry=INTERACTIVE_RETRY) as keevx:
        # A wait survives outages, so it would also survive a wrong host. One query reports a wrong
        # host or a refused key at once. Other responses are left to the wait: a task that was just
        # created may not be found yet.
        try:
            await keevx.status(ids[0], kind=kind)
        except AuthenticationError:
            raise
        except APIError:
            pass
        return await wait_and_fetch(keevx, ids, Printer(json), download, timeout, kind)


async def wait_and_fetch(
    keevx: Keevx,
    task_ids: list[str],
    printer: Printer,
    download: Path | None,
    timeout: float | None = None,
    kind: str | None = None,
) -> int:
    """Wait for tasks, download the results, and print each task; return the exit code.

    Args:
        keevx: an open client.
        task_ids: the tasks' ids; each task is waited for once.
        printer: prints the tasks.
        download: the folder for the results; None to download nothing.
        timeout: the maximum time to wait in seconds; None for as long as the kind may take.
        kind: the kind of the tasks; None to detect it.
    """

    async def follow(task_id: str) -> tuple[Task, Path | None]:
        try:
            limit = NOT_GIVEN if timeout is None else timeout
            task = await keevx.wait(task_id, timeout=limit, kind=kind)
        except TaskFailed as failed:
            if failed.task.lacks_result:
                raise
            return failed.task, None
        if download is None:
            return task, None
        # The file's name contains the task's id, so an existing file is this task's own, from an
        # earlier wait.
        return task, await keevx.download(task, as_folder(download), overwrite=True)

    # Wait for all tasks at once: the client has one schedule, and limits its own requests.
    return await run_each(
        task_ids,
        follow,
        lambda ended: printer.print_task(*ended),
        in_order=False,
        at_once=max(1, len(task_ids)),
        as_json=printer.as_json,
    )


@reading_ids
async def download(
    what: Annotated[
        list[str],
        Parameter(
            name="ID|URL|FILE",
            help="Task ids, or URLs of results; a results.jsonl, or @FILE with ids or JSON lines; "
            "- for stdin.",
        ),
    ],
    /,
    *,
    out: Annotated[
        PathOption, Parameter(help="Folder for the results; created if missing.")
    ] = Path("videos"),
    kind: Kind = None,
    overwrite: Annotated[bool, FLAG, Parameter(help="Replace existing files.")] = False,
    json: Json = False,
) -> int:
    """Download the results of tasks that have succeeded.

    It is an error if a task has failed or has not ended, or if a file already exists and
    ``--overwrite`` is not passed. The other results are still downloaded.
    """
    printer = Printer(json)

    async def fetch(source: str) -> tuple[str, Path]:
        result: str | Task = source
        if not is_url(source):
            result = task = await keevx.status(source, kind=kind)
            if task.done and not task.succeeded:
                raise TaskFailed(task)
            if not task.done:
                raise DownloadError(
                    f"task {task.task_id} has no result yet ({task.status}); "
                    f"wait for it with: keevx wait {task.task_id} --download FOLDER"
                )
        target = target_path(result, as_folder(out))
        # The client also refuses this, but its message names the Python argument, not the option.
        if not overwrite and await asyncio.to_thread(os.path.exists, target):
            raise DownloadError(f"{target} already exists; pass --overwrite to replace it")
        return source, await keevx.download(result, as_folder(out), overwrite=overwrite)

    def show(downloaded: tuple[str, Path]) -> int:
        source, path = downloaded
        field = "url" if is_url(source) else "task_id"
        printer.print({field: source, "path": path}, str(path))
        return OK

    async with Keevx(retry=INTERACTIVE_RETRY) as keevx:
        return await run_each(what, fetch, show, as_json=json)


async def upload(
    files: Annotated[
        list[str], Parameter(name="FILE", help="Images: JPEG, PNG or WebP, 20 MB at most.")
    ],
    /,
    *,
    json: Json = False,
) -> int:
    """Upload images, and print their URLs in the same order.

    Uploads are free. A file that cannot be uploaded is an error; the others are still uploaded.
    """
    printer = Printer(json)

    async def send(file: str) -> tuple[str, str]:
        return file, await keevx.upload(file)

    def show(uploaded: tuple[str, str]) -> int:
        file, url = uploaded
        printer.print({"file": file, "url": url}, url)
        return OK

    async with Keevx(retry=INTERACTIVE_RETRY) as keevx:
        return await run_each(files, send, show, as_json=json)


def as_folder(path: Path) -> str:
    """Return a path as a string that always means a folder, even for a name like ``run.2026``.

    Without the trailing slash, a name with a suffix would mean a file.
    """
    return f"{path}/"
