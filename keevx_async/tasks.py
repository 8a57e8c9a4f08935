"""What comes back: a task's snapshot, a submission's ids, an item's outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Generic

from attrs import define, frozen

from .requests import Request

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


@frozen(kw_only=True)
class Task:
    """A snapshot of one task, as a status query or a callback told it.

    Source: the vendor's query page. A status not known here is kept as it came, and
    counts as not done.

    Attributes:
        task_id: the vendor's id.
        status: ``PENDING``, ``PROCESSING``, ``SUCCEEDED``, ``FAILED`` or another word.
        video_url: where the video lies, for 7 days.
        thumbnail_url: where its thumbnail lies.
        error_message: why it failed.
        duration: seconds of video.
        width: pixels.
        height: pixels.
    """

    task_id: str
    status: str
    video_url: str | None = None
    thumbnail_url: str | None = None
    error_message: str = ""
    duration: float | None = None
    width: int | None = None
    height: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task ended with a result."""
        return self.status == SUCCEEDED

    @property
    def done(self) -> bool:
        """Whether the task has ended, either way."""
        return self.status in (SUCCEEDED, FAILED)


@frozen
class Submission(Generic[R_co]):
    """One create that Keevx accepted: the request, its key, and the ids of its tasks."""

    request: R_co
    key: str
    task_ids: tuple[str, ...]


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
