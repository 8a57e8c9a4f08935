"""What a person sees while a run goes on, and at its end."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keevx_async.errors import SubmissionUncertain
from keevx_async.tasks import Outcome

ERRORS = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
OK, FAILED, USAGE, UNCERTAIN, INTERRUPTED = 0, 1, 2, 3, 130


class Report:
    """Counts outcomes and tells them.

    Args:
        console: where to.
        total: items expected.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.done = self.failed = self.uncertain = 0
        self._console = console
        self._total = total
        self._began = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def live(self) -> Generator[Report]:
        """Show progress while the block runs."""
        with self._progress:
            self._bar = self._progress.add_task("videos", total=self._total)
            yield self

    def add(self, outcome: Outcome) -> None:
        """Tell one outcome."""
        name = ", ".join(outcome.task_ids) or f"item {outcome.index + 1}"
        for path in outcome.paths:
            self._console.print(f"{name}  {path}", highlight=False, markup=False, soft_wrap=True)
        if outcome.error is None:
            self.done += 1
        else:
            self.uncertain += isinstance(outcome.error, SubmissionUncertain)
            self.failed += not isinstance(outcome.error, SubmissionUncertain)
            self._console.print(f"{name}  {outcome.error}", style="red", markup=False)
        self._progress.advance(self._bar)

    def close(self, out: Path) -> int:
        """Tell the sum, and return the exit code."""
        spent = time.monotonic() - self._began
        self._console.print(
            f"{self.done} of {self._total} done, {self.failed} failed, {self.uncertain} uncertain; "
            f"videos are in {out} ({spent:.1f} s)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if self.uncertain:
            return UNCERTAIN
        return OK if self.done == self._total else FAILED
