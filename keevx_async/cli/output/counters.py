"""The counts, rate and remaining time of a run. Times are passed as arguments."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum

from keevx_async.errors import SubmissionUncertain
from keevx_async.events import Ended, Event, Paused, Polled, Submitted
from keevx_async.models.outcomes import RESUMABLE_ERRORS
from keevx_async.models.tasks import FAILED_STATUSES, SUCCEEDED

RATE_WINDOW = 30
"""Seconds over which the rate is measured. A run is slow at its start and its end."""


class Status(StrEnum):
    """How an item ended."""

    DONE = "done"
    """All of its results were downloaded, or its tasks succeeded if nothing is downloaded."""
    FAILED = "failed"
    """It was refused, a task failed, or no connection could be made."""
    UNCERTAIN = "uncertain"
    """Its create was sent but the response was lost; it may have been charged."""
    UNFINISHED = "unfinished"
    """It was created, but a wait or a download was cut short. Continuing is free."""


def status_of(error: Exception | None) -> Status:
    """Return the status of an item from its outcome's error.

    Without an error it is done. If the response was lost it is uncertain, if it can continue for
    free it is unfinished, and with any other error it is failed.
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
        now: the time in seconds, on the same clock for all methods.

    Attributes:
        submitted: the number of creates that returned task ids.
        held_until: when the current rate-limit pause ends.
        fleet: the progress of the fleet that does the work; empty without a fleet.
        spent: what was made and what remains, as text; empty unless it is shown.
        ended: the number of items by status.
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
        """The number of tasks that Keevx is working on, according to events.

        Tasks of earlier runs count from their first poll.
        """
        return len(self._waiting)

    def on_event(self, event: Event, now: float) -> None:
        """Count an event of the client; events that do not affect any count are ignored.

        Repeating an event only changes ``submitted``.
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

        Call it once for each item; the time counts towards the rate.
        """
        self.ended[status] += 1
        self._end_times.append(now)

    def rate(self, now: float) -> float:
        """Return the items that ended per second, over the last ``RATE_WINDOW`` seconds.

        In the first second it is the number of ended items, so the first items do not look like a
        flood.
        """
        # A run is slow while it starts and while its last items end, so only recent ends count.
        while self._end_times and self._end_times[0] < now - RATE_WINDOW:
            self._end_times.popleft()
        return len(self._end_times) / max(1.0, min(RATE_WINDOW, now - self.started_at))

    def remaining(self, now: float) -> float | None:
        """Return the seconds left at the current rate; None if nothing ended in the window."""
        rate = self.rate(now)
        return (self.total - self.ended.total()) / rate if rate else None

    def parts(self) -> list[tuple[str, str]]:
        """Return the counts as short texts, each with its style for rich.

        A fleet's counts replace those of creates and tasks, which only its workers see. Unfinished
        items are shown only if there are any.
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
    """Format items per second: ``2.0/s``, or ``15.0/min`` below one per second."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def format_duration(seconds: float) -> str:
    """Format seconds as ``1:01`` or ``1:00:00``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
