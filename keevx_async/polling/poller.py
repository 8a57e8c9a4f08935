"""Poll tasks when they are due, with one heap and one timer for any number of tasks.

`Schedule` decides when to poll, and `Poller` polls: it owns the timer, sends the queries and passes
each task's end to its waiters. `Poller` knows nothing about HTTP; the status query is a callable.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
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
"""Seconds from the start of a wait during which a task that is "not found" is polled again."""
NEW_TASK_GRACE = 60.0
"""Seconds from a task's creation during which Keevx may not yet find the task."""
RESULT_GRACE = 300.0
"""Seconds for which a task that SUCCEEDED without a result is polled before the wait gives up."""
RESULT_PAUSE = 10.0
"""The longest interval, in seconds, between polls for a missing result. The policy's shortest
interval still applies, but a policy that relies on callbacks must not stretch this to an hour."""
MAX_REGISTERED = 10_000
"""The maximum number of tasks remembered until a wait for them starts. The oldest are forgotten,
and their ages are then unknown."""
MAX_HINTS = 10_000
"""The maximum number of callbacks remembered for waits that have not started. The oldest are
forgotten."""

End = Task | Exception


class PollerStatistics(NamedTuple):
    """A poller's current load: the tasks being waited for, and the status queries in flight."""

    waiting: int
    in_flight: int


class _Wait:
    """A task being waited for: its listeners, its status, and its times on the loop's clock."""

    __slots__ = ("listeners", "new_until", "resultless_since", "since", "status")

    def __init__(self, since: float, new_until: float) -> None:
        self.listeners: list[Ends] = []
        self.since = since
        self.new_until = new_until
        self.status: str | None = None
        self.resultless_since: float | None = None


class Poller:
    """Waits for tasks on one event loop. A task with several waiters is polled once.

    Args:
        fetch_status: sends one status query. After a temporary error the task is polled again; any
            other error ends the wait.
        policy: the poll policy.
        emit: receives `Polled` for each response and `Ended` for each task that ends.
        durations: the durations learned so far, to which new durations are added.
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
        # Most tasks of a large run are registered and not waited for here, so they are only
        # queued. Once a wait starts, they are moved to two dicts by id. The dicts have plain
        # values, because the garbage collector would trace a tuple for each task.
        self._registered: deque[tuple[str, Request, float]] = deque(maxlen=MAX_REGISTERED)
        self._created_at: OrderedDict[str, float] = OrderedDict()
        self._requests: dict[str, Request] = {}
        self._waits: dict[str, _Wait] = {}
        self._polls: set[asyncio.Task[None]] = set()
        self._callback_hints: OrderedDict[str, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def wait_many(
        self, task_ids: Iterable[str], timeout: float | None, done: Sequence[Task] = ()
    ) -> Ends:
        """Return an iterator that yields the tasks in the order in which they end.

        A task that SUCCEEDED without a result is polled for another ``RESULT_GRACE`` seconds, then
        yielded although it is not ``done``.

        Args:
            task_ids: the ids of the tasks; a task whose id is repeated is yielded once.
            timeout: the maximum time to wait for all the tasks together, in seconds; None for no
                limit.
            done: tasks that ended earlier, for `WaitTimeout` to report.
        """
        ends = Ends(self, task_ids, timeout, done)
        for task_id in ends.pending:
            self._add(task_id, ends)
        self._set_timer()
        return ends

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
        """Remember a task's request and age until a wait for the task starts.

        A task that was not registered is polled at once, and nothing is learned from it.

        Args:
            task_id: the task's id.
            request: the request that made the task; its group determines the expected duration.
            age: seconds since the task was created. A negative age, which is possible if clocks
                differ, counts as 0.
        """
        self._registered.append((task_id, request, self._loop.time() - max(0.0, age)))

    def wake(self, task_id: str) -> None:
        """Poll a task at once, or when a wait for it starts, because a callback reported its end.

        The callback is a hint, not proof: only a poll ends the wait. When the duration is learned,
        the time of the first hint counts as the time of the end.
        """
        now = self._loop.time()
        self._callback_hints.setdefault(task_id, now)
        if len(self._callback_hints) > MAX_HINTS:
            self._callback_hints.popitem(last=False)
        if task_id in self._waits:
            self._schedule.wake(task_id, now)
            self._set_timer()

    def statistics(self) -> PollerStatistics:
        """Return the current load. Once the last wait has ended, both numbers return to 0."""
        return PollerStatistics(len(self._waits), len(self._polls))

    def status_of(self, task_id: str) -> str | None:
        """Return the last known status of a task being waited for, or None if it is unknown."""
        wait = self._waits.get(task_id)
        return wait.status if wait is not None else None

    def leave(self, ends: Ends) -> None:
        """Stop polling a wait's pending tasks, except those that another wait includes too."""
        for task_id in ends.pending:
            wait = self._waits.get(task_id)
            if wait is not None and ends in wait.listeners:
                wait.listeners.remove(ends)
                if not wait.listeners:
                    self._forget(task_id)

    def _add(self, task_id: str, listener: Ends) -> None:
        if task_id not in self._waits:
            now = self._loop.time()
            self._sort_registered()
            request = self._requests.pop(task_id, None)
            created_at = self._created_at.pop(task_id, None)
            group = request.group if request is not None else ""
            new_until = now if created_at is None else created_at + NEW_TASK_GRACE
            self._waits[task_id] = _Wait(now, new_until)
            self._schedule.add(task_id, group, created_at, now)
            if task_id in self._callback_hints:
                self._schedule.wake(task_id, now)
        self._waits[task_id].listeners.append(listener)

    def _sort_registered(self) -> None:
        while self._registered:
            task_id, request, created_at = self._registered.popleft()
            self._created_at[task_id] = created_at
            self._requests[task_id] = request
            if len(self._created_at) > MAX_REGISTERED:
                self._requests.pop(self._created_at.popitem(last=False)[0])

    def _forget(self, task_id: str) -> list[Ends]:
        self._schedule.drop(task_id)
        wait = self._waits.pop(task_id, None)
        return wait.listeners if wait is not None else []

    def _set_timer(self) -> None:
        """Set the timer for the next poll, unless the maximum number of queries is in flight."""
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
                poll.result()  # a bug in this module must not pass silently
                self._set_timer()

        free = self._policy.concurrency - len(self._polls)
        for task_id in self._schedule.due(self._loop.time(), free):
            poll = self._loop.create_task(self._poll(task_id))
            self._polls.add(poll)
            poll.add_done_callback(on_done)
        self._set_timer()

    async def _poll(self, task_id: str) -> None:
        """Query a task's status once, and act on the response."""
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
        if (wait := self._waits.get(task_id)) is not None:  # None: nobody waits for it any longer
            wait.status = task.status
            if not task.lacks_result:
                wait.resultless_since = None
            elif wait.resultless_since is None:
                wait.resultless_since = now
            else:
                is_abandoned = now - wait.resultless_since >= RESULT_GRACE
        # 1. The task is running: plan the next poll.
        # 2. It SUCCEEDED, but its result is missing: poll again soon, for RESULT_GRACE seconds. A
        #    result may lag its status, but a lost result never arrives.
        # 3. It ended, or its result has been missing for too long: learn its duration, and pass the
        #    task to its waiters.
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
        # A subclass of APIError concerns the task or the key, whatever its status.
        is_busy = type(error) is APIError and is_retryable_status(error.status)
        is_transient = is_busy or isinstance(error, TRANSIENT)
        # 1. It is temporary: a lost connection, an unreadable response, a 429, a 5xx, a busy
        #    status. Plan the next poll, as if the task were still running. A 429 pauses all polls.
        # 2. Not found, but the task is new or the wait has just started: the same, because parts
        #    of Keevx may not know the task yet.
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
            listener.put(task_id, end)


class Ends:
    """One wait for tasks: an async iterator that yields them in the order in which they end.

    Use it in a ``with`` block: on exit, tasks without other waiters are no longer polled, and the
    response to a query in flight is ignored. The same happens if the iteration is cancelled.

    This is neither a generator nor a queue, because 10,000 waits at a time are normal, and each
    generator or queue would take kilobytes.

    Iterating raises one of these errors, once:
        WaitTimeout: the time ran out. Contains the pending ids, their last statuses, and the
            tasks that have ended.
        KeevxError: a task can no longer be polled, for example because Keevx does not find the
            task; raised after the other tasks have ended. A refused key ends all waits at once.
        ConfigurationError: the client was closed.

    Args:
        poller: polls the tasks.
        task_ids: see ``Poller.wait_many``.
        timeout: see ``Poller.wait_many``.
        done: see ``Poller.wait_many``.

    Attributes:
        pending: the ids of the tasks that have not been yielded.
    """

    __slots__ = (
        "_arrived",
        "_done",
        "_expired",
        "_lost",
        "_poller",
        "_ready",
        "_timer",
        "_waiter",
        "pending",
    )

    def __init__(
        self,
        poller: Poller,
        task_ids: Iterable[str],
        timeout: float | None,
        done: Sequence[Task],
    ) -> None:
        self.pending = dict.fromkeys(task_ids)
        self._poller = poller
        self._done = [*done]
        self._lost: dict[str, Exception] | None = None
        self._arrived: list[tuple[str, End]] = []
        self._ready: list[tuple[str, End]] = []  # earlier arrivals, in reverse order
        self._waiter: asyncio.Future[None] | None = None
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._expire)

    def __enter__(self) -> Ends:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __aiter__(self) -> Ends:
        return self

    async def __anext__(self) -> Task:
        while self.pending:
            if not self._ready:
                while not self._arrived:
                    if self._expired:
                        error = self._timeout()
                        self._close()
                        raise error
                    self._waiter = asyncio.get_running_loop().create_future()
                    try:
                        await self._waiter
                    except asyncio.CancelledError:
                        self._close()
                        raise
                self._ready, self._arrived = self._arrived[::-1], []
            task_id, end = self._ready.pop()
            del self.pending[task_id]
            if isinstance(end, Task):
                self._done.append(end)
                return end
            self._lost = self._lost or {}
            self._lost[task_id] = end
        self._close()
        lost, self._lost = self._lost, None
        if (cause := _first_error(lost or {})) is not None:
            raise cause
        raise StopAsyncIteration

    def put(self, task_id: str, end: End) -> None:
        """Deliver the end of a task: its last snapshot, or the error that ended its wait."""
        self._arrived.append((task_id, end))
        self._wake()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._poller.leave(self)

    def _expire(self) -> None:
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _timeout(self) -> WaitTimeout:
        lost = self._lost or {}
        statuses = {
            task_id: status
            for task_id in self.pending
            if (status := self._poller.status_of(task_id)) is not None
        }
        error = WaitTimeout([*lost, *self.pending], self._done, statuses)
        error.__cause__ = _first_error(lost)
        return error


def _first_error(lost: Mapping[str, Exception]) -> Exception | None:
    """Return the first error, with a note that lists every task whose wait failed."""
    error = next(iter(lost.values()), None)
    # A refused key is one error raised in many waits: a note would list tasks from other waits.
    if error is not None and not isinstance(error, AuthenticationError):
        error.add_note(f"could not wait for: {', '.join(lost)}")
    return error
