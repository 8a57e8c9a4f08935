"""Suggests commands after a run that did not complete every item."""

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
    """Yield each possible next step: a sentence, and the command for it, if there is one.

    If all items are done, nothing is yielded. A command never pays for anything twice unless its
    sentence says so.

    Args:
        counters: the counters of the run that has ended.
        failed_tasks: for each item that failed after it was paid for and can be resubmitted, its
            number of tasks.
        reasons: the number of these items by reason.
        journal: the arguments that name the run's journal; None if there is no journal.
        folder: the folder that contains results.jsonl.
    """
    not_done = counters.total - counters.ended[Status.DONE]
    uncertain = counters.ended[Status.UNCERTAIN]
    # 1. Uncertain creates: only a person can find out what happened to them.
    if uncertain:
        text = f"{uncertain:,} uncertain: the response was lost, so each may have been charged."
        if journal is None:
            yield f"{text} Check your Keevx account before you submit them again.", None
        else:
            yield f"{text} List and settle them:", f"keevx journal {journal}"
    # 2. Without a journal nothing can be resumed. Paid results can only be found by their ids.
    if journal is None:
        if not_done > uncertain:
            text = "With --no-journal, running this again pays for every item again."
            if counters.submitted:
                text += f" {folder / NAME} has the ids so far, for keevx wait and download."
            yield text, None
        return
    # 3. Items that were not started, or were cut short: the same command resumes them.
    if not_done > uncertain + len(failed_tasks):
        yield "Resume without paying twice:", resume_command()
    # 4. Items that Keevx failed to make: making them again costs again.
    if failed_tasks:
        count = sum(failed_tasks)
        tasks = f"{count:,} task{'s' * (count > 1)}"
        text = f"Retry {len(failed_tasks):,} failed, which pays for {tasks} again"
        if reasons.keys() - {UNKNOWN}:  # the user decides which to retry
            choices = (f"={reason} for {number:,}" for reason, number in sorted(reasons.items()))
            text += f" ({RETRY_FAILED}{', '.join(choices)})"
        yield f"{text}:", resume_command(RETRY_FAILED)


def resume_command(*more: str) -> str:
    """Return the command that was run, changed so that it pays for nothing twice.

    Options that would pay again are removed, and passwords in URLs are masked.

    Args:
        more: arguments to append.
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
    # A shell redirection is not an argument, so it cannot be repeated here.
    piped = any(is_read_once(Path(argument)) for argument in kept)
    return f"{command}  (with the same input)" if piped else command
