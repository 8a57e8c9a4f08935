"""What to run next, after a run that left something open."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from .sources import STDIN
from .tally import Status, Tally

RETRY = "--retry-failed"


def advice(tally: Tally, failed_tasks: int, journal: Path | None, out: Path) -> Iterator[str]:
    """Yield a line for each thing that can be done.

    Args:
        tally: what the run has come to.
        failed_tasks: items that failed after they were paid.
        journal: the run's journal.
        out: where results.jsonl stands.
    """
    open_ = tally.total - tally.ended[Status.DONE]
    uncertain = tally.ended[Status.UNCERTAIN]
    if uncertain:
        yield _about_uncertain(uncertain, journal)
    if journal is None:
        if open_ > uncertain:
            yield (
                "without --journal a second run makes, and pays, every item again; "
                f"{out / 'results.jsonl'} has the ids so far, which keevx wait and download take"
            )
        return
    if open_ > uncertain + failed_tasks:
        yield f"to go on, paying nothing twice: {again()}"
    if failed_tasks:
        yield f"to make, and pay, {failed_tasks:,} failed anew: {again(RETRY)}"


def _about_uncertain(count: int, journal: Path | None) -> str:
    where = "look for them in your Keevx account before you make them again"
    if journal is not None:
        where = f"see which, and how to settle them: keevx journal {shlex.quote(str(journal))}"
    return f"creates that may have been paid, though the answer was lost: {count:,}; {where}"


def again(*more: str) -> str:
    """Return the command that was given, with nothing in it but more that asks to pay anew."""
    words = [word for word in sys.argv[1:] if word != RETRY]
    command = shlex.join(["keevx", *words, *more])
    return f"{command}  (with the same input)" if STDIN in words else command
