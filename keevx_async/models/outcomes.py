"""What comes back from a create and from a fan-out, and how a notebook shows it.

Submission is one accepted create, Outcome one item of a fan-out, Counts the sums of all items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from attrs import define, field, frozen

from ..errors import DownloadError, SubmissionUncertain, WaitTimeout
from .html import Html, Tone, badge, card, code, joined, lines, link, shorten, side_by_side, table
from .request import Request
from .tasks import MAX_TEXT, Task, main_result, reason, thumbnail

# Outcome and Submission without a parameter mean those of ImageToVideo, for type checkers. At run
# time the default is of no use, and typing_extensions need not be installed.
if TYPE_CHECKING:
    from typing_extensions import TypeVar  # typing's own has a default from Python 3.13 on

    from .image_to_video import ImageToVideo

    R = TypeVar("R", bound=Request, default=ImageToVideo)
    R_co = TypeVar("R_co", bound=Request, default=ImageToVideo, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Request)
    R_co = TypeVar("R_co", bound=Request, covariant=True)

RESUMABLE_ERRORS = (WaitTimeout, DownloadError)
"""Errors of an item whose create was accepted: to resume it costs nothing."""
MAX_ROWS = 20
"""Rows of a fan-out that a notebook shows."""


@frozen
class Submission(Generic[R_co]):
    """One create that Keevx accepted.

    Attributes:
        request: the request, as passed; local files are not replaced by their URLs.
        key: the key it was submitted under.
        task_ids: the ids of its tasks, one for each video or image.
        reused: whether the ids are from an earlier record, of this run or another; nothing was
            sent then.
    """

    request: R_co
    key: str
    task_ids: tuple[str, ...]
    reused: bool = field(default=False, eq=False)  # the same create, whoever asks for it

    def __repr__(self) -> str:
        return f"<Submission {_ids(self.task_ids)} of {_subject(self.request, 40)!r}>"

    def _repr_html_(self) -> str:
        ids = joined(" ", map(code, self.task_ids))
        model = getattr(self.request, "model", self.request.kind.name)
        head = joined(" ", [badge("SUBMITTED", "good"), f"model {shorten(model, 30)}"])
        return card(lines(head, _subject(self.request, MAX_TEXT), ids))


@define
class Outcome(Generic[R_co]):
    """The result of one item of a fan-out. An error of one item leaves the others alone.

    Attributes:
        index: its position in the input, from 0.
        request: the request, as passed.
        key: the key it was submitted under; empty if it was never submitted.
        task_ids: the ids of its tasks, also where an error came later.
        tasks: its tasks that have ended, failed ones included.
        paths: its downloaded files.
        error: what stopped it, or None.
    """

    index: int
    request: R_co
    key: str = ""
    task_ids: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    paths: tuple[Path, ...] = ()
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether there was no error."""
        return self.error is None

    @property
    def uncertain(self) -> bool:
        """Whether its create may have been paid, but the answer was lost."""
        return isinstance(self.error, SubmissionUncertain)

    @property
    def unfinished(self) -> bool:
        """Whether its create was accepted, and only waiting or downloading was cut short.

        It is paid for: run the same program again with its journal to resume it free of charge.
        """
        return isinstance(self.error, RESUMABLE_ERRORS)

    def __repr__(self) -> str:
        files = f" in {shorten(', '.join(map(str, self.paths)))}" if self.paths else ""
        item = f"{self.index} {_state(self)}: {_ids(self.task_ids)}{files}"
        return f"<Outcome {item}{reason(self.error)}>"

    def _repr_html_(self) -> str:
        return outcome_table([self])


_TONES: Mapping[str, Tone] = {
    "ok": "good",
    "failed": "bad",
    "uncertain": "unsure",
    "unfinished": "plain",
}


def outcome_table(outcomes: Iterable[Outcome[Request]], *around: str) -> Html:
    """Return outcomes as an HTML table, one row each.

    Args:
        outcomes: in the order of the rows.
        around: lines above the table.
    """
    rows: list[list[str]] = []
    for outcome in outcomes:
        state = _state(outcome)
        # A task that has not ended has only its id; one that has leads to its main file.
        tasks: list[Html] = []
        ended = {task.task_id: task for task in outcome.tasks}
        for task_id in outcome.task_ids:
            cell = code(task_id)
            if task := ended.get(task_id):
                cell = side_by_side(thumbnail(task, 36), link(main_result(task), cell) or cell)
            tasks.append(cell)
        files = [shorten(str(path)) for path in outcome.paths]
        error = shorten("" if outcome.ok else str(outcome.error), MAX_TEXT)
        subject = _subject(outcome.request, 80)
        index, word = str(outcome.index), badge(state, _TONES[state])
        rows.append([index, word, subject, lines(*tasks), lines(*files, error)])
    return table(("#", "", "request", "tasks", "result"), rows, *around)


def _state(outcome: Outcome[Request]) -> str:
    if outcome.ok:
        return "ok"
    return "uncertain" if outcome.uncertain else "unfinished" if outcome.unfinished else "failed"


def _subject(request: object, max_length: int) -> str:
    # What is not a request failed for that reason, and is named by its type.
    if isinstance(request, Request):
        return shorten(request.subject, max_length)
    return shorten(type(request).__name__, max_length)


def _ids(task_ids: tuple[str, ...]) -> str:
    return shorten(", ".join(task_ids[:4])) or "no ids"


@define
class Counts:
    """How many items of a fan-out are in which state. An item is counted once.

    Attributes:
        total: the length of the input, or None if it has none.
        ok: ended without an error.
        failed: ended with an error, and nothing more to be had.
        uncertain: ended with a create that may have been paid, but whose answer was lost.
        unfinished: accepted, but waiting or downloading was cut short; resuming is free.
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
        """How many items have ended, in any of the four ways."""
        return self.ok + self.failed + self.uncertain + self.unfinished

    def add(self, outcome: Outcome[Request]) -> None:
        """Count an item that was under way as ended, by its outcome."""
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
        others = [(self.failed, "failed"), (self.uncertain, "uncertain")]
        others += [(self.unfinished, "unfinished"), (self.under_way, "under way")]
        return ", ".join(
            [f"{self.ok} ok", *(f"{number} {name}" for number, name in others if number)]
        )


def fan_out_table(counts: Counts, outcomes: Sequence[Outcome[Request]]) -> Html:
    """Return the counts of a fan-out and its first outcomes as HTML.

    Args:
        counts: of the whole fan-out.
        outcomes: those that the fan-out keeps; at most ``MAX_ROWS`` are shown, and a line says
            how many are not.
    """
    badges: list[str] = []
    tones: dict[str, Tone] = {**_TONES, "under way": "plain"}
    for name, tone in tones.items():
        number: int = getattr(counts, name.replace(" ", "_"))
        badges.append(badge(f"{number:,} {name}", tone if number else "plain"))
    total = "" if counts.total is None else f"of {counts.total:,}"
    notes: list[str] = [joined(" ", [*badges, total])]
    kept = len(outcomes)
    if kept > MAX_ROWS:
        notes.append(
            f"The first {MAX_ROWS} are shown, and {kept - MAX_ROWS:,} more are in outcomes."
        )
    if yielded := counts.ended - kept:
        notes.append(f"{yielded:,} were handed out as they ended, and are not kept here.")
    return outcome_table(outcomes[:MAX_ROWS], *notes)
