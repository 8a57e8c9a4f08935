"""What comes back of a create and of a fan-out: ids, outcomes, counts, and how each is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from attrs import define, frozen

from ..errors import DownloadError, SubmissionUncertain, WaitTimeout
from .html import Html, Tone, badge, card, code, joined, lines, link, shorten, side_by_side, table
from .request import Request
from .tasks import MAX_TEXT, Task, main_result, reason, thumbnail

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # its default is typing's own from Python 3.13 on

    from .image_to_video import ImageToVideo

    R = TypeVar("R", bound=Request, default=ImageToVideo)
    R_co = TypeVar("R_co", bound=Request, default=ImageToVideo, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Request)
    R_co = TypeVar("R_co", bound=Request, covariant=True)

RESUMABLE_ERRORS = (WaitTimeout, DownloadError)
"""What stops an item that was made: to go on with it costs nothing."""
MAX_ROWS = 20
"""Rows of a fan-out in a notebook."""


@frozen
class Submission(Generic[R_co]):
    """One create that Keevx accepted: the request, its key, and the ids of its tasks."""

    request: R_co
    key: str
    task_ids: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Submission {_ids(self.task_ids)} of {_subject(self.request, 40)!r}>"

    def _repr_html_(self) -> str:
        ids = joined(" ", map(code, self.task_ids))
        model = getattr(self.request, "model", self.request.kind.name)
        head = joined(" ", [badge("SUBMITTED", "good"), f"model {shorten(model, 30)}"])
        return card(lines(head, _subject(self.request, MAX_TEXT), ids))


@define
class Outcome(Generic[R_co]):
    """What became of one item of a fan-out.

    Attributes:
        index: its place in the input, from 0.
        request: the request, as given.
        key: the key it was submitted under; empty where it never came so far.
        task_ids: the ids it was given.
        tasks: its ended tasks, failed ones included.
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
        """Whether nothing went wrong."""
        return self.error is None

    @property
    def uncertain(self) -> bool:
        """Whether it may have been paid, and nobody knows."""
        return isinstance(self.error, SubmissionUncertain)

    @property
    def unfinished(self) -> bool:
        """Whether it was made, and only waiting or downloading was cut short: go on, it is paid."""
        return isinstance(self.error, RESUMABLE_ERRORS)

    def __repr__(self) -> str:
        files = f" in {shorten(', '.join(map(str, self.paths)))}" if self.paths else ""
        said = f"{self.index} {_outcome_word(self)}: {_ids(self.task_ids)}{files}"
        return f"<Outcome {said}{reason(self.error)}>"

    def _repr_html_(self) -> str:
        return outcome_table([self])


TONES: Mapping[str, Tone] = {
    "ok": "good",
    "failed": "bad",
    "uncertain": "unsure",
    "unfinished": "plain",
}


def outcome_table(outcomes: Iterable[Outcome[Request]], *around: str) -> Html:
    """Return outcomes as an HTML table, a row each.

    Args:
        outcomes: in the order of the rows.
        around: lines above the table.
    """
    head = ("#", "", "request", "tasks", "result")
    return table(head, [_outcome_row(one) for one in outcomes], *around)


def _outcome_row(outcome: Outcome[Request]) -> Iterator[str]:
    word = _outcome_word(outcome)
    yield str(outcome.index)
    yield badge(word, TONES[word])
    yield _subject(outcome.request, 80)
    ended = {task.task_id: task for task in outcome.tasks}
    yield lines(*(_task_cell(one, ended.get(one)) for one in outcome.task_ids))
    files = [shorten(str(path)) for path in outcome.paths]
    yield lines(*files, shorten("" if outcome.ok else str(outcome.error), MAX_TEXT))


def _outcome_word(outcome: Outcome[Request]) -> str:
    if outcome.ok:
        return "ok"
    return "uncertain" if outcome.uncertain else "unfinished" if outcome.unfinished else "failed"


def _task_cell(task_id: str, task: Task | None) -> Html:
    if task is None:
        return code(task_id)
    return side_by_side(
        thumbnail(task, 36), link(main_result(task), code(task_id)) or code(task_id)
    )


def _subject(request: object, most: int) -> str:
    """Return what a request is about; one that is none, and failed for it, is named by its type."""
    if isinstance(request, Request):
        return shorten(request.subject, most)
    return shorten(type(request).__name__, most)


def _ids(task_ids: tuple[str, ...]) -> str:
    return shorten(", ".join(task_ids[:4])) or "no ids"


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
