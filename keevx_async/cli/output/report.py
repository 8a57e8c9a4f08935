"""Reports a run to people and programs, while it runs and when it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.text import Text

from keevx_async.errors import BudgetExceeded, KeevxError, TaskFailed
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
from .failures import Failures, reason_of
from .items import MARKS, Item, tab_line, terminal_line
from .names import shown_path
from .progress import progress
from .records import EventLog, record
from .results_file import Results
from .views import Views
from .wording import for_terminal

MAX_LISTED = 50
"""The maximum number of items and errors to list on a terminal. Larger runs show only progress."""
MAX_UNFINISHED_LISTED = 5
"""The maximum number of unfinished items to list on a terminal; the summary counts all of them."""
VIEW_INTERVAL = 2.0
"""The minimum time between updates of the table and the page, in seconds."""
VIEW_SHARE = 0.03
"""The maximum share of time spent updating the table and the page, which grow with the run."""
EVENT_FIELDS = [
    "line",
    "key",
    "kind",
    "prompt",
    "task_ids",
    "status",
    "paths",
    "mismatches",
    "error",
]
"""The fields of an item's event (see docs/keevx-json.schema.json); results.jsonl has more."""
EVENTS = {Status.DONE: "downloaded"}


class Report:
    """Counts and prints the events and results of a run.

    Standard output gets a line for each item, or JSON events. Standard error gets progress, errors
    and the summary. The table and the page beside results.jsonl are updated during the run. If an
    output cannot be written to, the error is reported once, and the run continues.

    Args:
        total: the number of items.
        name: the input's name, for errors such as ``prompts.csv:7: …``.
        results: the results.jsonl to write; None for no file.
        amounts: computes the amounts and the cost of the results.
        planned: the results planned for all items together.
        as_json: whether to print JSON events to standard output. The summary still goes to standard
            error.
        quiet: whether to print only errors and the summary.

    Attributes:
        stopping: whether a signal has stopped the run; unfinished items are then not errors.
        failed_tasks: for each item that failed after it was paid for, its number of tasks.
        reasons: the number of these items by reason; see ``failure_class``.
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
        self._views = None if results is None else Views(results.path)
        self._log = EventLog()
        self._failures = Failures()
        self._is_dirty = False
        # How each item is printed:
        # 1. A terminal gets a line that fits it. If the run is large and its progress is on the
        #    same terminal, only failed items and a few unfinished items are listed.
        # 2. A file or a pipe gets a tab-separated line for every item.
        # 3. Standard error gets each error with its input line, unless the same terminal has just
        #    shown it. Beyond a limit, errors are only in results.jsonl.
        self._groups_errors = not (as_json or quiet)
        self._on_screen = sys.stdout.isatty() and not (as_json or quiet)
        large = ERRORS.is_interactive and total > MAX_LISTED
        self._lists_done = not (as_json or quiet or (large and self._on_screen))
        self._prints_errors = not (self._on_screen and sys.stderr.isatty())
        self._unfinished_left = (
            MAX_UNFINISHED_LISTED if self._on_screen and results is not None else sys.maxsize
        )
        self._errors_left = MAX_LISTED if large and results is not None else total
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        self._ascii_only = not encoding.startswith("utf")

    @contextmanager
    def live(self) -> Generator[None]:
        """While the block runs, update the views and, unless the report is quiet, show progress."""
        renewing = asyncio.ensure_future(self._renew_views())
        try:
            if self._quiet:
                yield
            else:
                with progress(ERRORS, self.counters, time.monotonic):
                    yield
        finally:
            renewing.cancel()

    async def _renew_views(self) -> None:
        """Rewrite the table and the page periodically, less often as they grow."""
        pause = VIEW_INTERVAL
        while self._views is not None:
            await asyncio.sleep(pause)
            if self._is_dirty:
                self._is_dirty = False
                began = time.monotonic()
                # If this is cancelled, the thread keeps running, and close() waits for it.
                try:
                    await asyncio.to_thread(self._views.write, self.counters.total)
                except OSError as error:
                    self._stop_views(error)
                pause = max(VIEW_INTERVAL, (time.monotonic() - began) / VIEW_SHARE)

    def on_event(self, event: Event) -> None:
        """Count a client event; with JSON output, print ``submitted`` and ``ended`` events."""
        now = time.monotonic()
        self.counters.on_event(event, now)
        self._log.on_event(event, time.time(), now)
        if isinstance(event, Submitted):
            self._emit("submitted", key=event.key, task_ids=event.task_ids)
        elif isinstance(event, Ended):
            task = event.task
            error = {"error": task.error_message} if task.error_message else {}
            if not task.succeeded:
                error["reason"] = failure_class(task.error_message)
            self._emit("ended", task_id=task.task_id, status=task.status, **error)

    def add(self, outcome: Outcome[Request], job: Job) -> None:
        """Count an item that has ended, write it to results.jsonl, and print it.

        Call it once for each item. Items that were not started only appear in the summary, like
        items that were never read from the input.
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
        facts = self._log.take(outcome)
        row = record(outcome, job, facts, self._spend(outcome))
        fields = {name: row[name] for name in EVENT_FIELDS}
        if row["cost"] is not None:
            fields["cost"] = row["cost"]
        self._emit(EVENTS.get(status, status.value), **fields)
        if self._results is not None:
            self._is_dirty = True
            try:
                self._results.add(row)
            except OSError as error:
                self._stop_recording(self._results, error)
        seconds = None if facts.began is None else time.monotonic() - facts.began
        reason = "" if outcome.error is None else reason_of(outcome.error)
        self._list_item(
            Item(
                status,
                outcome.index,
                job.line,
                row["prompt"] or "",
                outcome.task_ids,
                row["paths"],
                seconds,
                reason,
            )
        )
        for mismatch in outcome.mismatches:
            ERRORS.print(Text(printable(f"{self._name}:{job.line}: {mismatch}"), "yellow"))
        # If the user stopped the run, an unfinished item is not an error.
        if outcome.error is not None and not (self.stopping and status is Status.UNFINISHED):
            self._failures.add(status, job.line, outcome.error)
            self._print_failure(status, job.line, outcome.error)

    def _list_item(self, item: Item) -> None:
        """Print an item's line, if items with its status are listed."""
        if item.status is Status.UNFINISHED:
            self._unfinished_left -= 1
            if self._unfinished_left < 0:
                return
        if self._lists_done and not self._on_screen:
            self._print_line(tab_line(item))
            return
        is_listed = self._lists_done if item.status is Status.DONE else self._errors_left > 0
        if self._on_screen and is_listed:
            width = shutil.get_terminal_size().columns
            digits = len(str(max(0, self.counters.total - 1)))
            self._print_line(terminal_line(item, width, digits, ascii_only=self._ascii_only))

    def _print_failure(self, status: Status, line: int, error: Exception) -> None:
        """Print an error with its input line. Advice is printed once, at the end."""
        self._errors_left -= 1
        if self._errors_left >= 0:
            if self._prints_errors:
                message = str(error)
                if self._groups_errors and isinstance(error, KeevxError):
                    message = error.message
                text = printable(f"{self._name}:{line}: {for_terminal(message)}")
                ERRORS.print(Text(text, MARKS[status][2]))
        elif self._errors_left == -1 and self._results is not None:
            print_error(f"further errors will be written only to {shown_path(self._results.path)}")

    def _spend(self, outcome: Outcome[Request]) -> float | None:
        """Count the results that an item made or may have made; return the cost, if known."""
        made = 0
        if isinstance(outcome.request, Request) and (outcome.task_ids or outcome.uncertain):
            made = max(outcome.request.count, len(outcome.task_ids))
            self._made[usage_group(outcome.request)] += made
        if self._amounts.are_shown:
            self.counters.spent = f"made {self._amounts.to_text(self._made)}"
            if left := self._planned - self._made:
                self.counters.spent += f"; to come {self._amounts.to_text(left)}"
        cost = self._amounts.cost({usage_group(outcome.request): made} if made else {})
        return None if cost is None else float(cost)

    def _stop_recording(self, results: Results, error: OSError) -> None:
        """Continue without results.jsonl: the videos matter more, and the journal has the ids."""
        print_error(f"stopped writing {results.path}: {error.strerror or error}")
        self._results = None

    def _stop_views(self, error: OSError) -> None:
        """Continue without the table and the page: keevx gallery can rebuild them."""
        if self._views is not None:
            print_error(f"stopped writing {self._views.page}: {error.strerror or error}")
        self._views = None

    def _emit(self, event: str, **fields: object) -> None:
        if self._json:
            self._print_line(json.dumps({"event": event, **fields}))

    def _print_line(self, line: str | Text) -> None:
        """Print a line. If standard output is closed or full, paid work continues."""
        # If the live display is on the same terminal, rich must print the line above it.
        if ERRORS.is_interactive and sys.stdout.isatty():
            ERRORS.print(line, soft_wrap=True)
            return
        try:
            print(line, flush=True)
        except OSError as error:
            abandon(sys.stdout)
            # A reader of lines that closes the pipe, like head, has seen enough. A reader of JSON
            # events misses some.
            if self._json or not isinstance(error, BrokenPipeError):
                print_error(f"stopped writing to standard output: {error.strerror or error}")

    def close(self, out: Path, stopped_by: Exception | None = None) -> int:
        """Close results.jsonl, update the views, and print the summary; return the exit code.

        Errors are printed again before the summary, grouped by reason.

        The exit code is the first that applies: ``INTERRUPTED`` if a signal stopped the run,
        ``UNCERTAIN`` if any item is uncertain, ``STOPPED`` if ``stopped_by`` is set, ``FAILED`` if
        any item is not done, otherwise ``OK``.

        Args:
            out: the results folder, as shown in the summary.
            stopped_by: the error that stopped the run before every item was started, if any.
        """
        stopped_by = stopped_by or self._over_budget
        # The file is closed first, because a write error changes the summary.
        if self._results is not None:
            try:
                self._results.close()
            except OSError as error:
                self._stop_recording(self._results, error)
        if self._views is not None:
            try:
                self._views.write()
            except OSError as error:
                self._stop_views(error)
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
        summary = f"{', '.join(parts)}; {files} in {shown_path(out)} ({seconds:.1f} s)"
        if self.counters.spent:
            summary += f"; {self.counters.spent}"
        if self._groups_errors:
            for text, status in self._failures.lines(self._name):
                ERRORS.print(Text(printable(text), MARKS[status][2]))
        ERRORS.print(summary)
        return code

    def print_page(self) -> None:
        """Print the page's path if the page exists, unless the report is quiet."""
        if self._views is not None and self._views.page.exists() and not self._quiet:
            ERRORS.print(f"View the results: {shown_path(self._views.page)}", soft_wrap=True)
