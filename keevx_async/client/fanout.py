"""Many items at once: bounded, fed lazily, safe to cancel. Knows nothing of Keevx.

An item has a slot from before it is pulled until its job returns. A job may leave a follow-up (a
wait, a download) that goes on without the slot, so that few creates are in flight and many tasks
are waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from itertools import count
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError
from ..models.outcomes import Counts, Outcome, R_co, fan_out_table
from ..submission.shield import Guard, end_within

T = TypeVar("T")

MAX_FOLLOW_UPS = 10_000
"""Follow-ups at a time, so that a stream of any length takes bounded memory."""
MAX_NOTED_IDS = 1_000
"""Ids that an error's note lists."""
YIELD_EVERY = 64
"""Items after which a worker lets other tasks run, though its items never wait."""

FollowUp = Callable[[Outcome[Any]], Awaitable[None]]
"""Goes on with an outcome once its job has returned."""
Job = Callable[[Outcome[Any], Guard], Awaitable[FollowUp | None]]
"""Works on one item: it fills in the outcome, and runs each paid step under the guard."""


class _Slot:
    """One worker's slot, and the guard of its paid steps: a busy worker is not cancelled.

    After a step that succeeded it stays busy until its outcome has what the step returned.
    Releasing a key may wait, and a cancellation there would lose ids that are paid.
    """

    __slots__ = ("_fan", "busy")

    def __init__(self, fan: FanOut[Any]) -> None:
        self.busy = False
        self._fan = fan

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        self.busy = True
        try:
            return await step
        except BaseException:
            self.busy = False
            if self._fan.stopping and (task := asyncio.current_task()):
                task.cancel()  # no retry: end at the next wait
            raise


class _Feed:
    """Pulls the input one item at a time, numbered; an error of the input ends it."""

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.error: Exception | None = None
        self._numbers = count()
        self._lock = asyncio.Lock()
        self._async = aiter(items) if isinstance(items, AsyncIterable) else None
        self._sync = iter(()) if isinstance(items, AsyncIterable) else iter(items)
        self._ended = False

    async def pull(self) -> Outcome[Any] | None:
        """Return the next item's blank outcome, or None at the end."""
        if self._ended:
            return None
        try:
            if self._async is None:
                item = next(self._sync)
            else:
                item = await self._anext(self._async)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        except Exception as error:  # noqa: BLE001 - raised once what is under way has ended
            self._ended, self.error = True, error
            return None
        return Outcome(next(self._numbers), item)

    async def _anext(self, items: AsyncIterator[Any]) -> Any:
        async with self._lock:  # an async generator refuses two pulls at once
            if self._ended:
                raise StopAsyncIteration
            return await anext(items)


class FanOut(Generic[R_co]):
    """The outcomes of many items.

    Await it for all of them, or iterate over it with ``async for`` to receive each as it ends and
    to hold only what is in flight. Either way it runs once. One bad item leaves the others alone.

    Cancelled, or left early, it starts nothing new; paid steps get ``RetryPolicy.grace`` seconds
    to end, and its lists stay readable.

    Attributes:
        outcomes: what has ended, in input order once complete; when iterated over, what has not
            been yielded yet.
        counts: how many items ended in which way, those yielded included.
        stopping: whether it starts nothing new.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        begin: Callable[[], Job],
        *,
        concurrency: int,
        grace: float,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more (got {concurrency!r})")
        self.outcomes: list[Outcome[R_co]] = []
        self.counts: Counts = Counts(len(items) if isinstance(items, Sequence) else None)
        self.stopping: bool = False
        self._feed = _Feed(items)
        self._begin = begin
        self._job: Job
        self._concurrency = concurrency
        self._grace = grace
        self._workers: dict[asyncio.Task[None], _Slot] = {}
        self._followers: set[asyncio.Task[None]] = set()
        self._follow_up_slots = asyncio.Semaphore(MAX_FOLLOW_UPS)
        self._changed = asyncio.Event()
        self._consumed: asyncio.Event | None = None
        self._running: asyncio.Future[None] | None = None
        self._closing = False

    @property
    def task_ids(self) -> list[str]:
        """The task ids of ``outcomes``, flat: several for a request with several results."""
        return [task_id for outcome in self.outcomes for task_id in outcome.task_ids]

    @property
    def errors(self) -> list[Exception]:
        """The errors of ``outcomes``, one for each item that failed."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]

    def raise_for_errors(self) -> None:
        """Raise what failed, once all items have ended.

        Raises:
            ExceptionGroup: of ``errors``, if there are any.
        """
        if errors := self.errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.outcomes)} items failed", errors)

    def __repr__(self) -> str:
        return f"<FanOut {self.counts}>"

    def _repr_html_(self) -> str:
        return fan_out_table(self.counts, self.outcomes)

    def __await__(self) -> Generator[Any, None, FanOut[R_co]]:
        return self._run_to_end().__await__()

    async def _run_to_end(self) -> FanOut[R_co]:
        running = self._start()
        try:
            try:
                await asyncio.wait({running})
            finally:
                await self.aclose()
                self.outcomes.sort(key=lambda outcome: outcome.index)
            _raise_for(running)
        except BaseException as error:
            if ids := self.task_ids:  # whoever catches the error may have no other way to them
                shown = ", ".join(ids[:MAX_NOTED_IDS])
                error.add_note(f"{len(ids)} task ids were received by then: {shown}")
            raise
        return self

    async def __aiter__(self) -> AsyncGenerator[Outcome[R_co]]:
        running, self._consumed = self._start(), asyncio.Event()
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while not running.done() or self.outcomes:
                while self.outcomes:
                    yield self.outcomes.pop(0)
                self._consumed.set()
                self._changed.clear()
                if not running.done():
                    await self._changed.wait()
        finally:
            await self.aclose()
        _raise_for(running)

    async def aclose(self) -> None:
        """Stop: nothing new starts, and paid steps get their grace to end.

        Cancelled meanwhile it cuts the grace short. Before the start, after the end, and the second
        time nothing happens; a second caller waits along with the first.
        """
        running = self._running
        if running is None or running.done():
            return
        if not self._closing:  # a second caller joins the first: it must not end the grace
            self._closing = running.cancel()
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running})
            raise

    def _start(self) -> asyncio.Future[None]:
        if self._running is not None:
            raise RuntimeError("this FanOut was already awaited or iterated over")
        self._job = self._begin()  # a journal that cannot be opened fails here, once
        self._running = asyncio.ensure_future(self._run())
        return self._running

    async def _run(self) -> None:
        """Work off the input.

        Raises:
            Exception: what the input itself raised, when all that was under way has ended.
        """
        for _ in range(self._concurrency):
            slot = _Slot(self)
            self._workers[asyncio.ensure_future(self._worker(slot))] = slot
        try:
            await asyncio.wait(self._workers)
            while self._followers:
                await asyncio.wait(self._followers)
        except asyncio.CancelledError:
            # Workers between paid steps, and follow-ups, are cancelled at once; workers in a paid
            # step get the grace, and are cancelled after it.
            self.stopping = True
            idle = [task for task, slot in self._workers.items() if not slot.busy]
            for task in (*idle, *self._followers):
                task.cancel()
            await end_within({*self._workers, *self._followers}, self._grace)
            raise
        if self._feed.error is not None:
            raise self._feed.error
        for worker in self._workers:
            worker.result()  # a worker that died must not pass for one that reached the end

    async def _worker(self, slot: _Slot) -> None:
        while not self.stopping and (outcome := await self._feed.pull()):
            await self._run_item(outcome, slot)
            if outcome.index % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _run_item(self, outcome: Outcome[Any], slot: _Slot) -> None:
        """Run one item's job, and start its follow-up."""
        # 1. Cancelled: what was begun is recorded as it stands; what had not begun leaves no
        #    outcome.
        # 2. Failed, or done without a follow-up: it is recorded, and waits for the consumer.
        # 3. A follow-up goes on in a task of its own, unless the fan-out stops.
        follow: FollowUp | None = None
        self.counts.under_way += 1
        try:
            follow = await self._job(outcome, slot)
            if follow is not None:
                await self._follow_up_slots.acquire()
        except asyncio.CancelledError:
            if outcome.error is not None or outcome.task_ids:
                self._record(outcome)
            else:
                self.counts.under_way -= 1
            raise
        except Exception as error:  # noqa: BLE001 - one bad item leaves the others alone
            outcome.error = error
        slot.busy = False
        if follow is None or self.stopping:
            self._record(outcome)
            await self._wait_for_consumer()
            return
        task = asyncio.ensure_future(self._follow(follow, outcome))
        self._followers.add(task)
        # Not in a finally: a task that is cancelled before its first step runs none of its body.
        task.add_done_callback(lambda _: self._record(outcome))
        task.add_done_callback(self._followers.discard)
        task.add_done_callback(lambda _: self._follow_up_slots.release())

    async def _follow(self, follow: FollowUp, outcome: Outcome[Any]) -> None:
        try:
            await follow(outcome)
        except Exception as error:  # noqa: BLE001 - one bad item leaves the others alone
            outcome.error = error
        await self._wait_for_consumer()

    def _record(self, outcome: Outcome[Any]) -> None:
        self.outcomes.append(outcome)
        self.counts.add(outcome)
        self._changed.set()

    async def _wait_for_consumer(self) -> None:
        """When iterated over, wait until the consumer has caught up."""
        full = len(self.outcomes) >= self._concurrency
        if full and self._consumed is not None and not self.stopping:
            self._consumed.clear()
            await self._consumed.wait()


def _raise_for(running: asyncio.Future[None]) -> None:
    if running.cancelled():
        raise ConfigurationError(
            "closed before every item had ended; outcomes holds those that had"
        )
    running.result()
