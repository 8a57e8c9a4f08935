"""What a status query or a callback returns: the snapshot of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSet
from typing import Any

from attrs import field, fields, frozen

from .html import Html, Tone, badge, card, code, joined, lines, link, picture, shorten
from .kinds import SUFFIXES
from .sources import HasResults

SUCCEEDED = "SUCCEEDED"
"""The status of a task that ended well; its result may follow a moment later."""
FAILED = "FAILED"
"""The status of a task that ended without a result."""
FAILED_STATUSES: MutableSet[str] = {
    FAILED,
    "CANCELLED",
    "CANCELED",
    "EXPIRED",
    "REJECTED",
    "ABORTED",
    "ERROR",
}
"""The statuses that end a task without a result. Add one that is newer than this package:
``FAILED_STATUSES.add("BLOCKED")``. Only FAILED is documented (keevx-api.md, "Query")."""
RUNNING_STATUSES: frozenset[str] = frozenset({"PENDING", "PROCESSING", "GENERATING"})
"""The documented statuses of a task that has not ended (keevx-api.md, "Query")."""
MAIN_RESULTS = ("video_url", "image_url")
"""A task that has succeeded has one of these fields: captions alone are not a result."""
MAX_TEXT = 300
"""Characters of a prompt or a reason that a notebook shows."""


@frozen(kw_only=True)
class Task(HasResults):
    """A snapshot of one task, from a status query or a callback. It never changes.

    An unknown status is kept as received, and the task counts as not done. So does SUCCEEDED
    without the URL of a video or an image: the result may follow.

    Source: the vendor's query page.

    Attributes:
        task_id: the vendor's id.
        status: ``PENDING``, ``PROCESSING``, ``GENERATING``, ``SUCCEEDED``, ``FAILED`` or
            another word, as received.
        video_url: URL of the video, valid for 7 days.
        thumbnail_url: URL of its thumbnail.
        error_message: why it failed; empty otherwise.
        duration: length of the video in seconds.
        width: pixels.
        height: pixels.
        image_url: URL of the image, valid for 7 days; ``image_generate`` only.
        caption_url: URL of the captions, if the request enabled them; ``video_translate`` only.
        language: the target language; ``video_translate`` only.
        name: the name in the request; ``video_translate`` only.
        extra: the fields that this version has no name for, as Keevx sent them.
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
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False)

    # A status ends a task in one of two ways: it is in FAILED_STATUSES, or it is SUCCEEDED and a
    # result is there. Every other status means "not yet", also one that we do not know: a task that
    # is waited for too long costs a timeout, one that is given up too early costs its video.
    @property
    def succeeded(self) -> bool:
        """Whether the task ended with a video or an image."""
        return self.status == SUCCEEDED and any(getattr(self, name) for name in MAIN_RESULTS)

    @property
    def lacks_result(self) -> bool:
        """Whether the status is SUCCEEDED but there is no result yet.

        Keevx may add it shortly after; a wait continues for some minutes before it gives up.
        """
        return self.status == SUCCEEDED and not self.succeeded

    @property
    def done(self) -> bool:
        """Whether the task has ended, with a result or without."""
        return self.succeeded or self.status in FAILED_STATUSES

    @property
    def results(self) -> dict[str, str]:
        """The URLs of its files by field, the main one first; empty until it has succeeded."""
        urls = ((name, self.result_url(name)) for name in SUFFIXES)
        return {name: url for name, url in urls if url}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as Keevx names them, those of ``extra`` among them, without nulls.

        It is plain JSON, and equals what Keevx sent, but for fields that were null or unreadable.
        """
        fields = {name: getattr(self, name) for name in FIELDS}
        return {
            **self.extra,
            **{name: value for name, value in fields.items() if value is not None},
        }

    def result_url(self, name: str) -> str | None:
        """Return the URL in the field of that name, or None until the task has succeeded."""
        return getattr(self, name) if self.succeeded else None

    def __repr__(self) -> str:
        facts = " ".join([shorten(self.task_id), shorten(self.status), *self._facts()])
        return f"<Task {facts}{reason(self.error_message)}>"

    def _repr_html_(self) -> str:
        tone: Tone = "good" if self.succeeded else "bad" if self.done else "plain"
        head = joined(" ", [badge(shorten(self.status, 30), tone), code(self.task_id)])
        files = (link(url, name.removesuffix("_url")) for name, url in self.results.items())
        facts = joined(" · ", [*self._facts(), *files])
        return card(thumbnail(self, 72), lines(head, facts, shorten(self.error_message, MAX_TEXT)))

    def _facts(self) -> Iterator[str]:
        if self.duration:  # Keevx sends zeros for a failed task
            yield f"{self.duration:g} s"
        if self.width and self.height:
            yield f"{self.width}x{self.height}"
        if self.language:
            yield shorten(self.language, 30)


FIELDS = tuple(each.name for each in fields(Task) if each.name != "extra")
"""The names of the fields that a task has in Keevx's answers."""


def thumbnail(task: Task, height: int) -> Html:
    """Return the thumbnail of a task, linked to its main result; empty without a thumbnail."""
    image = picture(task.thumbnail_url, height)
    return link(main_result(task), image) or image


def main_result(task: Task) -> str | None:
    """Return the URL of a task's main file, or None until it has succeeded."""
    return next(iter(task.results.values()), None)


def reason(text: object) -> str:
    """Return what a repr ends with: a colon and the text, or nothing for an empty text."""
    return f": {shorten(str(text))}" if text else ""
