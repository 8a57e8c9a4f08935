"""What to run next, after a run that left something open."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..input.sources import is_read_once
from .console import masked
from .counters import Counters, Status

RETRY = "--retry-failed"
UNCERTAIN = "--on-uncertain"


def next_steps(
    tally: Counters, failed: Sequence[int], journal: str | None, folder: Path
) -> Iterator[str]:
    """Yield a line for each thing that can be done.

    Args:
        tally: what the run has come to.
        failed: how many tasks each item has that failed after it was paid, and could be made
            anew.
        journal: what names the run's journal on a command line.
        folder: where results.jsonl stands.
    """
    open_ = tally.total - tally.ended[Status.DONE]
    uncertain = tally.ended[Status.UNCERTAIN]
    if uncertain:
        yield _about_uncertain(uncertain, journal)
    if journal is None:
        if open_ > uncertain:
            yield "; ".join(_about_no_journal(tally, folder))
        return
    if open_ > uncertain + len(failed):
        yield f"to go on, paying nothing twice: {resume_command()}"
    if failed:
        tasks = f"{sum(failed):,} task{'s' * (sum(failed) > 1)}"
        yield f"{len(failed):,} failed: {tasks} would be paid again: {resume_command(RETRY)}"


def _about_no_journal(tally: Counters, folder: Path) -> Iterator[str]:
    yield "without --journal a second run makes, and pays, every item again"
    if tally.submitted:
        path = folder / "results.jsonl"
        yield f"{path} has the ids so far, which keevx wait and download take"


def _about_uncertain(count: int, journal: str | None) -> str:
    where = "look for them in your Keevx account before you make them again"
    if journal is not None:
        where = f"see which, and how to settle them: keevx journal {journal}"
    return f"creates that may have been paid, though the answer was lost: {count:,}; {where}"


def resume_command(*more: str) -> str:
    """Return the command that was given, with nothing in it but more that asks to pay anew."""
    words = list(_resume_without_paying_twice(sys.argv[1:]))
    command = shlex.join(["keevx", *map(masked, words), *more])
    piped = any(is_read_once(Path(word)) for word in words)
    return f"{command}  (with the same input)" if piped else command


def _resume_without_paying_twice(given: Sequence[str]) -> Iterator[str]:
    words = iter(given)
    for word in words:
        name, _, value = word.partition("=")
        if name == UNCERTAIN and not value:
            next(words, None)
        elif name not in (RETRY, UNCERTAIN):
            yield word
