"""Computes a run's counts, rate and remaining time. Times are passed as arguments."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum

from keevx_async.errors import SubmissionUncertain
from keevx_async.events import Ended, Event, Paused, Polled, Submitted
from keevx_async.models.outcomes import RESUMABLE_ERRORS
from keevx_async.models.tasks import FAILED_STATUSES, SUCCEEDED

RATE_WINDOW = 30
"""Seconds over which the rate is measured, because a run is slower at its start and its end."""


class Status(StrEnum):
    """The final status of an item."""

    DONE = "done"
    """All results were downloaded or, if nothing is downloaded, all tasks succeeded."""
    FAILED = "failed"
    """The create was refused, a task failed, or no connection could be made."""
    UNCERTAIN = "uncertain"
    """The create was sent but its response was lost; it may have been charged."""
    UNFINISHED = "unfinished"
    """The tasks were created, but a wait or a download was cut short. Continuing is free."""


def status_of(error: Exception | None) -> Status:
    """Return an item's status, given its outcome's error.

    Without an error, the item is done. If the response was lost, the item is uncertain; if the item
    can continue for free, it is unfinished; any other error means that it failed.
    """
    if error is None:
        return Status.DONE
    if isinstance(error, SubmissionUncertain):
        return Status.UNCERTAIN
    return Status.UNFINISHED if isinstance(error, RESUMABLE_ERRORS) else Status.FAILED


class Counters:
    """Counts a run's events and finished items.

    Args:
        total: the number of items in the input.
        now: the time in seconds, on the same clock for all methods.

    Attributes:
        submitted: the number of creates that returned task ids.
        held_until: the time at which the current rate-limit pause ends.
        fleet: the fleet's progress as text; empty without a fleet.
        spent: the amounts made and remaining, as text; empty unless they are shown.
        ended: the number of finished items by status.
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

        Tasks from earlier runs are counted from their first poll.
        """
        return len(self._waiting)

    def on_event(self, event: Event, now: float) -> None:
        """Count a client event; events that affect no count are ignored.

        A repeated event changes only ``submitted`` and ``held_until``.
        """
        if isinstance(event, Submitted):
            self.submitted += 1
            self._waiting.update(event.task_ids)
        elif isinstance(event, Polled) and event.status not in (SUCCEEDED, *FAILED_STATUSES):
            self._waiting.add(event.task_id)  # perhaps from an earlier run
        elif isinstance(event, Ended):
            self._waiting.discard(event.task.task_id)
        elif isinstance(event, Paused):
            self.held_until = now + event.seconds

    def add(self, status: Status, now: float) -> None:
        """Count an item that has ended.

        Call it once for each item; ``now`` is used for the rate.
        """
        self.ended[status] += 1
        self._end_times.append(now)

    def rate(self, now: float) -> float:
        """Return the number of items that ended per second, over the last ``RATE_WINDOW`` seconds.

        In the first second, the rate is the number of finished items, so the first items do not
        inflate it.
        """
        # A run is slow while it starts and while its last items end, so only recent ends count.
        while self._end_times and self._end_times[0] < now - RATE_WINDOW:
            self._end_times.popleft()
        return len(self._end_times) / max(1.0, min(RATE_WINDOW, now - self.started_at))

    def remaining(self, now: float) -> float | None:
        """Return the seconds left at the current rate; None if no item ended in the window."""
        rate = self.rate(now)
        return (self.total - self.ended.total()) / rate if rate else None

    def parts(self) -> list[tuple[str, str]]:
        """Return the counts as short strings, each with its rich style.

        A fleet's counts replace the counts of creates and tasks, which only workers see. Unfinished
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
