"""Prints the results of one-shot commands to standard output, and errors to standard error."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs

from keevx_async.errors import AuthenticationError, KeevxError
from keevx_async.models.tasks import Task

from .console import FAILED, OK, exit_code, print_error, print_error_event, printable

T = TypeVar("T")
MAX_AT_ONCE = 64
"""The maximum number of items to process at a time; a file may list thousands."""


@attrs.frozen
class Printer:
    """Prints results to standard output, as lines of text or as one JSON object per line.

    Every result is flushed immediately, for programs that read the output as it is written.

    Args:
        as_json: whether to print JSON.
    """

    as_json: bool

    def print(self, fields: Mapping[str, Any], *lines: str) -> None:
        """Print a result: its fields as JSON, or its lines with control characters escaped.

        Raises:
            OSError: standard output cannot be written to.
        """
        output = [json.dumps(fields, default=str)] if self.as_json else map(printable, lines)
        print(*output, sep="\n", flush=True)

    def print_task(self, task: Task, path: Path | None = None) -> int:
        """Print a task; return ``FAILED`` if it ended without a result, otherwise ``OK``.

        Args:
            task: the task's last known state.
            path: the file to which its result was downloaded, if any.

        Raises:
            OSError: standard output cannot be written to.
        """
        fields = attrs.asdict(task) if path is None else {**attrs.asdict(task), "path": path}
        self.print(fields, task_line(task, path))
        return FAILED if task.done and not task.succeeded else OK


def task_line(task: Task, path: Path | None = None) -> str:
    """Return a task as a line: its id, its status, and its file, URL or error message.

    Control characters are escaped, because the message comes from the server.
    """
    result = path or next(iter(task.results.values()), task.error_message)
    return printable(f"{task.task_id}  {task.status}  {result}".rstrip())


def save_task_ids(task_ids: Sequence[str]) -> None:
    """Save the ids of paid tasks that could not be printed, for example because a disk is full.

    The ids are printed to standard error. If that fails, they are appended to
    ``keevx-task-ids.txt`` in the working folder, or in the folder for temporary files. Raises
    nothing.
    """
    ids = ", ".join(task_ids)
    if print_error(f"keep these ids of paid tasks, which could not be printed: {ids}"):
        return
    for folder in (Path(), Path(tempfile.gettempdir())):
        with suppress(OSError), (folder / "keevx-task-ids.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{task_id}\n" for task_id in task_ids)
            return


async def run_each(
    items: Iterable[str],
    work: Callable[[str], Awaitable[T]],
    show: Callable[[T], int],
    *,
    in_order: bool = True,
    at_once: int = MAX_AT_ONCE,
    as_json: bool = False,
) -> int:
    """Process items concurrently, and return the highest exit code.

    An item that fails is printed as an error and does not affect the others. If this is
    cancelled, all work is cancelled and awaited.

    Args:
        items: ids, files or URLs; an item that is listed twice is processed once.
        work: the coroutine function that processes an item.
        show: prints an item's result, and returns its exit code.
        in_order: whether to show results in the order of the items rather than as they arrive.
        at_once: the maximum number of items to process at a time.
        as_json: whether to print errors as JSON events too.

    Raises:
        AuthenticationError: the key was refused, which applies to every item.
    """
    slots = asyncio.Semaphore(at_once)

    async def work_in_slot(item: str) -> T:
        async with slots:
            return await work(item)

    tasks = [asyncio.ensure_future(work_in_slot(item)) for item in dict.fromkeys(items)]
    code = OK
    try:
        for task in tasks if in_order else asyncio.as_completed(tasks):
            try:
                code = max(code, show(await task))
            except AuthenticationError:
                raise
            except KeevxError as error:
                print_error(error)
                if as_json:
                    print_error_event(error)
                code = max(code, exit_code(error))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return code
