"""Suggests the commands to run after a run that left something undone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from keevx_async.models.failures import UNKNOWN

from ..input.sources import is_read_once
from ..option_names import FRESH, ON_UNCERTAIN, RETRY_FAILED
from .console import masked
from .counters import Counters, Status
from .results_file import NAME


def next_steps(
    counters: Counters,
    failed_tasks: Sequence[int],
    reasons: Mapping[str, int],
    journal: str | None,
    folder: Path,
) -> Iterator[tuple[str, str | None]]:
    """Yield each thing that can be done: a sentence, and the command for it, if one does it.

    Nothing is yielded for a run whose items are all done. A command never pays for anything twice
    unless its sentence says so.

    Args:
        counters: the counters of the run that has ended.
        failed_tasks: for each item that failed after it was paid and can be submitted again, the
            number of its tasks.
        reasons: how many of these failed for which reason.
        journal: the arguments that name the run's journal on a command line; None without one.
        folder: where results.jsonl is.
    """
    not_done = counters.total - counters.ended[Status.DONE]
    uncertain = counters.ended[Status.UNCERTAIN]
    # 1. Uncertain creates: only a person can find out what became of them.
    if uncertain:
        text = f"{uncertain:,} uncertain: the response was lost, so each may have been charged."
        if journal is None:
            yield f"{text} Check your Keevx account before you submit them again.", None
        else:
            yield f"{text} List and settle them:", f"keevx journal {journal}"
    # 2. Without a journal nothing can be resumed. The ids are the only way to what was paid.
    if journal is None:
        if not_done > uncertain:
            text = "With --no-journal, running this again pays for every item again."
            if counters.submitted:
                text += f" {folder / NAME} has the ids so far, for keevx wait and download."
            yield text, None
        return
    # 3. Items that were not begun, or were cut short: the same command resumes them.
    if not_done > uncertain + len(failed_tasks):
        yield "Resume without paying twice:", resume_command()
    # 4. Items that Keevx failed to make: they are paid again.
    if failed_tasks:
        count = sum(failed_tasks)
        tasks = f"{count:,} task{'s' * (count > 1)}"
        text = f"Retry {len(failed_tasks):,} failed, which pays for {tasks} again"
        if reasons.keys() - {UNKNOWN}:  # which of them are worth it is a choice
            choices = (f"={reason} for {number:,}" for reason, number in sorted(reasons.items()))
            text += f" ({RETRY_FAILED}{', '.join(choices)})"
        yield f"{text}:", resume_command(RETRY_FAILED)


def resume_command(*more: str) -> str:
    """Return the command that was run, so that running it again pays for nothing twice.

    The options that ask to pay again are removed, and passwords in URLs are masked.

    Args:
        more: arguments to add at the end.
    """
    kept: list[str] = []
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        # An option and its value may be one argument or two: --name=value, --name value.
        name, _, value = argument.partition("=")
        if name == ON_UNCERTAIN and not value:
            next(arguments, None)  # its value is the next argument
        elif name not in (RETRY_FAILED, ON_UNCERTAIN, FRESH):
            kept.append(argument)
    command = shlex.join(["keevx", *map(masked, kept), *more])
    # The shell's redirection is no argument, and cannot be repeated from here.
    piped = any(is_read_once(Path(argument)) for argument in kept)
    return f"{command}  (with the same input)" if piped else command
