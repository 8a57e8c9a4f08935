"""The results of creates and fan-outs, and their display in notebooks.

Submission is one accepted create, Outcome is one item of a fan-out, and Counts has the totals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, cast

from attrs import asdict, define, field, frozen

from ..errors import (
    AuthenticationError,
    DownloadError,
    InsufficientFunds,
    KeevxError,
    NotStarted,
    SubmissionUncertain,
    WaitTimeout,
)
from .html import (
    Html,
    Tone,
    badge,
    card,
    code,
    file_link,
    joined,
    lines,
    link,
    number,
    player,
    short_code,
    shorten,
    side_by_side,
    table,
)
from .request import Request
from .tasks import MAX_TEXT, Task, main_result, reason, thumbnail

# For type checkers, Outcome and Submission without a parameter refer to ImageToVideo. The default
# has no effect at run time, so typing_extensions need not be installed.
if TYPE_CHECKING:
    from typing_extensions import TypeVar  # typing.TypeVar has defaults only since Python 3.13

    from .image_to_video import ImageToVideo

    R = TypeVar("R", bound=Request, default=ImageToVideo)
    R_co = TypeVar("R_co", bound=Request, default=ImageToVideo, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Request)
    R_co = TypeVar("R_co", bound=Request, covariant=True)

RESUMABLE_ERRORS = (WaitTimeout, DownloadError)
"""Errors that can end an item after its create was accepted. Resuming such an item is free."""
NOT_SUBMITTED_ERRORS = (NotStarted, InsufficientFunds, AuthenticationError)
"""Errors after which no task was made. The item may be resubmitted unchanged, once the key is
accepted or the account has funds."""
MAX_ROWS = 20
"""The maximum number of rows that a notebook shows for a fan-out."""
MAX_PLAYED = 4 * 2**20
"""The maximum total size, in bytes, of the videos and images that one table embeds."""


@frozen
class Submission(Generic[R_co]):
    """One create that Keevx accepted.

    Attributes:
        request: the request as passed; its local files are not replaced by URLs.
        key: the key under which the request was submitted.
        task_ids: the task ids, one for each video or image.
        reused: whether the ids come from an existing record, made in this run or an earlier one,
            so nothing was sent.
    """

    request: R_co
    key: str
    task_ids: tuple[str, ...]
    reused: bool = field(default=False, eq=False)  # the same create, whichever way it was found

    def __repr__(self) -> str:
        return f"<Submission {_ids(self.task_ids)} of {_subject(self.request, 40)!r}>"

    def _repr_html_(self) -> str:
        ids = joined(" ", map(code, self.task_ids))
        model = getattr(self.request, "model", self.request.kind.name)
        head = joined(" ", [badge("SUBMITTED", "good"), f"model {shorten(model, 30)}"])
        return card(lines(head, _subject(self.request, MAX_TEXT), ids))


@define
class Outcome(Generic[R_co]):
    """The result of one item of a fan-out. One item's error does not affect the other items.

    Attributes:
        index: the item's position in the input, from 0.
        request: the request as passed.
        key: the key under which the request was submitted; empty if it was never submitted.
        task_ids: the ids of the item's tasks, even if an error occurred later.
        tasks: the item's tasks that have ended, including failed tasks.
        paths: the paths of the downloaded files.
        error: the error that stopped the item, which is a ``KeevxError`` or an error raised by the
            ``key`` function; None if there was no error.
        mismatches: the differences between the files and the request, found by
            ``verify="probe"``.
    """

    index: int
    request: R_co
    key: str = ""
    task_ids: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    paths: tuple[Path, ...] = ()
    error: Exception | None = None
    mismatches: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the item ended without an error."""
        return self.error is None

    @property
    def uncertain(self) -> bool:
        """Whether the create's response was lost, so the create may have been charged."""
        return isinstance(self.error, SubmissionUncertain)

    @property
    def unfinished(self) -> bool:
        """Whether the create was accepted, and only the wait or the download was interrupted.

        The item is already paid for. To resume it for free, run the same program again with its
        journal.
        """
        return isinstance(self.error, RESUMABLE_ERRORS)

    @property
    def not_started(self) -> bool:
        """Whether the fan-out stopped before submitting the item; see ``NotStarted``."""
        return isinstance(self.error, NotStarted)

    @property
    def not_submitted(self) -> bool:
        """Whether no task was made, for a reason unrelated to the request itself.

        The item was not started, the API key was refused, or the account had no funds. The same
        request may be submitted again.
        """
        return isinstance(self.error, NOT_SUBMITTED_ERRORS) and not self.task_ids

    @property
    def state(self) -> str:
        """``ok``, ``failed``, ``uncertain``, ``unfinished`` or ``not_started``; see ``Counts``."""
        if self.error is None:
            return "ok"
        states = ("uncertain", "unfinished", "not_started")
        return next((name for name in states if getattr(self, name)), "failed")

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data, ready for ``json.dumps``.

        ``request`` and every item of ``tasks`` are dicts of fields, ``paths`` are strings, and
        ``error`` is None or a dict with the error's ``type``, ``message`` and ``hint``.
        """
        error = self.error
        return {
            "index": self.index,
            "key": self.key,
            "state": self.state,
            "request": _fields_of(self.request),
            "task_ids": list(self.task_ids),
            "tasks": [asdict(task) for task in self.tasks],
            "paths": list(map(str, self.paths)),
            "error": None if error is None else error_dict(error),
        }

    def to_record(self) -> dict[str, Any]:
        """Return the outcome as a flat dict: one row of a table, such as a ``pandas.DataFrame``.

        The outcome's own fields come first, followed by the request's fields. Each list is joined
        into one string, separated by spaces.
        """
        urls = [url for task in self.tasks for url in task.results.values()]
        own = {
            "index": self.index,
            "key": self.key,
            "state": self.state,
            "task_ids": " ".join(self.task_ids),
            "paths": " ".join(map(str, self.paths)),
            "urls": " ".join(urls),
            "error": None if self.error is None else str(self.error),
        }
        fields = _fields_of(self.request)
        return own | {
            name: " ".join(map(str, cast("list[object]", value)))
            if isinstance(value, list)
            else value
            for name, value in fields.items()
            if name not in own
        }

    def __repr__(self) -> str:
        files = f" in {shorten(', '.join(map(str, self.paths)))}" if self.paths else ""
        item = f"{self.index} {_label(self.state)}: {_ids(self.task_ids)}{files}"
        return f"<Outcome {item}{reason(self.error)}>"

    def _repr_html_(self) -> str:
        return outcome_table([self])


_TONES: Mapping[str, Tone] = {
    "ok": "good",
    "failed": "bad",
    "uncertain": "unsure",
    "unfinished": "plain",
    "not_started": "plain",
}


# In a table of a thousand rows, people look for the rows that need attention.
_ORDER = ("failed", "uncertain", "unfinished", "not_started", "ok")


def outcome_table(outcomes: Iterable[Outcome[Request]], *around: str) -> Html:
    """Return outcomes as an HTML table, one row each.

    Args:
        outcomes: the outcomes, in the order of the rows.
        around: the lines above the table.
    """
    left = MAX_PLAYED
    rows: list[list[str]] = []
    for outcome in outcomes:
        # Small local results are embedded while there is room; larger ones are shown by their
        # thumbnails.
        players: list[Html] = []
        for path in outcome.paths:
            if shown := player(path, left):
                left -= path.stat().st_size
                players.append(shown)
        # A task that has not ended shows only its id; a finished task links to its main file.
        tasks: list[Html] = []
        ended = {task.task_id: task for task in outcome.tasks}
        for task_id in outcome.task_ids:
            cell = short_code(task_id)
            if task := ended.get(task_id):
                cell = link(main_result(task), cell) or cell
                if not players:
                    cell = side_by_side(thumbnail(task, 36), cell)
            tasks.append(cell)
        error = shorten("" if outcome.ok else str(outcome.error), MAX_TEXT)
        word = badge(_label(outcome.state), _TONES[outcome.state])
        result = lines(*players, *map(file_link, outcome.paths), error)
        subject = _subject(outcome.request, 80)
        rows.append([number(outcome.index), word, subject, lines(*tasks), result])
    return table(("#", "", "request", "tasks", "result"), rows, *around)


def error_dict(error: Exception) -> dict[str, Any]:
    """Return an error as plain data: its ``type``, ``message`` and ``hint``."""
    # Programs cannot refer to a private class, so its public base is reported.
    kind = next(kind for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
    if isinstance(error, KeevxError):
        return {"type": kind.__name__, "message": error.message, "hint": error.hint}
    return {"type": kind.__name__, "message": str(error), "hint": ""}


def _fields_of(request: object) -> dict[str, Any]:
    # An item that is not a request failed for that reason, and is shown unchanged.
    return request.to_dict() if isinstance(request, Request) else {"request": repr(request)}


def _label(state: str) -> str:
    return state.replace("_", " ")


def _subject(request: object, max_length: int) -> str:
    # An item that is not a request failed for that reason, and is shown by its type.
    if isinstance(request, Request):
        return shorten(request.subject, max_length)
    return shorten(type(request).__name__, max_length)


def _ids(task_ids: tuple[str, ...]) -> str:
    return shorten(", ".join(task_ids[:4])) or "no ids"


@define
class Counts:
    """The number of a fan-out's items in each state. Each item is counted once.

    Attributes:
        total: the length of the input; None if the length is unknown.
        ok: items that ended without an error.
        failed: items that ended with an error and cannot be resumed.
        uncertain: items whose create may have been charged, because its response was lost.
        unfinished: items that were accepted, but whose wait or download was interrupted; resuming
            them is free.
        under_way: items that were started and have not ended.
        not_started: items not submitted when the fan-out stopped; see ``NotStarted``. If ``total``
            is known, these are all of the remaining items; otherwise, only the items already pulled
            from the input.
    """

    total: int | None = None
    ok: int = 0
    failed: int = 0
    uncertain: int = 0
    unfinished: int = 0
    under_way: int = 0
    not_started: int = 0

    @property
    def ended(self) -> int:
        """The number of items that have ended, as ok, failed, uncertain or unfinished."""
        return self.ok + self.failed + self.uncertain + self.unfinished

    def add(self, outcome: Outcome[Request]) -> None:
        """Move an item from ``under_way`` to the count for its outcome's state."""
        self.under_way -= 1
        if outcome.error is None:
            self.ok += 1
        else:
            self._count(outcome, 1)

    def remove(self, outcome: Outcome[Request]) -> None:
        """Stop counting a finished item, because it is about to be started again."""
        self._count(outcome, -1)

    def _count(self, outcome: Outcome[Request], change: int) -> None:
        state = outcome.state
        setattr(self, state, getattr(self, state) + change)

    def __str__(self) -> str:
        others = [(self.failed, "failed"), (self.uncertain, "uncertain")]
        others += [(self.unfinished, "unfinished"), (self.under_way, "under way")]
        others += [(self.not_started, "not started")]
        return ", ".join(
            [f"{self.ok} ok", *(f"{number} {name}" for number, name in others if number)]
        )


def fan_out_table(counts: Counts, outcomes: Sequence[Outcome[Request]]) -> Html:
    """Return a fan-out's counts and some of its outcomes as HTML, failed ones first.

    Args:
        counts: the counts of the whole fan-out; only counts above zero are shown.
        outcomes: the outcomes that the fan-out keeps; at most ``MAX_ROWS`` are shown. If there are
            more outcomes, a line says so.
    """
    tones: dict[str, Tone] = {**_TONES, "under_way": "plain"}
    badges: list[str] = [
        badge(f"{count:,} {_label(name)}", tone)
        for name, tone in tones.items()
        if (count := getattr(counts, name))
    ]
    total = "" if counts.total is None else f"of {counts.total:,}"
    notes: list[str] = [joined(" ", [*(badges or [badge("not begun", "plain")]), total])]
    kept = len(outcomes)
    if kept > MAX_ROWS:
        notes.append(
            f"Showing {MAX_ROWS}, failed and uncertain first; all {kept:,} are in outcomes."
        )
    if yielded := counts.ended - sum(1 for outcome in outcomes if not outcome.not_started):
        notes.append(f"{yielded:,} were yielded as they ended and are not kept here.")
    first = sorted(outcomes, key=lambda outcome: _ORDER.index(outcome.state))  # stable
    return outcome_table(first[:MAX_ROWS], *notes)
