"""``keevx status --journal``: a run's progress, read from its journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from attrs import frozen
from rich.live import Live
from rich.text import Text

from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import State
from keevx_async.journal.sqlite import Journal

from .console import ERRORS, FAILED, OK, UNCERTAIN, print_error
from .printer import Printer

INTERVAL = 1.0
"""Seconds between reads of the journal."""


@frozen
class RunStatus:
    """The number of creates and tasks recorded in a journal so far.

    Attributes:
        is_live: whether a run has the journal open.
        creates: the number of creates by state.
        tasks: the number of tasks by status: ``downloaded``, ``succeeded`` (but not downloaded),
            ``failed`` or ``in progress``.
        lost: the reason the journal is incomplete; None if it is complete.
    """

    is_live: bool
    creates: Counter[State]
    tasks: Counter[str]
    lost: str | None = None

    @property
    def line(self) -> str:
        """The status as one line."""
        sending = self.creates[State.SENDING]
        parts = [f"{self.creates[State.SUBMITTED]:,} submitted", f"{sending:,} being sent"]
        parts += [f"{self.tasks[name]:,} {name}" for name in ("in progress", "succeeded")]
        parts += [f"{self.tasks['downloaded']:,} downloaded", f"{self.tasks['failed']:,} failed"]
        parts += [
            f"{self.creates[state]:,} {state}"
            for state in (State.UNCERTAIN, State.REFUSED, State.PLANNED)
            if self.creates[state]
        ]
        return ", ".join(parts) + ("" if self.is_live else "; no run is using it")

    @property
    def code(self) -> int:
        """The exit code.

        ``UNCERTAIN`` if any create is uncertain; otherwise ``FAILED`` if any task failed or any
        create was refused; otherwise ``OK``.
        """
        if self.creates[State.UNCERTAIN]:
            return UNCERTAIN
        return FAILED if self.tasks["failed"] or self.creates[State.REFUSED] else OK


async def read_status(path: Path) -> RunStatus:
    """Read the status from a journal. The journal is not locked, so a run is not disturbed.

    Raises:
        JournalError: the journal cannot be read.
    """
    creates, tasks = Counter[State](), Counter[str]()
    async with Journal(path) as journal:
        async for entry in journal.entries():
            creates[entry.state] += 1
            for task_id in entry.task_ids:
                record = await journal.find_task(task_id)
                if record is None or not record.task.done:
                    tasks["in progress"] += 1
                elif not record.task.succeeded:
                    tasks["failed"] += 1
                else:
                    tasks["downloaded" if record.path is not None else "succeeded"] += 1
        return RunStatus(journal.is_live, creates, tasks, journal.lost)


async def show_run(path: Path, printer: Printer, *, watch: bool) -> int:
    """Print a run's progress; return the exit code for the recorded status.

    Args:
        path: the run's journal.
        printer: prints a line or a JSON object for each read; while watching, a terminal shows a
            live line instead.
        watch: whether to keep reading the journal until no run has it open. Unchanged lines are
            not repeated.

    Raises:
        ConfigurationError: there is no journal.
    """
    if not path.is_file():  # noqa: ASYNC240 - one check of a local file
        raise ConfigurationError(f"no journal at {path}; pass the journal file of a run")
    live = None
    if watch and ERRORS.is_interactive and not printer.as_json:
        live = Live(console=ERRORS, auto_refresh=False, transient=True)
    before = ""
    with live or nullcontext():
        while True:
            status = await read_status(path)
            is_last = not (watch and status.is_live)
            if live is not None and not is_last:
                live.update(Text(f"{path}: {status.line}"), refresh=True)
            elif status.line != before or is_last:
                fields = {
                    "journal": path,
                    "live": status.is_live,
                    **{state.value: status.creates[state] for state in State},
                    "tasks": dict(status.tasks),
                }
                if is_last and live is not None:
                    live.stop()
                printer.print(fields, f"{path}: {status.line}")
            before = status.line
            if is_last:
                break
            await asyncio.sleep(INTERVAL)
    if status.lost is not None:
        print_error(status.lost)
    if status.creates[State.UNCERTAIN]:
        print_error("list and settle the uncertain creates:", f"keevx journal {path}")
    return status.code
