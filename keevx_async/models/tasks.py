"""What comes back: a task's snapshot, a submission's ids, an item's outcome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableSet
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from attrs import define, frozen

from ..errors import DownloadError, SubmissionUncertain, WaitTimeout
from .html import (
    Html,
    Tone,
    badge,
    card,
    code,
    joined,
    lines,
    link,
    picture,
    shorten,
    side_by_side,
    table,
)
from .kinds import SUFFIXES
from .request import Request
from .sources import HasResults

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # its default is typing's own from Python 3.13 on

    from .signatures import ImageToVideo

    R = TypeVar("R", bound=Request, default=ImageToVideo)
    R_co = TypeVar("R_co", bound=Request, default=ImageToVideo, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Request)
    R_co = TypeVar("R_co", bound=Request, covariant=True)

SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
FAILED_STATUSES: MutableSet[str] = {
    FAILED,
    "CANCELLED",
    "CANCELED",
    "EXPIRED",
    "REJECTED",
    "ABORTED",
    "ERROR",
}
"""The statuses that end a task without a result. Add a word when the vendor ships one before we
do: ``FAILED_STATUSES.add("BLOCKED")``. Only FAILED is documented (keevx-api.md, "Query")."""
RUNNING_STATUSES: frozenset[str] = frozenset({"PENDING", "PROCESSING", "GENERATING"})
"""The documented statuses of a task that goes on (keevx-api.md, "Query")."""
MAIN_RESULTS = ("video_url", "image_url")
"""The fields of which a task that has succeeded has one: captions alone are no result."""
RESUMABLE_ERRORS = (WaitTimeout, DownloadError)
"""What stops an item that was made: to go on with it costs nothing."""
_MAX_TEXT = 300
"""Most letters of a prompt or a reason in a notebook."""


@frozen(kw_only=True)
class Task(HasResults):
    """A snapshot of one task, as a status query or a callback told it.

    Source: the vendor's query page. A status that is not in ``FAILED_STATUSES`` and that we
    don't know is kept as it came, and counts as not done. So does SUCCEEDED without the URL of
    a video or an image: the result may follow.

    Attributes:
        task_id: the vendor's id.
        status: ``PENDING``, ``PROCESSING``, ``GENERATING``, ``SUCCEEDED``, ``FAILED`` or
            another word, as it came.
        video_url: where the video lies, for 7 days.
        thumbnail_url: where its thumbnail lies.
        error_message: why it failed.
        duration: seconds of video.
        width: pixels.
        height: pixels.
        image_url: where the image lies, for 7 days; of ``image_generate``.
        caption_url: where the captions lie, if asked for; of ``video_translate``.
        language: what it was translated to; of ``video_translate``.
        name: what it was called; of ``video_translate``.
    """

    task_id: str
    status: str
    video_url: str | None = None
    thumbnail_url: str | None = None
    error_message: str = ""
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    image_url: str | None = None
    caption_url: str | None = None
    language: str | None = None
    name: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task ended with a result."""
        return self.status == SUCCEEDED and any(getattr(self, name) for name in MAIN_RESULTS)

    @property
    def lacks_result(self) -> bool:
        """Whether Keevx says that it succeeded, but gives no result yet."""
        return self.status == SUCCEEDED and not self.succeeded

    @property
    def done(self) -> bool:
        """Whether the task has ended, either way."""
        return self.succeeded or self.status in FAILED_STATUSES

    @property
    def results(self) -> dict[str, str]:
        """The URLs of its files by their fields, the main one first; none until it succeeded."""
        urls = ((name, self.result_url(name)) for name in SUFFIXES)
        return {name: url for name, url in urls if url}

    def result_url(self, name: str) -> str | None:
        """Return the URL in the field of that name, if the task has succeeded."""
        return getattr(self, name) if self.succeeded else None

    def __repr__(self) -> str:
        said = " ".join([shorten(self.task_id), shorten(self.status), *self._facts()])
        return f"<Task {said}{_reason(self.error_message)}>"

    def _repr_html_(self) -> str:
        tone: Tone = "good" if self.succeeded else "bad" if self.done else "plain"
        head = joined(" ", [badge(shorten(self.status, 30), tone), code(self.task_id)])
        files = (link(url, name.removesuffix("_url")) for name, url in self.results.items())
        facts = joined(" · ", [*self._facts(), *files])
        return card(
            _thumbnail(self, 72), lines(head, facts, shorten(self.error_message, _MAX_TEXT))
        )

    def _facts(self) -> Iterator[str]:
        if self.duration:  # a failed one comes with zeros
            yield f"{self.duration:g} s"
        if self.width and self.height:
            yield f"{self.width}x{self.height}"
        if self.language:
            yield shorten(self.language, 30)


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
        return card(lines(head, _subject(self.request, _MAX_TEXT), ids))


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
        return f"<Outcome {said}{_reason(self.error)}>"

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
    yield lines(*files, shorten("" if outcome.ok else str(outcome.error), _MAX_TEXT))


def _outcome_word(outcome: Outcome[Request]) -> str:
    if outcome.ok:
        return "ok"
    return "uncertain" if outcome.uncertain else "unfinished" if outcome.unfinished else "failed"


def _task_cell(task_id: str, task: Task | None) -> Html:
    if task is None:
        return code(task_id)
    return side_by_side(
        _thumbnail(task, 36), link(_main_result(task), code(task_id)) or code(task_id)
    )


def _thumbnail(task: Task, height: int) -> Html:
    shown = picture(task.thumbnail_url, height)
    return link(_main_result(task), shown) or shown


def _main_result(task: Task) -> str | None:
    return next(iter(task.results.values()), None)


def _subject(request: object, most: int) -> str:
    """Return what a request is about; one that is none, and failed for it, is named by its type."""
    if isinstance(request, Request):
        return shorten(request.subject, most)
    return shorten(type(request).__name__, most)


def _ids(task_ids: tuple[str, ...]) -> str:
    return shorten(", ".join(task_ids[:4])) or "no ids"


def _reason(said: object) -> str:
    return f": {shorten(str(said))}" if said else ""
