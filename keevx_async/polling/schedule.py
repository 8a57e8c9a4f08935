"""When each task is next asked about. A pure state machine: time comes in as an argument."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Hashable
from typing import Final

from ..settings import PollPolicy
from .durations import MAX_GROUPS, MAX_POLL_TIMES, Curve, Durations, Group, Intensity

JITTER: Final = (0.8, 0.4)
"""Least factor on an interval, and the spread above it."""
SELDOM: Final = 1e-9
"""Polls per second below which no bound goes."""
HEADROOM: Final = 0.9
"""Part of the ceiling that is planned for, so that queues stay short."""
COHORT: Final = 0.25
"""Seconds: tasks created this close together are counted as one cohort."""
FIRST_NEWS: Final = 16.0
MOST_NEWS: Final = 160.0
"""News after which a curve is made anew: few at first, so many once much is known."""
END: Final = 8
"""News in an end; a poll is one."""
FIRST_HOLD: Final = 1.0
LONGEST_HOLD: Final = 30.0
POLLED: Final = math.inf
AGAIN: Final = -math.inf


class _Cohort:
    """Tasks of one kind created within the same moment."""

    __slots__ = ("born", "count", "key", "kind", "weight")

    def __init__(self, kind: _Kind, key: int, born: float, weight: float) -> None:
        self.kind = kind
        self.key = key
        self.born = born
        self.weight = weight
        self.count = 0


class _Kind:
    """Tasks whose durations are learned together."""

    __slots__ = ("cohorts", "count", "curve", "group", "news", "patience")

    def __init__(self, group: Group | None, curve: Curve) -> None:
        self.group = group
        self.curve = curve
        self.cohorts: dict[int, _Cohort] = {}
        self.count = 0
        self.news = 0
        self.patience = FIRST_NEWS

    def enter(self, born: float) -> _Cohort:
        """Return the cohort of a new task."""
        key = int(born / COHORT)
        cohort = self.cohorts.get(key)
        weight = self.group.next_weight(self.count) if self.group else 0.0
        if cohort is None:
            cohort = self.cohorts[key] = _Cohort(self, key, born, weight)
        cohort.count += 1
        self.count += 1
        return cohort

    def leave(self, cohort: _Cohort) -> None:
        """Count a task out."""
        self.count -= 1
        cohort.count -= 1
        if not cohort.count:
            del self.cohorts[cohort.key]

    def is_stale(self) -> bool:
        """Whether enough has been heard for a new estimate."""
        return self.news >= max(self.patience, self.count / MAX_POLL_TIMES)

    def relearn(self, intensity: Intensity, now: float) -> None:
        """Make the curve anew."""
        self.news = 0
        self.patience = min(MOST_NEWS, 1.25 * self.patience)
        if self.group:
            alive = ((now - one.born, one.weight, one.count) for one in self.cohorts.values())
            self.curve = intensity.curve(self.group.estimate(alive))


class _Entry:
    """One task: when it was born, last seen alive and is due, and how often it would be asked."""

    __slots__ = ("born", "cohort", "due", "rate", "seen")

    def __init__(self, cohort: _Cohort, born: float) -> None:
        self.cohort = cohort
        self.born = born
        self.seen = born
        self.due = POLLED
        self.rate = 0.0


def intensity_of(policy: PollPolicy) -> Intensity:
    """Return what turns durations into polls within a policy's bounds."""
    most = JITTER[0] / min(policy.shortest, policy.longest)
    least = min(most, max(SELDOM, sum(JITTER) / policy.longest))
    return Intensity(least, most, policy.polls_per_task)


class Schedule:
    """Says which tasks are due.

    Args:
        policy: the bounds and the effort.
        durations: what is known, and where what is learned goes.
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
        self._intensity = intensity_of(policy)
        self._kinds: dict[Hashable, _Kind] = {}
        self._ageless = _Kind(None, self._intensity.prior())
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, str]] = []
        self._wanted = 0.0  # polls per second, were there no ceiling
        self._free_at = -math.inf
        self._held_until = -math.inf
        self._shift = 0.0  # seconds that the heap's clock stood still
        self._hold = FIRST_HOLD

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, task_id: str, group: Hashable, born: float | None, now: float) -> None:
        """Begin to schedule a task.

        Args:
            task_id: the vendor's id; one that is scheduled already is left as it is.
            group: tasks of one group are expected to take alike.
            born: when it was created, at the latest now; None if that is not known, then it is
                asked about at once and nothing is learned from it.
            now: the time.
        """
        if task_id in self._entries:
            return
        kind = self._ageless if born is None else self._kind(group, now)
        since = now if born is None else born
        entry = self._entries[task_id] = _Entry(kind.enter(since), since)
        when = now if born is None else self._next(entry, since)
        if when <= now:
            when = now + self._shortest * self._uniform()
        self._set(task_id, entry, when)

    def drop(self, task_id: str) -> None:
        """Forget a task, learning nothing."""
        entry = self._entries.pop(task_id, None)
        if entry is not None:
            self._wanted = self._wanted - entry.rate if self._entries else 0.0
            entry.cohort.kind.leave(entry.cohort)
            self._tidy()

    def ended(self, task_id: str, now: float, exact: float | None = None) -> None:
        """Forget a task that has ended, and learn how long it took.

        Args:
            task_id: its id.
            now: when the answer came; the end lies between the poll before it and now.
            exact: when it ended, where a callback told.
        """
        entry = self._entries.get(task_id)
        if entry is None:
            return
        kind = entry.cohort.kind
        if kind.group is not None:
            high = max(0.0, (now if exact is None else exact) - entry.born)
            low = entry.seen - entry.born if exact is None else high
            kind.group.observe(entry.cohort.weight, low, high)
            kind.news += END - 1
        self.drop(task_id)
        self._refresh(kind, now)

    def plan(
        self, task_id: str, now: float, *, answered: bool = True, within: float = math.inf
    ) -> None:
        """Set when a task is next asked about.

        Args:
            task_id: its id; one that is not scheduled is ignored.
            now: the time.
            answered: whether a poll just said that it has not ended.
            within: seconds in which that is at the latest, though no sooner than the policy has it.
        """
        entry = self._entries.get(task_id)
        if entry is None:
            return
        if answered:
            entry.seen = max(entry.seen, now)
        woken = entry.due == AGAIN
        self._refresh(entry.cohort.kind, now)
        when = self._soonest(entry, now) if woken else self._next(entry, now)
        self._set(task_id, entry, min(when, now + max(self._shortest, within)))

    def wake(self, task_id: str, now: float) -> None:
        """Make a task due at once, shortest kept; one just being asked about is asked again."""
        entry = self._entries.get(task_id)
        if entry is None:
            return
        if entry.due in (POLLED, AGAIN):
            entry.due = AGAIN
        else:
            self._set(task_id, entry, self._soonest(entry, now))

    def slow_down(self, now: float, seconds: float | None = None) -> None:
        """Hold all polls after a 429, for as long as asked or a doubling while."""
        if now < self._held_until and seconds is None:
            return
        if now > self._held_until + 2.0 * self._hold:
            self._hold = FIRST_HOLD
        until = now + (self._hold if seconds is None else max(0.0, seconds))
        self._hold = min(LONGEST_HOLD, 2.0 * self._hold)
        self._shift += max(0.0, until - max(now, self._held_until))
        self._held_until = max(self._held_until, until)

    def due(self, now: float, most: int) -> list[str]:
        """Return and take off at most ``most`` tasks whose time has come, longest due first."""
        found: list[str] = []
        while len(found) < most:
            when = self.next_at()
            if when is None or when > now:
                break
            task_id = heapq.heappop(self._heap)[1]
            self._entries[task_id].due = POLLED
            found.append(task_id)
            if self._policy.max_rate is not None:
                self._free_at = now + 1.0 / self._policy.max_rate
        return found

    def next_at(self) -> float | None:
        """Return when a task may next be asked about, or None if none is to be."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return max(self._heap[0][0] + self._shift, self._held_until, self._free_at)

    def _kind(self, name: Hashable, now: float) -> _Kind:
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= MAX_GROUPS:
                self._kinds = {key: one for key, one in self._kinds.items() if one.count}
            kind = _Kind(self._durations.group(name), self._intensity.prior())
            kind.relearn(self._intensity, now)
            self._kinds[name] = kind
        return kind

    def _refresh(self, kind: _Kind, now: float) -> None:
        kind.news += 1
        if kind.is_stale():
            kind.relearn(self._intensity, now)

    def _soonest(self, entry: _Entry, now: float) -> float:
        seen = entry.seen > entry.born
        return max(now, entry.seen + self._shortest) if seen else now

    def _next(self, entry: _Entry, since: float) -> float:
        """Return when an entry is next to be asked about if it was last asked at since."""
        age, curve = max(0.0, since - entry.born), entry.cohort.kind.curve
        jitter = JITTER[0] + JITTER[1] * self._uniform()
        wait = curve.after(age, jitter) - age
        wait = min(self._policy.longest, max(self._shortest, wait))
        if self._policy.max_rate is None:
            return since + wait
        ceiling = HEADROOM * self._policy.max_rate
        self._wanted += 1.0 / wait - entry.rate
        entry.rate = 1.0 / wait
        stretch = self._wanted / ceiling
        if stretch > 1.0:
            fair = 1.25 * jitter * len(self._entries) / ceiling
            wait = max(wait, min(fair, curve.after(age, jitter * stretch) - age))
        return since + wait

    def _set(self, task_id: str, entry: _Entry, when: float) -> None:
        entry.due = max(when, self._held_until) - self._shift
        heapq.heappush(self._heap, (entry.due, task_id))
        self._tidy()

    def _is_live(self, item: tuple[float, str]) -> bool:
        entry = self._entries.get(item[1])
        return entry is not None and entry.due == item[0]

    def _tidy(self) -> None:
        """Keep the heap at no more than twice what it must hold."""
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if self._is_live(item)]
            heapq.heapify(self._heap)
