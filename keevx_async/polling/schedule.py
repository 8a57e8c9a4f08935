"""Decide when each task is polled next. A pure state machine: time is an argument.

A task passes through three phases.

1. Waiting: it is in the heap, due at a time computed from its group's `LearnedCurve`.
2. In flight: `due` took it off the heap and its status is being queried. It is not due again until
   `plan`, `ended` or `drop` reports the result.
3. Poll again: it was woken while in flight, so it is polled once more when the query ends,
   regardless of the curve.

Three bounds apply in every phase. No task is polled more often than ``shortest`` allows. Except
when ``max_rate`` or a 429 delays polls, no task is polled less often than ``longest`` requires.
All polls together respect ``max_rate``, which stretches every interval instead of starving one
task. In addition, a 429 pauses all polls.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from ..settings import PollPolicy
from .durations import MAX_GROUPS, Cohort, Durations, LearnedCurve
from .intensity import JITTER, Intensity

HEADROOM: Final = 0.9
"""The fraction of ``max_rate`` that is scheduled, which keeps queues short."""
FIRST_HOLD: Final = 1.0
MAX_HOLD: Final = 30.0
"""The first and longest pause, in seconds, after a 429 that requests no delay. The pause doubles
while 429s continue."""
IN_FLIGHT: Final = math.inf
POLL_AGAIN: Final = -math.inf
"""Special due times of tasks that are not in the heap."""


class ScheduleStatistics(NamedTuple):
    """A schedule's size: tasks, groups with a curve, and heap entries, including stale entries."""

    tasks: int
    groups: int
    heap: int


class _Entry:
    """One task: its cohort, its times, and its planned poll rate."""

    __slots__ = ("cohort", "created_at", "due", "last_seen", "rate")

    def __init__(self, cohort: Cohort, created_at: float) -> None:
        self.cohort = cohort
        self.created_at = created_at
        self.last_seen = created_at
        self.due = IN_FLIGHT
        self.rate = 0.0


class Schedule:
    """Schedules the polls on one event loop.

    Not thread-safe. A call for a task that is not scheduled has no effect, so responses that arrive
    after `drop` are harmless.

    Args:
        policy: the poll policy.
        durations: the durations learned so far, to which new durations are added.
        uniform: returns a random number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        policy: PollPolicy,
        durations: Durations | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._durations = Durations() if durations is None else durations
        self._uniform = uniform
        self._shortest = min(policy.shortest, policy.longest)
        self._intensity = Intensity.of(policy)
        self._curves: dict[Hashable, LearnedCurve] = {}
        self._ageless = LearnedCurve(None, self._intensity)
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, str]] = []
        self._wanted = 0.0  # polls per second if there were no ceiling
        self._free_at = -math.inf
        self._held_until = -math.inf
        self._shift = 0.0  # seconds for which the heap's clock has stood still
        self._hold = FIRST_HOLD

    def __len__(self) -> int:
        return len(self._entries)

    def statistics(self) -> ScheduleStatistics:
        """Return the schedule's size, which is proportional to the number of waiting tasks."""
        return ScheduleStatistics(len(self._entries), len(self._curves), len(self._heap))

    def add(self, task_id: str, group: Hashable, created_at: float | None, now: float) -> None:
        """Start scheduling a task.

        Args:
            task_id: the vendor's id; a task that is already scheduled is left unchanged.
            group: the task's group. Tasks in the same group are expected to take equally long.
            created_at: the task's creation time, no later than ``now``. None if the time is
                unknown: the task is then polled at once, and nothing is learned from it.
            now: the current time.
        """
        if task_id in self._entries:
            return
        if created_at is None:
            curve = self._ageless
        elif (learned := self._curves.get(group)) is not None:
            curve = learned
        else:
            if len(self._curves) >= MAX_GROUPS:  # Durations keeps the groups without tasks
                self._curves = {name: c for name, c in self._curves.items() if c.count}
            curve = LearnedCurve(self._durations.group(group), self._intensity)
            self._curves[group] = curve
        since = now if created_at is None else created_at
        entry = self._entries[task_id] = _Entry(curve.add(since), since)
        when = now if created_at is None else self._next(entry, since)
        if when <= now:  # tasks from an earlier run are all overdue: spread their first polls
            when = now + self._shortest * self._uniform()
        self._set(task_id, entry, when)

    def drop(self, task_id: str) -> None:
        """Forget a task without learning from it."""
        entry = self._entries.pop(task_id, None)
        if entry is not None:
            self._wanted = self._wanted - entry.rate if self._entries else 0.0
            entry.cohort.curve.remove(entry.cohort)
            self._compact()

    def ended(self, task_id: str, now: float, exact: float | None = None) -> None:
        """Forget a task that has ended, and learn from its duration.

        Args:
            task_id: the task's id.
            now: when the response arrived; the task ended between the previous poll and ``now``.
            exact: the time at which the task ended, if a callback reported the end.
        """
        entry = self._entries.get(task_id)
        if entry is None:
            return
        high = max(0.0, (now if exact is None else exact) - entry.created_at)
        low = entry.last_seen - entry.created_at if exact is None else high
        self.drop(task_id)
        entry.cohort.curve.observe(entry.cohort, now, (low, high))

    def plan(
        self, task_id: str, now: float, *, answered: bool = True, within: float = math.inf
    ) -> None:
        """Schedule the next poll of a task that is still running.

        Args:
            task_id: the task's id.
            now: the current time.
            answered: whether a poll has just reported that the task is running; False if the poll
                failed, which says nothing about the task.
            within: the maximum interval until that poll in seconds; ``shortest`` still applies.
        """
        entry = self._entries.get(task_id)
        if entry is None:
            return
        if answered:
            entry.last_seen = max(entry.last_seen, now)
        entry.cohort.curve.observe(entry.cohort, now)
        when = self._earliest(entry, now) if entry.due == POLL_AGAIN else self._next(entry, now)
        self._set(task_id, entry, min(when, now + max(self._shortest, within)))

    def wake(self, task_id: str, now: float) -> None:
        """Make a task due as soon as ``shortest`` allows; if it is in flight, poll it once more."""
        entry = self._entries.get(task_id)
        if entry is None:
            return
        if entry.due in (IN_FLIGHT, POLL_AGAIN):
            entry.due = POLL_AGAIN
        else:
            self._set(task_id, entry, self._earliest(entry, now))

    def slow_down(self, now: float, seconds: float | None = None) -> None:
        """Pause all polls after a 429, keeping the intervals between them.

        Args:
            now: the current time.
            seconds: the length of the pause. None selects a default: 1 s, doubled while 429s
                continue, up to 30 s. During a pause, None has no effect, because the refused poll
                was sent before the pause.
        """
        # The heap's clock stands still during a pause; otherwise, when the pause ends, all polls
        # that came due in the meantime would be sent at once.
        if now < self._held_until and seconds is None:
            return
        if now > self._held_until + 2.0 * self._hold:
            self._hold = FIRST_HOLD
        until = now + (self._hold if seconds is None else max(0.0, seconds))
        self._hold = min(MAX_HOLD, 2.0 * self._hold)
        self._shift += max(0.0, until - max(now, self._held_until))
        self._held_until = max(self._held_until, until)

    def due(self, now: float, most: int) -> list[str]:
        """Remove and return up to ``most`` tasks that are due, the longest overdue first.

        These tasks are then in flight. With a ``max_rate``, a call returns at most one task.
        """
        task_ids: list[str] = []
        while len(task_ids) < most:
            when = self.next_at()
            if when is None or when > now:
                break
            task_id = heapq.heappop(self._heap)[1]
            self._entries[task_id].due = IN_FLIGHT
            task_ids.append(task_id)
            if self._policy.max_rate is not None:
                self._free_at = now + 1.0 / self._policy.max_rate
        return task_ids

    def next_at(self) -> float | None:
        """Return when `due` will next return a task, or None if no task is waiting."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return max(self._heap[0][0] + self._shift, self._held_until, self._free_at)

    def _earliest(self, entry: _Entry, now: float) -> float:
        is_polled = entry.last_seen > entry.created_at
        return max(now, entry.last_seen + self._shortest) if is_polled else now

    def _next(self, entry: _Entry, since: float) -> float:
        """Return the next poll time of a task that was last polled at ``since``."""
        # 1. The curve gives the interval in which one more poll is expected, with jitter so that
        #    tasks created together are not polled together.
        # 2. The policy's shortest and longest intervals bound it.
        # 3. If all tasks together would exceed the ceiling, each interval is stretched along its
        #    curve by the same factor, so tasks that are likely to end keep their priority. The
        #    stretch is limited to one round of all tasks, so no task waits much longer than that.
        age, curve = max(0.0, since - entry.created_at), entry.cohort.curve
        jitter = JITTER[0] + JITTER[1] * self._uniform()
        wait = curve.next(age, jitter) - age
        wait = min(self._policy.longest, max(self._shortest, wait))
        if self._policy.max_rate is None:
            return since + wait
        ceiling = HEADROOM * self._policy.max_rate
        self._wanted += 1.0 / wait - entry.rate
        entry.rate = 1.0 / wait
        stretch = self._wanted / ceiling
        if stretch > 1.0:
            turn = 1.25 * jitter * len(self._entries) / ceiling
            wait = max(wait, min(turn, curve.next(age, jitter * stretch) - age))
        return since + wait

    def _set(self, task_id: str, entry: _Entry, when: float) -> None:
        entry.due = max(when, self._held_until) - self._shift
        heapq.heappush(self._heap, (entry.due, task_id))
        self._compact()

    def _is_current(self, item: tuple[float, str]) -> bool:
        """Return whether a heap item is a task's current due time rather than a replaced time."""
        entry = self._entries.get(item[1])
        return entry is not None and entry.due == item[0]

    def _compact(self) -> None:
        """Limit the heap, which keeps replaced times, to about twice the number of tasks."""
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if self._is_current(item)]
            heapq.heapify(self._heap)
