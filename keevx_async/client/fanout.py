"""Many items at once: bounded, lazily fed, cancellation-safe. Knows nothing of Keevx.

An item has a slot from before it is pulled until its work returns. Its work may leave a
follow-up (a wait, a download) that goes on without the slot.
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
from ..models.outcomes import Counts, fan_out_table
from ..models.tasks import Outcome, R_co
from ..submission.submitter import Guard, end_within

T = TypeVar("T")

MAX_FOLLOW_UPS = 10_000
"""Most items whose follow-up goes on at a time, so that a stream of any length stays small."""

MAX_NOTED_IDS = 1_000
_BREATH = 64


FollowUp = Callable[[Outcome[Any]], Awaitable[None]]
Job = Callable[[Outcome[Any], Guard], Awaitable[FollowUp | None]]


class _Slot:
    """One worker's place; also the guard of its paid steps.

    After one that went well it stays busy until its item has what the step returned: letting a
    key go may wait, and a cancellation there would lose ids that are paid.
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
                task.cancel()  # it is not tried again: end at the next wait
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
            item = next(self._sync) if self._async is None else await self._anext(self._async)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        except Exception as error:  # noqa: BLE001 - raised again when what is under way has ended
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

    Await it for all of them, or iterate over it with ``async for`` to have each as it ends
    (then only what is in flight is held). Its lists stay readable after cancellation.

    Attributes:
        outcomes: what has ended, in input order once complete; when iterated over, what has
            not been handed out yet.
        counts: how many have gone which way, those handed out included.
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
            raise ValueError(f"concurrency is {concurrency!r}; it must be 1 or more")
        self.outcomes: list[Outcome[R_co]] = []
        self.counts: Counts = Counts(len(items) if isinstance(items, Sequence) else None)
        self.stopping: bool = False
        self._feed = _Feed(items)
        self._begin = begin
        self._work: Job
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
        """Every task id known, flat."""
        return [one for outcome in self.outcomes for one in outcome.task_ids]

    @property
    def errors(self) -> list[Exception]:
        """What stopped the items that did not go well."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]

    def raise_for_errors(self) -> None:
        """Raise an ExceptionGroup of all errors, if there are any."""
        if errors := self.errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.outcomes)} items failed", errors)

    def __repr__(self) -> str:
        return f"<FanOut {self.counts}>"

    def _repr_html_(self) -> str:
        return fan_out_table(self.counts, self.outcomes)

    def __await__(self) -> Generator[Any, None, FanOut[R_co]]:
        return self._complete().__await__()

    async def _complete(self) -> FanOut[R_co]:
        running = self._start()
        try:
            try:
                await asyncio.wait({running})
            finally:
                await self.aclose()
                self.outcomes.sort(key=lambda outcome: outcome.index)
            _raise_for(running)
        except BaseException as error:
            self._note(error)
            raise
        return self

    def _note(self, error: BaseException) -> None:
        """Say on an error which ids are known: the caller may have no other way to them."""
        if ids := self.task_ids:
            error.add_note(
                f"{len(ids)} task ids were known by then: {', '.join(ids[:MAX_NOTED_IDS])}"
            )

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
        """Stop what is under way: nothing new starts, paid steps end.

        Being cancelled meanwhile ends their grace.
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
        self._work = self._begin()  # what no item could do without fails here, once
        self._running = asyncio.ensure_future(self._run())
        return self._running

    async def _run(self) -> None:
        """Work the input off.

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
            await self._stop()
            raise
        if self._feed.error is not None:
            raise self._feed.error
        for worker in self._workers:
            worker.result()  # one that died must not pass for one that found the input's end

    async def _stop(self) -> None:
        """Start nothing new; let paid steps end within the grace."""
        self.stopping = True
        idle = [task for task, slot in self._workers.items() if not slot.busy]
        for task in (*idle, *self._followers):
            task.cancel()
        await end_within({*self._workers, *self._followers}, self._grace)

    async def _worker(self, slot: _Slot) -> None:
        while not self.stopping and (outcome := await self._feed.pull()):
            await self._run_item(outcome, slot)
            if outcome.index % _BREATH == 0:
                await asyncio.sleep(0)  # items that never wait must not hold the loop

    async def _run_item(self, outcome: Outcome[Any], slot: _Slot) -> None:
        follow: FollowUp | None = None
        self.counts.under_way += 1
        try:
            follow = await self._work(outcome, slot)
            if follow is not None:
                await self._follow_up_slots.acquire()
        except asyncio.CancelledError:
            if outcome.error is not None or outcome.task_ids:  # else it had not begun
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
        else:
            self._spawn(follow, outcome)

    def _spawn(self, follow: FollowUp, outcome: Outcome[Any]) -> None:
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
