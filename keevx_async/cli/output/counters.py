"""Counts, rate and time left of a run. Time comes in as an argument."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum

from keevx_async.errors import SubmissionUncertain
from keevx_async.events import Ended, Event, Paused, Polled, Submitted
from keevx_async.models.outcomes import RESUMABLE_ERRORS
from keevx_async.models.tasks import FAILED_STATUSES, SUCCEEDED

RATE_WINDOW = 30
"""Seconds over which the rate is taken; a whole run is slow at its start and at its end."""


class Status(StrEnum):
    """The state in which an item left the run."""

    DONE = "done"
    """All its results were downloaded, or all its tasks succeeded where nothing is downloaded."""
    FAILED = "failed"
    """It was refused, a task failed, or no connection was made."""
    UNCERTAIN = "uncertain"
    """Its create was sent and the answer was lost: it may have been paid."""
    UNFINISHED = "unfinished"
    """It was created, and continuing costs nothing: a wait or a download was cut short."""


def status_of(error: Exception | None) -> Status:
    """Classify an item by the error of its outcome.

    No error is done, a lost answer is uncertain, an error after which the item can continue for
    free is unfinished, and every other is failed.
    """
    if error is None:
        return Status.DONE
    if isinstance(error, SubmissionUncertain):
        return Status.UNCERTAIN
    return Status.UNFINISHED if isinstance(error, RESUMABLE_ERRORS) else Status.FAILED


class Counters:
    """Counts the events and the ended items of a run.

    Args:
        total: the number of items in the input.
        now: seconds on any clock, the same for every method.

    Attributes:
        submitted: creates that were answered with task ids.
        held_until: when the current rate-limit pause ends.
        fleet: the progress of the fleet that does the work; empty where there is none.
        spent: what was made and is to come, in words; empty where nobody asked.
        ended: items by their status.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total = total
        self.started_at = now
        self.submitted = 0
        self.held_until = now
        self.fleet = ""
        self.spent = ""
        self.ended: Counter[Status] = Counter()
        self._waiting: set[str] = set()
        self._end_times: deque[float] = deque()

    @property
    def waiting(self) -> int:
        """The number of tasks that Keevx is working on, as far as events say.

        Tasks of earlier runs count from the first time they are polled.
        """
        return len(self._waiting)

    def on_event(self, event: Event, now: float) -> None:
        """Count an event of the client; kinds of events that nothing here shows are ignored.

        The same event twice changes nothing but ``submitted``.
        """
        if isinstance(event, Submitted):
            self.submitted += 1
            self._waiting.update(event.task_ids)
        elif isinstance(event, Polled) and event.status not in (SUCCEEDED, *FAILED_STATUSES):
            self._waiting.add(event.task_id)  # perhaps of an earlier run, and not submitted here
        elif isinstance(event, Ended):
            self._waiting.discard(event.task.task_id)
        elif isinstance(event, Paused):
            self.held_until = now + event.seconds

    def add(self, status: Status, now: float) -> None:
        """Count an item that has ended.

        Called once for each item; the time counts towards the rate.
        """
        self.ended[status] += 1
        self._end_times.append(now)

    def rate(self, now: float) -> float:
        """Return the items that ended per second, over the last ``RATE_WINDOW`` seconds.

        Never divides by less than a second, so that the first items do not look like a flood.
        """
        # A run is slow while it starts, and while its last items end: only recent ends count.
        while self._end_times and self._end_times[0] < now - RATE_WINDOW:
            self._end_times.popleft()
        return len(self._end_times) / max(1.0, min(RATE_WINDOW, now - self.started_at))

    def remaining(self, now: float) -> float | None:
        """Return the seconds left at the current rate.

        None if nothing has ended in the window: there is no rate then.
        """
        rate = self.rate(now)
        return (self.total - self.ended.total()) / rate if rate else None

    def parts(self) -> list[tuple[str, str]]:
        """Return the counts as short texts, each with its colour for rich.

        A fleet's own counts stand in for those of creates and tasks, which its workers see.
        Unfinished items are shown only where there are some.
        """
        ended = self.ended
        own = [(f"{self.submitted:,} submitted", ""), (f"{self.waiting:,} waiting", "")]
        shown = [
            *([] if self.fleet else own),
            (f"{ended[Status.DONE]:,} done", "green"),
            (f"{ended[Status.FAILED]:,} failed", "red" if ended[Status.FAILED] else ""),
            (f"{ended[Status.UNCERTAIN]:,} uncertain", "yellow" * bool(ended[Status.UNCERTAIN])),
        ]
        if ended[Status.UNFINISHED]:
            shown.append((f"{ended[Status.UNFINISHED]:,} unfinished", "yellow"))
        if self.spent:
            shown.append((self.spent, ""))
        if self.fleet:
            shown.append((f"fleet: {self.fleet}", ""))
        return shown


def format_rate(rate: float) -> str:
    """Format items per second: ``2.0/s``, and ``15.0/min`` below one a second."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def format_duration(seconds: float) -> str:
    """Format seconds as ``1:01`` or ``1:00:00``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
