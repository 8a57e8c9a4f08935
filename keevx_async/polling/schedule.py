"""Decide when each task is next polled. A pure state machine: time comes in as an argument.

A task passes through three phases.

1. Waiting: it is in the heap, due at a time that its group's `LearnedCurve` gave.
2. In flight: `due` took it off the heap and its status is being queried. Until `plan`, `ended`
   or `drop` reports the result, it is not due again.
3. Poll again: it was woken while in flight, so its next poll is at once and not by the curve.

Three bounds hold in every phase: no task is polled more often than ``shortest`` allows or, the
ceiling and a 429 aside, more rarely than ``longest``; all polls together keep ``max_rate``, which
stretches everyone's interval rather than starving one task; and a 429 holds all of them.
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
"""Part of the ceiling that is planned for, so that queues stay short."""
FIRST_HOLD: Final = 1.0
MAX_HOLD: Final = 30.0
"""Seconds after a 429 that names none; a hold doubles while 429s go on."""
IN_FLIGHT: Final = math.inf
POLL_AGAIN: Final = -math.inf
"""Due times of tasks that are not in the heap."""


class ScheduleStatistics(NamedTuple):
    """The size of a schedule: tasks, groups with a curve, and entries of the heap, stale or not."""

    tasks: int
    groups: int
    heap: int


class _Entry:
    """One task: its cohort, its times, and the rate at which it would be polled."""

    __slots__ = ("cohort", "created_at", "due", "last_seen", "rate")

    def __init__(self, cohort: Cohort, created_at: float) -> None:
        self.cohort = cohort
        self.created_at = created_at
        self.last_seen = created_at
        self.due = IN_FLIGHT
        self.rate = 0.0


class Schedule:
    """The polls of one event loop.

    Not for several threads. A call for a task that is not scheduled does nothing, so that answers
    which come after `drop` are harmless.

    Args:
        policy: the bounds and the effort.
        durations: what is known of durations, and where what is learned goes.
        uniform: returns a number in [0, 1) for the jitter.
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
        self._wanted = 0.0  # polls per second, were there no ceiling
        self._free_at = -math.inf
        self._held_until = -math.inf
        self._shift = 0.0  # seconds that the heap's clock stood still
        self._hold = FIRST_HOLD

    def __len__(self) -> int:
        return len(self._entries)

    def statistics(self) -> ScheduleStatistics:
        """Return how much is kept: each number stays in proportion to the tasks that wait."""
        return ScheduleStatistics(len(self._entries), len(self._curves), len(self._heap))

    def add(self, task_id: str, group: Hashable, created_at: float | None, now: float) -> None:
        """Begin to schedule a task.

        Args:
            task_id: the vendor's id; one that is scheduled already is left as it is.
            group: tasks of one group are expected to take equally long.
            created_at: at the latest now. None if it is not known: the task is then polled at once
                and nothing is learned from it.
            now: the time.
        """
        if task_id in self._entries:
            return
        if created_at is None:
            curve = self._ageless
        elif (learned := self._curves.get(group)) is not None:
            curve = learned
        else:
            if len(self._curves) >= MAX_GROUPS:  # groups without a task are kept in Durations
                self._curves = {name: c for name, c in self._curves.items() if c.count}
            curve = LearnedCurve(self._durations.group(group), self._intensity)
            self._curves[group] = curve
        since = now if created_at is None else created_at
        entry = self._entries[task_id] = _Entry(curve.add(since), since)
        when = now if created_at is None else self._next(entry, since)
        if when <= now:  # tasks of an earlier run are all overdue: spread their first polls
            when = now + self._shortest * self._uniform()
        self._set(task_id, entry, when)

    def drop(self, task_id: str) -> None:
        """Forget a task, learning nothing."""
        entry = self._entries.pop(task_id, None)
        if entry is not None:
            self._wanted = self._wanted - entry.rate if self._entries else 0.0
            entry.cohort.curve.remove(entry.cohort)
            self._compact()

    def ended(self, task_id: str, now: float, exact: float | None = None) -> None:
        """Forget a task that has ended, and learn how long it took.

        Args:
            task_id: its id.
            now: when the answer came; the task ended between the last poll before it and now.
            exact: when it ended, if a callback reported that.
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
        """Set when a task that still runs is polled next.

        Args:
            task_id: its id.
            now: the time.
            answered: whether a poll has just reported that it runs; False if the poll failed,
                which is no information about its age.
            within: upper bound in seconds; ``shortest`` holds all the same.
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
        """Make a task due at once, ``shortest`` kept; one that is in flight is polled once more."""
        entry = self._entries.get(task_id)
        if entry is None:
            return
        if entry.due in (IN_FLIGHT, POLL_AGAIN):
            entry.due = POLL_AGAIN
        else:
            self._set(task_id, entry, self._earliest(entry, now))

    def slow_down(self, now: float, seconds: float | None = None) -> None:
        """Hold all polls after a 429; their distances from each other are kept.

        Args:
            now: the time.
            seconds: the hold. None takes one of our own: 1 s, doubled while 429s go on, at most
                30 s; during a hold it does nothing, for those polls went out before it.
        """
        # The heap's clock stands still during a hold, so that what was due within it does not
        # come all at once when it ends.
        if now < self._held_until and seconds is None:
            return
        if now > self._held_until + 2.0 * self._hold:
            self._hold = FIRST_HOLD
        until = now + (self._hold if seconds is None else max(0.0, seconds))
        self._hold = min(MAX_HOLD, 2.0 * self._hold)
        self._shift += max(0.0, until - max(now, self._held_until))
        self._held_until = max(self._held_until, until)

    def due(self, now: float, most: int) -> list[str]:
        """Take off at most ``most`` tasks whose time has come, those due for longest first.

        Each is in flight from then on. A ``max_rate`` lets one go at a time.
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
        """Return when `due` will next return a task, or None if none waits."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return max(self._heap[0][0] + self._shift, self._held_until, self._free_at)

    def _earliest(self, entry: _Entry, now: float) -> float:
        is_polled = entry.last_seen > entry.created_at
        return max(now, entry.last_seen + self._shortest) if is_polled else now

    def _next(self, entry: _Entry, since: float) -> float:
        """Return when a task that was polled at ``since`` is polled next."""
        # 1. The curve gives the interval until one more poll is expected, jittered so that tasks
        #    which were created together are not polled together.
        # 2. The policy's shortest and longest interval bound it.
        # 3. If all tasks together want more than the ceiling, each interval is stretched along its
        #    curve by the same factor: tasks that are likely to end keep their preference. A full
        #    round of turns bounds that, so no task waits much longer than its share.
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
        """Whether an item of the heap is a task's own time, and not one that was replaced."""
        entry = self._entries.get(item[1])
        return entry is not None and entry.due == item[0]

    def _compact(self) -> None:
        """Keep the heap at no more than twice what it must hold: replaced times stay in it."""
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if self._is_current(item)]
            heapq.heapify(self._heap)
