"""Reports a run to people and programs, while it runs and when it ends."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.text import Text

from keevx_async.errors import BudgetExceeded, TaskFailed
from keevx_async.events import Ended, Event, Submitted
from keevx_async.models.failures import failure_class
from keevx_async.models.outcomes import Outcome, error_dict
from keevx_async.models.request import Request
from keevx_async.models.usage import Usage, UsageGroup, usage_group

from ..input.prompts import Job
from .amounts import Amounts
from .console import (
    ERRORS,
    FAILED,
    INTERRUPTED,
    OK,
    STOPPED,
    UNCERTAIN,
    abandon,
    print_error,
    printable,
)
from .counters import Counters, Status, status_of
from .progress import progress
from .results_file import Results, record
from .wording import for_terminal

MAX_LISTED = 50
"""Items, and errors of items, that a terminal shows one by one; a larger run shows progress."""
MAX_UNFINISHED_LISTED = 5
"""Unfinished tasks that a terminal shows one by one; the summary has their number."""
EVENTS = {Status.DONE: "downloaded"}


class Report:
    """Counts what happens in a run and prints it.

    Standard output gets a line for each result, or JSON events; standard error gets progress and
    errors. An output that cannot be written is reported once, and the run continues.

    Args:
        total: the number of items.
        name: the input's name, for errors such as ``prompts.csv:7: …``.
        results: the file that gets each item's line; None for no file.
        amounts: values what is made.
        planned: what all items make.
        as_json: print JSON events to standard output, and the summary to standard error.
        quiet: print only errors and the summary.

    Attributes:
        stopping: set once a signal has asked the run to stop; unfinished items are then not errors.
        failed_tasks: for each item that failed after it was paid, the number of its tasks.
        reasons: how many of these items failed for which reason, as ``failure_class`` names it.
    """

    def __init__(
        self,
        total: int,
        name: str,
        results: Results | None = None,
        *,
        amounts: Amounts | None = None,
        planned: Usage | None = None,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self.counters = Counters(total, time.monotonic())
        self.stopping = False
        self.failed_tasks: list[int] = []
        self.reasons: Counter[str] = Counter()
        self._name = name
        self._results = results
        self._amounts = amounts or Amounts()
        self._planned: Counter[UsageGroup] = Counter(planned or {})
        self._made: Counter[UsageGroup] = Counter()
        self._over_budget: BudgetExceeded | None = None
        self._json = as_json
        self._quiet = quiet
        # What a terminal shows line by line:
        # 1. Results, unless the run is large and its progress is on the same terminal.
        # 2. Unfinished tasks and errors only up to a number, where results.jsonl has them all.
        # A file or a pipe gets every line.
        large, on_screen = ERRORS.is_interactive and total > MAX_LISTED, sys.stdout.isatty()
        self._lists_results = not (as_json or quiet or (large and on_screen))
        self._unfinished_left = (
            MAX_UNFINISHED_LISTED if on_screen and results is not None else sys.maxsize
        )
        self._errors_left = MAX_LISTED if large and results is not None else total

    def live(self) -> AbstractContextManager[None]:
        """Show progress while the block runs; nothing where the report is quiet."""
        return nullcontext() if self._quiet else progress(ERRORS, self.counters, time.monotonic)

    def on_event(self, event: Event) -> None:
        """Count an event of the client, and print it for a program.

        Of events only ``submitted`` and ``ended`` are printed.
        """
        self.counters.on_event(event, time.monotonic())
        if isinstance(event, Submitted):
            self._emit("submitted", key=event.key, task_ids=event.task_ids)
        elif isinstance(event, Ended):
            task = event.task
            error = {"error": task.error_message} if task.error_message else {}
            if not task.succeeded:
                error["reason"] = failure_class(task.error_message)
            self._emit("ended", task_id=task.task_id, status=task.status, **error)

    def add(self, outcome: Outcome[Request], job: Job) -> None:
        """Count an item that has ended, write its line of results.jsonl, and print it.

        Called once for each item. One that was not started is like those that were never read from
        the input: the summary has their number.
        """
        if outcome.not_started:
            if isinstance(outcome.error, BudgetExceeded):
                self._over_budget = outcome.error
            return
        status = status_of(outcome.error)
        self.counters.add(status, time.monotonic())
        if isinstance(outcome.error, TaskFailed):
            self.failed_tasks.append(len(outcome.task_ids))
            self.reasons[failure_class(outcome.error.task.error_message)] += 1
        item = record(outcome, job) | self._spend(outcome)
        self._emit(EVENTS.get(status, status.value), line=job.line, **item)
        if self._results is not None:
            try:
                self._results.add(item)
            except OSError as error:
                self._stop_recording(self._results, error)
        if self._lists_results:
            self._list_results(outcome, status)
        for mismatch in outcome.mismatches:
            ERRORS.print(Text(printable(f"{self._name}:{job.line}: {mismatch}"), "yellow"))
        # An item that was cut short because the user stopped the run is not an error.
        if outcome.error is not None and not (self.stopping and status is Status.UNFINISHED):
            self._errors_left -= 1
            if self._errors_left >= 0:
                text = printable(f"{self._name}:{job.line}: {for_terminal(str(outcome.error))}")
                ERRORS.print(Text(text, "yellow" if status is Status.UNCERTAIN else "red"))
            elif self._errors_left == -1 and self._results is not None:
                print_error(f"further errors are only written to {self._results.path}")

    def _spend(self, outcome: Outcome[Request]) -> dict[str, float]:
        """Count what an item has made, or may have; return its cost, where prices are given."""
        made = 0
        if isinstance(outcome.request, Request) and (outcome.task_ids or outcome.uncertain):
            made = max(outcome.request.count, len(outcome.task_ids))
            self._made[usage_group(outcome.request)] += made
        if self._amounts.are_shown:
            self.counters.spent = f"made {self._amounts.to_text(self._made)}"
            if left := self._planned - self._made:
                self.counters.spent += f"; to come {self._amounts.to_text(left)}"
        cost = self._amounts.cost({usage_group(outcome.request): made} if made else {})
        return {} if cost is None else {"cost": float(cost)}

    def _list_results(self, outcome: Outcome[Request], status: Status) -> None:
        """Print a line for each file, and for each task of an unfinished item without one."""
        succeeded = [task.task_id for task in outcome.tasks if task.succeeded]
        # One task may have several files: a video comes with its captions.
        owners = succeeded * len(outcome.paths) if len(succeeded) == 1 else succeeded
        for task_id, path in zip(owners, outcome.paths, strict=False):
            self._print_line(printable(f"{task_id}  {path}"))
        if status is not Status.UNFINISHED:
            return
        downloaded = succeeded[: len(outcome.paths)]
        for task_id in outcome.task_ids:
            if task_id not in downloaded:
                self._unfinished_left -= 1
                if self._unfinished_left >= 0:
                    self._print_line(f"{printable(task_id)}  {Status.UNFINISHED}")

    def _stop_recording(self, results: Results, error: OSError) -> None:
        """Continue without results.jsonl: the videos matter more, and the journal has the ids."""
        print_error(f"stopped writing {results.path}: {error.strerror or error}")
        self._results = None

    def _emit(self, event: str, **fields: object) -> None:
        if self._json:
            self._print_line(json.dumps({"event": event, **fields}))

    def _print_line(self, text: str, *, wrap: bool = False) -> None:
        """Print a line to standard output. If it is closed or full, paid work continues.

        Args:
            text: the line.
            wrap: wrap it between words on a terminal; ids and paths are left whole, to be copied.
        """
        # On the terminal of the live display, rich must print the line above it.
        if ERRORS.is_interactive and sys.stdout.isatty():
            ERRORS.print(text, soft_wrap=not wrap)
            return
        try:
            print(text, flush=True)
        except OSError as error:
            abandon(sys.stdout)
            # A reader of lines that closes the pipe has seen enough, as head has. A program that
            # reads events has missed some.
            if self._json or not isinstance(error, BrokenPipeError):
                print_error(f"stopped writing standard output: {error.strerror or error}")

    def close(self, out: Path, stopped_by: Exception | None = None) -> int:
        """Close results.jsonl, print the summary, and return the exit code.

        The code is the first that applies: interrupted, if a signal stopped the run; uncertain, if
        any item is; stopped, if the run stopped by itself; failed, if any item is not done; else 0.

        Args:
            out: the folder of the results, as the summary names it.
            stopped_by: why the run stopped by itself before all items had begun.
        """
        stopped_by = stopped_by or self._over_budget
        # The file is closed first: whether it could be written decides what the summary names.
        if self._results is not None:
            try:
                self._results.close()
            except OSError as error:
                self._stop_recording(self._results, error)
        ended, total = self.counters.ended, self.counters.total
        if self.stopping:
            code = INTERRUPTED
        elif ended[Status.UNCERTAIN]:
            code = UNCERTAIN
        elif stopped_by is not None:
            code = STOPPED
        else:
            code = OK if ended[Status.DONE] == total else FAILED
        seconds = time.monotonic() - self.counters.started_at
        counts: dict[str, Any] = {"total": total}
        counts |= {status.value: ended[status] for status in Status}
        not_started = counts["not_started"] = total - ended.total()
        counts["submitted"] = self.counters.submitted
        counts["made"] = self._amounts.to_json(self._made)
        counts["to_come"] = self._amounts.to_json(self._planned - self._made)
        if stopped_by is not None:
            print_error(f"stopped with {not_started:,} of {total:,} not started: {stopped_by}")
            self._emit("stopped", **error_dict(stopped_by), not_started=not_started)
        self._emit("summary", **counts, seconds=round(seconds, 3), out=str(out), exit=code)

        parts = [f"{ended[Status.DONE]} of {total} done"]
        parts += [f"{ended[status]} {status}" for status in (Status.FAILED, Status.UNCERTAIN)]
        if ended[Status.UNFINISHED]:
            parts.append(f"{ended[Status.UNFINISHED]} unfinished")
        if stopped_by is not None:
            parts.append(f"{not_started} not started")
        beside = self._results is not None and self._results.path.parent == out
        files = "files and results.jsonl are" if beside else "files are"
        summary = f"{', '.join(parts)}; {files} in {out} ({seconds:.1f} s)"
        if self.counters.spent:
            summary += f"; {self.counters.spent}"
        if self._json:
            ERRORS.print(summary)
        else:
            self._print_line(summary, wrap=True)
        return code
