"""How many items of a fan-out have gone which way, and how that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import define

from .html import Html, Tone, badge, joined
from .request import Request
from .tasks import TONES, Outcome, outcome_table

MAX_ROWS = 20
"""Rows of a fan-out in a notebook."""


@define
class Counts:
    """How many items of a fan-out have gone which way.

    Attributes:
        total: how many there are, or None for an input that does not say.
        ok: ended, and nothing went wrong.
        failed: ended with an error.
        uncertain: ended with a create that may have been paid.
        unfinished: made, and cut short in waiting or downloading: to go on costs nothing.
        under_way: begun and not ended.
    """

    total: int | None = None
    ok: int = 0
    failed: int = 0
    uncertain: int = 0
    unfinished: int = 0
    under_way: int = 0

    @property
    def ended(self) -> int:
        """How many have ended, one way or another."""
        return self.ok + self.failed + self.uncertain + self.unfinished

    def add(self, outcome: Outcome[Request]) -> None:
        """Count the end of an item that was under way."""
        self.under_way -= 1
        if outcome.error is None:
            self.ok += 1
        elif outcome.uncertain:
            self.uncertain += 1
        elif outcome.unfinished:
            self.unfinished += 1
        else:
            self.failed += 1

    def __str__(self) -> str:
        told = [(self.failed, "failed"), (self.uncertain, "uncertain")]
        told += [(self.unfinished, "unfinished"), (self.under_way, "under way")]
        return ", ".join(
            [f"{self.ok} ok", *(f"{number} {name}" for number, name in told if number)]
        )


def fan_out_table(counts: Counts, outcomes: Sequence[Outcome[Request]]) -> Html:
    """Return counts and the first outcomes as HTML."""
    whole = "" if counts.total is None else f"of {counts.total:,}"
    head = joined(" ", [*_badges(counts), whole])
    return outcome_table(outcomes[:MAX_ROWS], head, *_left_out(counts, len(outcomes)))


def _badges(counts: Counts) -> Iterator[Html]:
    tones: dict[str, Tone] = {**TONES, "under way": "plain"}
    for name, tone in tones.items():
        number = getattr(counts, name.replace(" ", "_"))
        yield badge(f"{number:,} {name}", tone if number else "plain")


def _left_out(counts: Counts, held: int) -> Iterator[str]:
    if held > MAX_ROWS:
        yield f"The first {MAX_ROWS} are shown, and {held - MAX_ROWS:,} more are in outcomes."
    if handed_out := counts.ended - held:
        yield f"{handed_out:,} were handed out as they ended, and are not kept here."
