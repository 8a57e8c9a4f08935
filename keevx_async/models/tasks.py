"""What a status query or a callback returns: the snapshot of a task."""

from __future__ import annotations

from collections.abc import Iterator, MutableSet

from attrs import frozen

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
)
from .kinds import SUFFIXES
from .sources import HasResults

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
MAX_TEXT = 300
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
        return f"<Task {said}{reason(self.error_message)}>"

    def _repr_html_(self) -> str:
        tone: Tone = "good" if self.succeeded else "bad" if self.done else "plain"
        head = joined(" ", [badge(shorten(self.status, 30), tone), code(self.task_id)])
        files = (link(url, name.removesuffix("_url")) for name, url in self.results.items())
        facts = joined(" · ", [*self._facts(), *files])
        return card(thumbnail(self, 72), lines(head, facts, shorten(self.error_message, MAX_TEXT)))

    def _facts(self) -> Iterator[str]:
        if self.duration:  # a failed one comes with zeros
            yield f"{self.duration:g} s"
        if self.width and self.height:
            yield f"{self.width}x{self.height}"
        if self.language:
            yield shorten(self.language, 30)


def thumbnail(task: Task, height: int) -> Html:
    """Return the thumbnail of a task, linked to its main result; empty without a thumbnail."""
    shown = picture(task.thumbnail_url, height)
    return link(main_result(task), shown) or shown


def main_result(task: Task) -> str | None:
    """Return the URL of a task's main file, or None until it has succeeded."""
    return next(iter(task.results.values()), None)


def reason(text: object) -> str:
    """Return what a repr ends with: a colon and the text, or nothing for an empty text."""
    return f": {shorten(str(text))}" if text else ""
