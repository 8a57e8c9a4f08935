"""Asks about tasks when the schedule says so: one heap, one timer, however many wait."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

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

log = logging.getLogger("keevx_async")

TRANSIENT = (ConnectionFailed, ResponseError, RateLimitError, ServerError)
MAX_REGISTERED = 10_000
NOT_FOUND_GRACE = 10.0
"""Seconds for which a task that Keevx does not find is asked about again."""
NEW_TASK_GRACE = 60.0
"""Seconds after its creation in which a task that Keevx does not find is thought to be new."""
RESULT_GRACE = 300.0
"""Seconds for which a task that SUCCEEDED without a result is asked about before it is given up."""
RESULT_PAUSE = 10.0
"""Seconds between two such questions at most: no task is asked about more often than the policy
says, but a policy that leaves the end to callbacks must not make this an hour."""
MAX_HINTS = 10_000
"""Callbacks remembered for waits that have not begun; the oldest are forgotten."""

End = Task | Exception
Listener = Callable[[str, End], None]


class Poller:
    """Waits for tasks on one event loop; a task that two wait for is asked about once.

    Args:
        ask: one status query.
        policy: how often.
        emit: told of each answer, and of each end.
        durations: what is known of how long tasks last.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Task]],
        policy: PollPolicy,
        emit: Emit | None = None,
        durations: Durations | None = None,
    ) -> None:
        self._ask = ask
        self._emit = emit
        self._policy = policy
        self._schedule = Schedule(policy, durations)
        # Two, for a pair of both would be one thing more for each run of the garbage collector.
        self._created_at: OrderedDict[str, float] = OrderedDict()
        self._requests: dict[str, Request] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._since: dict[str, float] = {}
        self._statuses: dict[str, str] = {}
        self._resultless: dict[str, float] = {}
        self._new_until: dict[str, float] = {}
        self._polls: set[asyncio.Task[None]] = set()
        self.callback_hints: OrderedDict[str, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def wait_many(
        self, task_ids: Iterable[str], timeout: float | None, done: Sequence[Task] = ()
    ) -> AsyncGenerator[Task]:
        """Yield each task as it ends; done are those that had, should the time run out.

        A task that SUCCEEDED without a result is asked about for RESULT_GRACE seconds more, then
        yielded as it is: not done.

        Raises:
            WaitTimeout: with what is pending, the last status of each, and what had ended.
            KeevxError: Keevx no longer answers about one, or any, of them; raised when the
                others have ended.
        """
        pending = dict.fromkeys(task_ids)
        done, lost = list(done), dict[str, Exception]()
        news: asyncio.Queue[tuple[str, End]] = asyncio.Queue()

        def listener(task_id: str, ended: End) -> None:
            news.put_nowait((task_id, ended))

        for task_id in pending:
            self._add(task_id, listener)
        self._set_timer()
        deadline = None if timeout is None else self._loop.time() + timeout
        try:
            while pending:
                try:
                    async with asyncio.timeout_at(deadline):
                        task_id, ended = await news.get()
                except TimeoutError:
                    statuses = {
                        one: self._statuses[one] for one in pending if one in self._statuses
                    }
                    raise WaitTimeout([*lost, *pending], done, statuses) from _first_error(lost)
                del pending[task_id]
                if isinstance(ended, Exception):
                    lost[task_id] = ended
                else:
                    done.append(ended)
                    yield ended
        finally:
            for task_id in pending:
                self._remove(task_id, listener)
        if (error := _first_error(lost)) is not None:
            raise error

    async def close(self) -> None:
        """Stop asking, and say so to all who wait."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._polls:
            task.cancel()
        for task_id in list(self._listeners):
            self._end(task_id, ConfigurationError("the client was closed during the wait"))
        await asyncio.gather(*self._polls, return_exceptions=True)

    def register(self, task_id: str, request: Request, age: float) -> None:
        """Remember what a task was made from, and when, until it is waited for.

        Args:
            task_id: the task's.
            request: tasks of requests of one group are thought to last alike.
            age: seconds since it was created; below 0 where a clock was wrong, which counts as 0.
        """
        self._created_at[task_id] = self._loop.time() - max(0.0, age)
        self._requests[task_id] = request
        if len(self._created_at) > MAX_REGISTERED:
            self._requests.pop(self._created_at.popitem(last=False)[0])

    def _pop_registered(self, task_id: str) -> tuple[Request | None, float | None]:
        """Return, and forget, what a task was made from, and when."""
        return self._requests.pop(task_id, None), self._created_at.pop(task_id, None)

    def wake(self, task_id: str) -> None:
        """Ask about a task at once, or when it is waited for: a callback hinted that it ended."""
        now = self._loop.time()
        self.callback_hints.setdefault(task_id, now)
        if len(self.callback_hints) > MAX_HINTS:
            self.callback_hints.popitem(last=False)
        if task_id in self._listeners:
            self._schedule.wake(task_id, now)
            self._set_timer()

    def _add(self, task_id: str, listener: Listener) -> None:
        if task_id not in self._listeners:
            now = self._loop.time()
            request, born = self._pop_registered(task_id)
            group = request.group if request is not None else ""
            self._since[task_id] = now
            if born is not None:
                self._new_until[task_id] = born + NEW_TASK_GRACE
            self._listeners[task_id] = []
            self._schedule.add(task_id, group, born, now)
            if task_id in self.callback_hints:
                self._schedule.wake(task_id, now)
        self._listeners[task_id].append(listener)

    def _remove(self, task_id: str, listener: Listener) -> None:
        listeners = self._listeners.get(task_id, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._forget(task_id)

    def _forget(self, task_id: str) -> list[Listener]:
        self._schedule.drop(task_id)
        for known in (self._since, self._statuses, self._resultless, self._new_until):
            known.pop(task_id, None)
        return self._listeners.pop(task_id, [])

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._schedule.next_at()
        if when is not None and len(self._polls) < self._policy.concurrency:
            self._timer = self._loop.call_at(when, self._poll_due)

    def _poll_due(self) -> None:
        free = self._policy.concurrency - len(self._polls)
        for task_id in self._schedule.due(self._loop.time(), free):
            asking = self._loop.create_task(self._poll(task_id))
            self._polls.add(asking)
            asking.add_done_callback(self._on_polled)
        self._set_timer()

    def _on_polled(self, asking: asyncio.Task[None]) -> None:
        self._polls.discard(asking)
        if not asking.cancelled():
            asking.result()
            self._set_timer()

    async def _poll(self, task_id: str) -> None:
        try:
            task = await self._ask(task_id)
        except Exception as error:  # noqa: BLE001 - a surprise must end the wait, not hang it
            self._failed(task_id, error)
            return
        if self._emit is not None:
            self._emit(Polled(task_id, task.status))
        now = self._loop.time()
        hinted = self.callback_hints.pop(task_id, None)
        if task_id in self._listeners:
            self._statuses[task_id] = task.status
        if not task.done and not self._is_given_up(task, now):
            within = RESULT_PAUSE if task.lacks_result else math.inf
            self._schedule.plan(task_id, now, within=within)
            return
        self._schedule.ended(task_id, now, hinted)
        if self._emit is not None:
            self._emit(Ended(task))
        self._end(task_id, task)

    def _is_given_up(self, task: Task, now: float) -> bool:
        """Tell whether a task has been without its result for too long since it SUCCEEDED."""
        if not task.lacks_result:
            self._resultless.pop(task.task_id, None)
            return False
        since = self._resultless.setdefault(task.task_id, now)
        return now - since >= RESULT_GRACE

    def _failed(self, task_id: str, error: Exception) -> None:
        """Go on after a passing fault; end the wait where asking again is of no use."""
        now = self._loop.time()
        waited = now - self._since.get(task_id, now)
        young = waited < NOT_FOUND_GRACE or now < self._new_until.get(task_id, now)
        if _is_retryable(error) or (isinstance(error, NotFoundError) and young):
            log.debug("status of %s: %s", task_id, error)
            if isinstance(error, RateLimitError):
                self._schedule.slow_down(now)
            self._schedule.plan(task_id, now, answered=False)
        elif isinstance(error, AuthenticationError):
            for one in list(self._listeners):  # a refused key is refused for all
                self._end(one, error)
        else:
            self._end(task_id, error)

    def _end(self, task_id: str, ended: End) -> None:
        for listener in self._forget(task_id):
            listener(task_id, ended)


def _first_error(lost: Mapping[str, Exception]) -> Exception | None:
    """Return the first error, which names every task that was not waited for to its end."""
    error = next(iter(lost.values()), None)
    if error is not None and not isinstance(error, AuthenticationError):  # that is all waits' own
        error.add_note(f"not waited for to its end: {', '.join(lost)}")
    return error


def _is_retryable(error: Exception) -> bool:
    if isinstance(error, TRANSIENT):
        return True
    # A subclass tells of the task or of the key, whatever status it came under.
    return type(error) is APIError and is_retryable_status(error.status)
