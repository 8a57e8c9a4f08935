"""What a run has come to: counts, rate, time left. Time comes in as an argument."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum

from keevx_async.errors import SubmissionUncertain
from keevx_async.events import Ended, Event, Paused, Polled, Submitted
from keevx_async.models.outcomes import RESUMABLE_ERRORS
from keevx_async.models.tasks import FAILED_STATUSES, SUCCEEDED

WINDOW = 30
"""Seconds over which the rate is taken: a run is slow at its start and at its end."""


class Status(StrEnum):
    """What became of an item."""

    DONE = "done"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    UNFINISHED = "unfinished"
    """It was made, and to go on with it costs nothing."""


def status_of(error: Exception | None) -> Status:
    """Return what an outcome's error says of its item."""
    if error is None:
        return Status.DONE
    if isinstance(error, SubmissionUncertain):
        return Status.UNCERTAIN
    return Status.UNFINISHED if isinstance(error, RESUMABLE_ERRORS) else Status.FAILED


class Counters:
    """Counts events and ended items.

    Args:
        total: items expected.
        now: seconds, of any clock that the other methods are given too.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total = total
        self.began = now
        self.submitted = 0
        self.held_until = now
        self.fleet = ""
        """How far the fleet is that does the work, where there is one."""
        self.ended: Counter[Status] = Counter()
        self._waiting: set[str] = set()
        self._ends: deque[float] = deque()

    @property
    def waiting(self) -> int:
        """Tasks that are known to be at work."""
        return len(self._waiting)

    def on_event(self, event: Event, now: float) -> None:
        """Count an event."""
        if isinstance(event, Submitted):
            self.submitted += 1
            self._waiting.update(event.task_ids)
        elif isinstance(event, Polled) and event.status not in (SUCCEEDED, *FAILED_STATUSES):
            self._waiting.add(event.task_id)  # of an earlier run, perhaps
        elif isinstance(event, Ended):
            self._waiting.discard(event.task.task_id)
        elif isinstance(event, Paused):
            self.held_until = now + event.seconds

    def add(self, status: Status, now: float) -> None:
        """Count an item that has ended."""
        self.ended[status] += 1
        self._ends.append(now)

    def rate(self, now: float) -> float:
        """Return how many items ended per second of late."""
        while self._ends and self._ends[0] < now - WINDOW:
            self._ends.popleft()
        return len(self._ends) / max(1.0, min(WINDOW, now - self.began))

    def remaining(self, now: float) -> float | None:
        """Return the seconds it takes at this rate; None where there is none yet."""
        rate = self.rate(now)
        return (self.total - self.ended.total()) / rate if rate else None

    def words(self) -> list[tuple[str, str]]:
        """Return what is counted, each with its colour."""
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
        if self.fleet:
            shown.append((f"fleet: {self.fleet}", ""))
        return shown


def pace(rate: float) -> str:
    """Return a rate as a person reads it."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def span(seconds: float | None) -> str:
    """Return a time as a person reads it."""
    if seconds is None:
        return "-:--"
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
