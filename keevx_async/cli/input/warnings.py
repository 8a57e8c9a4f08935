"""Warns about values in a prompt file that are allowed but probably mistakes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from attrs import evolve
from rich.status import Status

from keevx_async.models.advice import FIXED_BY_FIT
from keevx_async.models.pictures import Picture, look_at

from ..output.console import ERRORS, print_error, printable
from .inputs import Input
from .prompts import Job, Problem

THREADS = min(4, os.cpu_count() or 1)
"""The maximum number of images to decode at a time. Each may need a few hundred MB of memory."""
MAX_AHEAD = 64
"""The maximum number of lines that wait for their images, to limit the memory for long files."""


class Warnings:
    """Collects and groups the warnings about a file while ``find_problems`` reads the file.

    Warnings with the same field and rule form a group. A group is shown as the message for its
    first line and the numbers of its other lines. Problems that ``--fit`` fixes are left out.

    Use this as a context manager around ``find_problems``; on exit, every image has been checked.
    Each distinct image is decoded once, in a thread, while reading continues. Progress is shown on
    a terminal.

    Args:
        source: the input.
        quiet: whether to hide the progress.
    """

    def __init__(self, source: Input, *, quiet: bool = False) -> None:
        self._source = source
        self._first: dict[tuple[str, str], Problem] = {}
        self._more: dict[tuple[str, str], list[int]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "keevx-images")
        self._pictures: dict[Path, Future[Picture | None]] = {}
        self._ahead: deque[Job] = deque()
        # Rich shows the status only on terminals.
        self._status = None if quiet else Status("", console=ERRORS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._ahead:
                self._judge(self._ahead.popleft())
        finally:  # on an error or Ctrl-C, do not wait for images not yet started
            self._threads.shutdown(cancel_futures=True)
            if self._status is not None:
                self._status.stop()

    def __iter__(self) -> Iterator[Problem]:
        for group, problem in self._first.items():
            yield evolve(problem, more_lines=self._more[group])

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, job: Job) -> None:
        """Collect the warnings about a valid line. Its local images are opened."""
        for path in job.request.local_files():
            if path not in self._pictures:
                self._pictures[path] = self._threads.submit(look_at, path)
        self._ahead.append(job)
        if len(self._ahead) > MAX_AHEAD or not self._pictures:
            self._judge(self._ahead.popleft())

    def _judge(self, job: Job) -> None:
        paths = job.request.local_files()
        if paths and self._status is not None:
            self._status.update(f"Checking images, line {job.line:,}")
            self._status.start()
        pictures = {path: picture for path in paths if (picture := self._pictures[path].result())}
        for warning in job.request.iter_warnings(pictures):
            if self._source.fit != "none" and warning.rule in FIXED_BY_FIT:
                continue
            group = (warning.field, warning.rule)
            if group not in self._first:
                self._first[group] = Problem(self._source.name, job.line, str(warning))
                self._more[group] = []
            elif job.line not in (self._first[group].line, *self._more[group][-1:]):
                self._more[group].append(job.line)

    def stop(self, *, strict: bool) -> bool:
        """Print the warnings to standard error; if they stop the run, say so and return True.

        Args:
            strict: whether any warning stops the run.
        """
        for warning in self:
            ERRORS.print(printable(f"warning: {warning}"), style="yellow")
        if stops := bool(self) and strict:
            print_error(
                f"nothing was sent, because of --strict; fix {self._source.name} and run again"
            )
        return stops
