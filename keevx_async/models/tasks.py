"""The snapshot of a task, from a status query or a callback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSet
from typing import Any

from attrs import field, fields, frozen

from .converters import HasResults
from .html import Html, Tone, badge, card, code, joined, lines, link, picture, shorten
from .kinds import SUFFIXES

SUCCEEDED = "SUCCEEDED"
"""The status of a task that succeeded; its result may follow a moment later."""
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
"""The statuses that end a task without a result. Add statuses newer than this package:
``FAILED_STATUSES.add("BLOCKED")``. Only FAILED is documented (keevx-api.md, "Query")."""
RUNNING_STATUSES: frozenset[str] = frozenset({"PENDING", "PROCESSING", "GENERATING"})
"""The documented statuses of a task that has not ended (keevx-api.md, "Query")."""
URL_LIFE = 7 * 24 * 3600.0
"""Seconds for which result URLs are valid: 7 days (keevx-api.md, "Query")."""
MAIN_RESULTS = ("video_url", "image_url")
"""A succeeded task has at least one of these fields: captions alone are not a result."""
MAX_TEXT = 300
"""The maximum number of characters of a prompt or error message shown in a notebook."""


@frozen(kw_only=True)
class Task(HasResults):
    """A snapshot of one task, from a status query or a callback. Immutable.

    An unknown status is kept as received, and the task counts as not done. A task that has
    SUCCEEDED without the URL of a video or an image also counts as not done: the result may follow.

    Source: the vendor's query page.

    Attributes:
        task_id: the vendor's id for the task.
        status: ``PENDING``, ``PROCESSING``, ``GENERATING``, ``SUCCEEDED``, ``FAILED`` or another
            status, as received.
        video_url: the URL of the video, valid for 7 days.
        thumbnail_url: the URL of the result's thumbnail.
        error_message: why the task failed; empty otherwise.
        duration: the length of the video in seconds.
        width: the video's width in pixels.
        height: the video's height in pixels.
        image_url: the URL of the image, valid for 7 days; ``image_generate`` only.
        caption_url: the URL of the captions, if the request enabled them; ``video_translate`` only.
        language: the target language; ``video_translate`` only.
        name: the name from the request; ``video_translate`` only.
        extra: the fields that this version does not know, as Keevx sent them.
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

    # A status ends a task in one of two ways: it is in FAILED_STATUSES, or it is SUCCEEDED and
    # there is a result. Every other status, even an unknown one, means "not yet": waiting too long
    # for a task costs a timeout, but giving up too early costs its video.
    @property
    def succeeded(self) -> bool:
        """Whether the task ended with a video or an image."""
        return self.status == SUCCEEDED and any(getattr(self, name) for name in MAIN_RESULTS)

    @property
    def lacks_result(self) -> bool:
        """Whether the status is SUCCEEDED but there is no result yet.

        Keevx may add the result shortly afterwards; a wait continues for a few minutes before
        giving up.
        """
        return self.status == SUCCEEDED and not self.succeeded

    @property
    def done(self) -> bool:
        """Whether the task has ended, with or without a result."""
        return self.succeeded or self.status in FAILED_STATUSES

    @property
    def results(self) -> dict[str, str]:
        """The task's file URLs by field, main file first; empty unless the task has succeeded."""
        urls = ((name, self.result_url(name)) for name in SUFFIXES)
        return {name: url for name, url in urls if url}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as Keevx names them, including ``extra``, without nulls.

        The result is plain JSON. It equals the data from Keevx, except for null or unreadable
        fields.
        """
        fields = {name: getattr(self, name) for name in FIELDS}
        return {
            **self.extra,
            **{name: value for name, value in fields.items() if value is not None},
        }

    def result_url(self, name: str) -> str | None:
        """Return the URL in the named field, or None until the task has succeeded."""
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
"""The names of a task's fields in Keevx's responses."""


def thumbnail(task: Task, height: int) -> Html:
    """Return a task's thumbnail, linked to its main result; empty if it has no thumbnail."""
    image = picture(task.thumbnail_url, height)
    return link(main_result(task), image) or image


def main_result(task: Task) -> str | None:
    """Return the URL of a task's main file, or None until the task has succeeded."""
    return next(iter(task.results.values()), None)


def reason(text: object) -> str:
    """Return the end of a repr: a colon and the text, or an empty string if there is no text."""
    return f": {shorten(str(text))}" if text else ""
