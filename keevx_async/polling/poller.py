"""Poll tasks when they are due: one heap and one timer for any number of them.

`Schedule` decides, `Poller` waits: it holds the loop's timer, sends the queries and hands each end
to those who wait for it. It knows nothing of HTTP; the status query is a callable.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    WaitTimeout,
)
from ..events import Emit, Ended, Polled
from ..models.request import Request
from ..models.tasks import Task
from ..settings import PollPolicy, is_retryable_status
from .durations import Durations
from .schedule import Schedule

log = logging.getLogger("keevx_async.polling")

TRANSIENT = (ConnectionFailed, ResponseError, RateLimitError, ServerError)
NEW_WAIT_GRACE = 10.0
"""Seconds from the start of a wait in which "not found" is polled again."""
NEW_TASK_GRACE = 60.0
"""Seconds from a task's creation in which it may not be found yet."""
RESULT_GRACE = 300.0
"""Seconds for which a task that SUCCEEDED without a result is polled before it is given up."""
RESULT_PAUSE = 10.0
"""Longest interval between those polls. The policy's shortest holds all the same, but one that
leaves the end to callbacks must not make this an hour."""
MAX_REGISTERED = 10_000
"""Tasks remembered until they are waited for; the oldest are forgotten, and then have no age."""
MAX_HINTS = 10_000
"""Callbacks remembered for waits that have not begun; the oldest are forgotten."""

End = Task | Exception
Listener = Callable[[str, End], None]


class PollerStatistics(NamedTuple):
    """What a poller keeps now: tasks waited for, and status queries in flight."""

    waiting: int
    in_flight: int


class _Wait:
    """One task that is waited for: who listens, and what is known of it on the loop's clock."""

    __slots__ = ("listeners", "new_until", "resultless_since", "since", "status")

    def __init__(self, since: float, new_until: float) -> None:
        self.listeners: list[Listener] = []
        self.since = since
        self.new_until = new_until
        self.status: str | None = None
        self.resultless_since: float | None = None


class Poller:
    """Waits for tasks on one event loop. A task that two wait for is polled once.

    Args:
        fetch_status: one status query. An error of a passing kind is polled again, any other ends
            the wait.
        policy: the bounds and the effort.
        emit: receives `Polled` for each answer and `Ended` for each end.
        durations: what is known of durations, and where what is learned goes.
    """

    def __init__(
        self,
        fetch_status: Callable[[str], Awaitable[Task]],
        policy: PollPolicy,
        emit: Emit | None = None,
        durations: Durations | None = None,
    ) -> None:
        self._fetch_status = fetch_status
        self._emit = emit
        self._policy = policy
        self._schedule = Schedule(policy, durations)
        # Two dicts of plain values: a tuple for each task would be traced by the garbage collector.
        self._created_at: OrderedDict[str, float] = OrderedDict()
        self._requests: dict[str, Request] = {}
        self._waits: dict[str, _Wait] = {}
        self._polls: set[asyncio.Task[None]] = set()
        self._callback_hints: OrderedDict[str, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def wait_many(
        self, task_ids: Iterable[str], timeout: float | None, done: Sequence[Task] = ()
    ) -> AsyncGenerator[Task]:
        """Yield each task as it ends, in the order of their ends.

        A task that SUCCEEDED without a result is polled for ``RESULT_GRACE`` seconds more, then
        yielded as it is: not done. Closing the generator stops the polls that nobody else waits
        for; a query in flight is completed and its answer ignored.

        Args:
            task_ids: the tasks; a repeated id is yielded once.
            timeout: seconds for all of them together, or None.
            done: tasks that ended before, for `WaitTimeout` to report.

        Raises:
            WaitTimeout: with what is pending, the last status of each, and what has ended.
            KeevxError: a task can no longer be polled, such as one that Keevx does not find;
                raised once the others have ended. A refused key ends all at once.
            ConfigurationError: the client was closed.
        """
        pending = dict.fromkeys(task_ids)
        done, lost = list(done), dict[str, Exception]()
        ends: asyncio.Queue[tuple[str, End]] = asyncio.Queue()

        def listener(task_id: str, end: End) -> None:
            ends.put_nowait((task_id, end))

        for task_id in pending:
            self._add(task_id, listener)
        self._set_timer()
        deadline = None if timeout is None else self._loop.time() + timeout
        try:
            while pending:
                try:
                    async with asyncio.timeout_at(deadline):
                        task_id, end = await ends.get()
                except TimeoutError:
                    statuses = {
                        task_id: wait.status
                        for task_id in pending
                        if (wait := self._waits.get(task_id)) and wait.status is not None
                    }
                    raise WaitTimeout([*lost, *pending], done, statuses) from _first_error(lost)
                del pending[task_id]
                if isinstance(end, Exception):
                    lost[task_id] = end
                else:
                    done.append(end)
                    yield end
        finally:
            for task_id in pending:
                wait = self._waits.get(task_id)
                if wait is not None and listener in wait.listeners:
                    wait.listeners.remove(listener)
                    if not wait.listeners:
                        self._forget(task_id)
        if (error := _first_error(lost)) is not None:
            raise error

    async def close(self) -> None:
        """Cancel the queries in flight, and end every wait with ConfigurationError."""
        if self._timer is not None:
            self._timer.cancel()
        for poll in self._polls:
            poll.cancel()
        for task_id in list(self._waits):
            self._end(task_id, ConfigurationError("the client was closed during the wait"))
        await asyncio.gather(*self._polls, return_exceptions=True)

    def register(self, task_id: str, request: Request, age: float) -> None:
        """Remember what a task was made from, and when, until it is waited for.

        Without this a task is polled at once, and nothing is learned from it.

        Args:
            task_id: the task's.
            request: tasks of requests of one group are expected to take equally long.
            age: seconds since it was created; below 0 where clocks differ, which counts as 0.
        """
        self._created_at[task_id] = self._loop.time() - max(0.0, age)
        self._requests[task_id] = request
        if len(self._created_at) > MAX_REGISTERED:
            self._requests.pop(self._created_at.popitem(last=False)[0])

    def wake(self, task_id: str) -> None:
        """Poll a task at once, or as soon as it is waited for: a callback reported its end.

        The callback is a hint, not proof: only the poll ends the wait. The time of the first hint
        is taken for the time of the end when durations are learned.
        """
        now = self._loop.time()
        self._callback_hints.setdefault(task_id, now)
        if len(self._callback_hints) > MAX_HINTS:
            self._callback_hints.popitem(last=False)
        if task_id in self._waits:
            self._schedule.wake(task_id, now)
            self._set_timer()

    def statistics(self) -> PollerStatistics:
        """Return what is kept now. After the last wait has ended, both numbers return to 0."""
        return PollerStatistics(len(self._waits), len(self._polls))

    def _add(self, task_id: str, listener: Listener) -> None:
        if task_id not in self._waits:
            now = self._loop.time()
            request = self._requests.pop(task_id, None)
            created_at = self._created_at.pop(task_id, None)
            group = request.group if request is not None else ""
            new_until = now if created_at is None else created_at + NEW_TASK_GRACE
            self._waits[task_id] = _Wait(now, new_until)
            self._schedule.add(task_id, group, created_at, now)
            if task_id in self._callback_hints:
                self._schedule.wake(task_id, now)
        self._waits[task_id].listeners.append(listener)

    def _forget(self, task_id: str) -> list[Listener]:
        self._schedule.drop(task_id)
        wait = self._waits.pop(task_id, None)
        return wait.listeners if wait is not None else []

    def _set_timer(self) -> None:
        """Aim the one timer at the next poll; none while as many are in flight as may be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._schedule.next_at()
        if when is not None and len(self._polls) < self._policy.concurrency:
            self._timer = self._loop.call_at(when, self._poll_due)

    def _poll_due(self) -> None:
        def on_done(poll: asyncio.Task[None]) -> None:
            self._polls.discard(poll)
            if not poll.cancelled():
                poll.result()  # a bug in here must not pass in silence
                self._set_timer()

        free = self._policy.concurrency - len(self._polls)
        for task_id in self._schedule.due(self._loop.time(), free):
            poll = self._loop.create_task(self._poll(task_id))
            self._polls.add(poll)
            poll.add_done_callback(on_done)
        self._set_timer()

    async def _poll(self, task_id: str) -> None:
        """Ask for a status once, and act on the answer."""
        try:
            task = await self._fetch_status(task_id)
        except Exception as error:  # noqa: BLE001 - an unexpected error must end the wait, not hang it
            self._on_error(task_id, error)
            return
        if self._emit is not None:
            self._emit(Polled(task_id, task.status))
        now = self._loop.time()
        hint = self._callback_hints.pop(task_id, None)
        is_abandoned = False
        if (wait := self._waits.get(task_id)) is not None:  # None: all who waited have left
            wait.status = task.status
            if not task.lacks_result:
                wait.resultless_since = None
            elif wait.resultless_since is None:
                wait.resultless_since = now
            else:
                is_abandoned = now - wait.resultless_since >= RESULT_GRACE
        # 1. The task runs: plan the next poll.
        # 2. It SUCCEEDED, but its result is missing: plan one soon, for RESULT_GRACE seconds.
        #    A result may lag its status, but one that is lost never comes.
        # 3. It ended, or its result has been missing for too long: learn how long it took, and
        #    hand it to those who wait.
        if not task.done and not is_abandoned:
            within = RESULT_PAUSE if task.lacks_result else math.inf
            self._schedule.plan(task_id, now, within=within)
            return
        self._schedule.ended(task_id, now, hint)
        if self._emit is not None:
            self._emit(Ended(task))
        self._end(task_id, task)

    def _on_error(self, task_id: str, error: Exception) -> None:
        """Decide what a failed query means for the wait."""
        now = self._loop.time()
        wait = self._waits.get(task_id)
        may_appear = wait is not None and (
            now - wait.since < NEW_WAIT_GRACE or now < wait.new_until
        )
        # A subclass of APIError concerns the task or the key, whatever status it came with.
        is_busy = type(error) is APIError and is_retryable_status(error.status)
        is_transient = is_busy or isinstance(error, TRANSIENT)
        # 1. It may pass: a lost connection, an unreadable answer, a 429, a 5xx, a busy status. Plan
        #    the next poll, as if the task were still running. A 429 holds all polls.
        # 2. Not found, but the task is new or the wait has just begun: the same, for Keevx may not
        #    know it yet everywhere.
        # 3. The key is refused: it is refused for every task, so every wait ends.
        # 4. Anything else ends this task's wait.
        if is_transient or (isinstance(error, NotFoundError) and may_appear):
            extra = {"task_id": task_id}
            log.debug("could not poll task %s: %s", task_id, error, extra=extra)
            if isinstance(error, RateLimitError):
                self._schedule.slow_down(now)
            self._schedule.plan(task_id, now, answered=False)
        elif isinstance(error, AuthenticationError):
            for waiting_id in list(self._waits):
                self._end(waiting_id, error)
        else:
            self._end(task_id, error)

    def _end(self, task_id: str, end: End) -> None:
        for listener in self._forget(task_id):
            listener(task_id, end)


def _first_error(lost: Mapping[str, Exception]) -> Exception | None:
    """Return the first error, with a note that names every task whose wait failed."""
    error = next(iter(lost.values()), None)
    # A refused key is one error, raised in many waits: a note would name tasks of the others.
    if error is not None and not isinstance(error, AuthenticationError):
        error.add_note(f"could not wait for: {', '.join(lost)}")
    return error
