"""When each task is next asked about. A pure state machine: time comes in as an argument."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from enum import Enum
from typing import Final

from attrs import field, frozen
from attrs.validators import ge, gt


class NotGiven(Enum):
    """Says "not given" where None already means something."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


@frozen(kw_only=True)
class PollPolicy:
    """How tasks are waited for.

    Attributes:
        shortest: seconds; no task is asked about more often.
        longest: seconds; every task is asked about at least this often.
        concurrency: most status queries in flight.
        timeout: seconds that a wait takes at most where the call does not say. The vendor
            says that a generation may take up to 20 minutes.
    """

    shortest: float = field(default=0.25, validator=gt(0))
    longest: float = field(default=30.0, validator=gt(0))
    concurrency: int = field(default=32, validator=ge(1))
    timeout: float | None = 1800.0


class Schedule:
    """Says which tasks are due.

    Args:
        policy: the bounds.
        uniform: returns a number in [0, 1) for the jitter.
    """

    def __init__(self, policy: PollPolicy, uniform: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._uniform = uniform
        self._born: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._born)

    def add(self, task_id: str, born: float, now: float) -> None:
        """Begin to schedule a task that was created at born."""
        self._born[task_id] = born
        self.plan(task_id, now)

    def drop(self, task_id: str) -> None:
        """Forget a task."""
        self._born.pop(task_id, None)

    def plan(self, task_id: str, now: float) -> None:
        """Set when a task is next asked about: the longer it lasts, the more rarely."""
        if task_id not in self._born:
            return
        wanted = 0.2 * (now - self._born[task_id])
        bounded = min(self._policy.longest, max(self._policy.shortest, wanted))
        heapq.heappush(self._heap, (now + bounded * (0.8 + 0.4 * self._uniform()), task_id))

    def due(self, now: float, most: int) -> list[str]:
        """Return and take off at most ``most`` tasks whose time has come."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            task_id = heapq.heappop(self._heap)[1]
            if task_id in self._born:
                found.append(task_id)
        return found

    def next_at(self) -> float | None:
        """Return when the next task is due, or None if none is."""
        while self._heap and self._heap[0][1] not in self._born:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
