"""The schedule of a fleet's polls, in a sorted set in Redis that all workers share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...models.tasks import Task
from ..encoding import join_ids, split_ids
from . import scripts
from .connection import Connection
from .encoding import end_of


class Polled(NamedTuple):
    """The outcome of a poll.

    Attributes:
        task_id: the task's id.
        wait: seconds until the next poll; None if polling ends.
        state: the state for the next poll.
        end: the last snapshot to record, if the task has ended or was abandoned without a result;
            otherwise None.
    """

    task_id: str
    wait: float | None
    state: str
    end: Task | None


class Taken(NamedTuple):
    """Polls that a worker has taken from the queue.

    Attributes:
        polls: each poll's task id and state.
        next_in: seconds until the next poll is due; infinite if none is scheduled.
    """

    polls: list[tuple[str, str]]
    next_in: float


class PollQueue:
    """A fleet's polls. A poll that a worker has taken belongs to that worker until the hold ends.

    Args:
        connection: runs scripts.
        clock: returns seconds since the epoch; used only with ``memory://``, which has no clock.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    async def schedule(self, polls: Iterable[tuple[str, float, str]]) -> None:
        """Schedule each task's first poll. A poll that is already scheduled is left unchanged.

        Args:
            polls: each poll's task id, the seconds until it is due, and its state.
        """
        values: list[str | int] = []
        for task_id, wait, state in polls:
            values += (join_ids([task_id]), _ms(wait), state)
        purpose = "polls could not be scheduled"
        await self._connection.run(purpose, scripts.SCHEDULE_POLLS, "", self._now(), *values)

    async def exchange(self, done: Iterable[Polled], limit: int, hold: float) -> Taken:
        """Write poll outcomes and take due polls, in one round trip.

        Args:
            done: the outcomes to write.
            limit: the maximum number of polls to take.
            hold: seconds after which a taken poll is due again, in case its worker has died.
        """
        values: list[str | int] = []
        for task_id, wait, state, end in done:
            outcome, record = end_of(end)[1:] if end is not None else ("", "")
            values += (join_ids([task_id]), "" if wait is None else _ms(wait), state)
            values += (outcome, record)
        taken, next_in = await self._connection.run(
            "polls could not be written",
            scripts.EXCHANGE_POLLS,
            "",
            self._now(),
            limit,
            _ms(hold),
            *values,
        )
        polls = [(_id_of(task_id), state.decode()) for task_id, state in taken]
        return Taken(polls, next_in / 1000 if next_in >= 0 else math.inf)

    async def find(self, task_ids: Sequence[str]) -> list[str | None]:
        """Return the state of each task's next poll; None for tasks without a scheduled poll."""
        ids = [join_ids([task_id]) for task_id in task_ids]
        purpose = "polls could not be read"
        states = await self._connection.run(purpose, scripts.FIND_POLLS, "", *ids)
        return [state.decode() if state else None for state in states]

    def _now(self) -> int:
        return _ms(self._clock())


def _ms(seconds: float) -> int:
    return max(0, math.ceil(1000 * seconds))


def _id_of(stored: bytes) -> str:
    return split_ids(stored.decode())[0]
