"""What comes back from a create and from a fan-out, and how a notebook shows it.

Submission is one accepted create, Outcome one item of a fan-out, Counts the sums of all items.
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
NOT_SUBMITTED_ERRORS = (NotStarted, InsufficientFunds, AuthenticationError)
"""Errors of an item that made no task and may be submitted again as it is: with a key that is
accepted, or with funds."""
MAX_ROWS = 20
"""Rows of a fan-out that a notebook shows."""
MAX_PLAYED = 4 * 2**20
"""Bytes of the videos and images that a table holds, all together: the notebook keeps them."""


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
        error: what stopped it, or None: a KeevxError, or what the ``key`` function raised.
        mismatches: how its files differ from the request, as ``verify="probe"`` found.
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

    @property
    def not_started(self) -> bool:
        """Whether the fan-out stopped before it was made; see ``NotStarted``."""
        return isinstance(self.error, NotStarted)

    @property
    def not_submitted(self) -> bool:
        """Whether it made no task, for a reason that lies outside of its request.

        It was not started, or the key was refused, or there were no funds. The same request may
        be submitted again.
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
        """Return it as plain data, ready for ``json.dumps``.

        ``request`` and each of ``tasks`` are dicts of their fields, ``paths`` are strings, and
        ``error`` is None or a dict with the ``type``, ``message`` and ``hint`` of the error.
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
        """Return it as a flat dict: one row of a table, such as a ``pandas.DataFrame``.

        The fields of its request come first, then its own. What is a list is one text, joined by
        spaces.
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


# Of a thousand rows a person looks for those that need them.
_ORDER = ("failed", "uncertain", "unfinished", "not_started", "ok")


def outcome_table(outcomes: Iterable[Outcome[Request]], *around: str) -> Html:
    """Return outcomes as an HTML table, one row each.

    Args:
        outcomes: in the order of the rows.
        around: lines above the table.
    """
    left = MAX_PLAYED
    rows: list[list[str]] = []
    for outcome in outcomes:
        # Small local results are shown themselves, while there is room; a larger one by its
        # thumbnail.
        players: list[Html] = []
        for path in outcome.paths:
            if shown := player(path, left):
                left -= path.stat().st_size
                players.append(shown)
        # A task that has not ended has only its id; one that has leads to its main file.
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
    # A class that is not public is not one that a program can look for: its base is.
    kind = next(kind for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
    if isinstance(error, KeevxError):
        return {"type": kind.__name__, "message": error.message, "hint": error.hint}
    return {"type": kind.__name__, "message": str(error), "hint": ""}


def _fields_of(request: object) -> dict[str, Any]:
    # What is not a request failed for that reason, and is shown as it is.
    return request.to_dict() if isinstance(request, Request) else {"request": repr(request)}


def _label(state: str) -> str:
    return state.replace("_", " ")


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
        not_started: not made when the fan-out stopped; see ``NotStarted``. Where ``total`` is
            known these are all that were left, else only those that were pulled from the input.
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
        """How many items have ended, in any of the four ways."""
        return self.ok + self.failed + self.uncertain + self.unfinished

    def add(self, outcome: Outcome[Request]) -> None:
        """Count an item that was under way as ended, by its outcome."""
        self.under_way -= 1
        self._count(outcome, 1)

    def remove(self, outcome: Outcome[Request]) -> None:
        """Count an item no longer: it is begun again."""
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
    """Return the counts of a fan-out and some of its outcomes as HTML, those that failed first.

    Args:
        counts: of the whole fan-out; only those above zero are shown.
        outcomes: those that the fan-out keeps; at most ``MAX_ROWS`` are shown, and a line says
            how many are not.
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
            f"{MAX_ROWS} are shown, failed and uncertain first; all {kept:,} are in outcomes."
        )
    if yielded := counts.ended - sum(1 for outcome in outcomes if not outcome.not_started):
        notes.append(f"{yielded:,} were handed out as they ended, and are not kept here.")
    first = sorted(outcomes, key=lambda outcome: _ORDER.index(outcome.state))  # stable
    return outcome_table(first[:MAX_ROWS], *notes)
