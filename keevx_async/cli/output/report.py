"""What a person, or a machine, is told of a run while it goes on and at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.text import Text

from keevx_async.errors import TaskFailed
from keevx_async.events import Ended, Event, Submitted
from keevx_async.models.outcomes import Outcome
from keevx_async.models.request import Request

from ..input.prompts import Job
from .console import printable
from .counters import Counters, Status, status_of
from .progress import progress
from .results_file import Results, record
from .streams import Errors, abandon

ERRORS = Errors(stderr=True, highlight=False, markup=False, emoji=False)
ERRORS.soft_wrap = not ERRORS.is_interactive  # a line stays one where no person reads it
OK, FAILED, USAGE, UNCERTAIN, INTERRUPTED = 0, 1, 2, 3, 130
FEW = 50
"""So many items, or errors of more items, are told one by one on a terminal."""
HANDFUL = 5
"""So many unfinished tasks are told one by one on a terminal; the sum tells how many there are."""
EVENTS = {Status.DONE: "downloaded"}


class Report:
    """Counts what happens and tells it.

    Args:
        total: items expected.
        name: what the items are lines of.
        results: where each item's line is kept; None: nowhere.
        as_json: whether standard output is for machines.
        quiet: whether only errors and the last line are told.
    """

    def __init__(
        self,
        total: int,
        name: str,
        results: Results | None = None,
        *,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self.tally = Counters(total, time.monotonic())
        self.stopping = False
        self.failed: list[int] = []
        """How many tasks each item has that failed after it was paid."""
        self._name = name
        self._results = results
        self._json = as_json
        self._quiet = quiet
        many_on_screen, on_screen = ERRORS.is_interactive and total > FEW, sys.stdout.isatty()
        self._lines = not (as_json or quiet or (many_on_screen and on_screen))
        self._handful = HANDFUL if on_screen and results is not None else sys.maxsize
        self._room = FEW if many_on_screen and results is not None else total

    def live(self) -> AbstractContextManager[None]:
        """Show progress while the block runs."""
        return nullcontext() if self._quiet else progress(ERRORS, self.tally, time.monotonic)

    def on_event(self, event: Event) -> None:
        """Take an event of the client."""
        self.tally.on_event(event, time.monotonic())
        if isinstance(event, Submitted):
            self._emit("submitted", key=event.key, task_ids=event.task_ids)
        elif isinstance(event, Ended):
            task = event.task
            said = {"error": task.error_message} if task.error_message else {}
            self._emit("ended", task_id=task.task_id, status=task.status, **said)

    def add(self, outcome: Outcome[Request], job: Job) -> None:
        """Take an item's end."""
        status = status_of(outcome.error)
        self.tally.add(status, time.monotonic())
        if isinstance(outcome.error, TaskFailed):
            self.failed.append(len(outcome.task_ids))
        item = record(outcome, job)
        self._emit(EVENTS.get(status, status.value), line=job.line, **item)
        self._keep(item)
        self._print(outcome, status, job.line)

    def _print(self, outcome: Outcome[Request], status: Status, line: int) -> None:
        if self._lines:
            made = [task.task_id for task in outcome.tasks if task.succeeded]
            owners = made * len(outcome.paths) if len(made) == 1 else made  # captions come too
            for one, path in zip(owners, outcome.paths, strict=False):
                self._print_note(printable(f"{one}  {path}"))
            if status is Status.UNFINISHED:
                home = made[: len(outcome.paths)]
                self._tell_unfinished(one for one in outcome.task_ids if one not in home)
        stopped = self.stopping and status is Status.UNFINISHED  # not its fault
        if outcome.error is not None and not stopped:
            self._warn(f"{self._name}:{line}: {outcome.error}", status)

    def _tell_unfinished(self, task_ids: Iterable[str]) -> None:
        for one in task_ids:
            self._handful -= 1
            if self._handful >= 0:
                self._print_note(f"{printable(one)}  {Status.UNFINISHED}")

    def _warn(self, text: str, status: Status) -> None:
        self._room -= 1
        if self._room >= 0:
            ERRORS.print(Text(printable(text), "yellow" if status is Status.UNCERTAIN else "red"))
        elif self._room == -1 and self._results is not None:
            ERRORS.print(f"keevx: further errors are told in {self._results.path} only")

    def _keep(self, item: dict[str, Any]) -> None:
        if self._results is None:
            return
        try:
            self._results.add(item)
        except OSError as error:
            self._give_up(self._results, error)

    def _give_up(self, results: Results, error: OSError) -> None:
        """Go on without: the videos matter more, and the journal knows."""
        ERRORS.print(f"keevx: {results.path} is no longer written: {error.strerror or error}")
        self._results = None

    def _emit(self, event: str, **facts: object) -> None:
        if self._json:
            self._print_note(json.dumps({"event": event, **facts}))

    def _print_note(self, text: str) -> None:
        """Write a line to standard output; that it is gone or full does not end paid work."""
        if ERRORS.is_interactive and sys.stdout.isatty():  # above what moves, and left whole
            ERRORS.print(text, soft_wrap=True)
            return
        try:
            print(text, flush=True)
        except OSError as error:
            abandon(sys.stdout)
            if self._json or not isinstance(error, BrokenPipeError):  # as head does, of lines
                why = error.strerror or error
                ERRORS.print(f"keevx: standard output is no longer written: {why}")

    def close(self, out: Path) -> int:
        """Tell the sum, and return the exit code."""
        if self._results is not None:
            try:
                self._results.close()
            except OSError as error:
                self._give_up(self._results, error)
        code = INTERRUPTED if self.stopping else self._code()
        spent = time.monotonic() - self.tally.began
        ended = {status.value: self.tally.ended[status] for status in Status}
        counts = {"total": self.tally.total, **ended, "submitted": self.tally.submitted}
        self._emit("summary", **counts, seconds=round(spent, 3), out=str(out), exit=code)
        if self._json:
            ERRORS.print(self._sum(out, spent))
        else:
            self._print_note(self._sum(out, spent))
        return code

    def _code(self) -> int:
        if self.tally.ended[Status.UNCERTAIN]:
            return UNCERTAIN
        return OK if self.tally.ended[Status.DONE] == self.tally.total else FAILED

    def _sum(self, out: Path, spent: float) -> str:
        counted = self.tally.ended
        parts = [f"{counted[Status.DONE]} of {self.tally.total} done"]
        parts += [f"{counted[status]} {status}" for status in (Status.FAILED, Status.UNCERTAIN)]
        if counted[Status.UNFINISHED]:
            parts.append(f"{counted[Status.UNFINISHED]} unfinished")
        what = "files and results.jsonl are" if self._results else "files are"
        return f"{', '.join(parts)}; {what} in {out} ({spent:.1f} s)"
