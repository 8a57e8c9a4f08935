"""Runs many items at once: bounded, fed lazily, safe to cancel. Knows nothing about Keevx.

An item occupies a slot from before it is pulled until its job returns. A job may return a follow-up
(a wait, a download), which runs without the slot. So only a few creates are in flight while many
tasks are being waited for.

A fan-out ends early in one of two ways:
1. A job stops the feed (`Slot.stop`), for instance because the account has no funds or the budget
   is used up. Nothing new starts, and started items run to their end. The rest of the input is
   pulled only while it may contain items that an earlier run paid for.
2. The fan-out is cancelled or closed. Paid steps get their grace period, and everything else ends
   at once.
In both cases unfinished items are kept, and awaiting the fan-out again resumes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from typing import Any, Generic, cast, overload

from ..errors import ConfigurationError, NotStarted
from ..models.outcomes import Counts, Outcome, R_co, fan_out_table
from ..submission.shield import end_within
from .fuse import not_started
from .inputs import Feed, Items
from .slot import Slot
from .stopped import brief_if_stopped, describe_fan_out, note_ids

MAX_FOLLOW_UPS = 10_000
"""The maximum number of concurrent follow-ups. It limits the memory that a long stream needs."""
YIELD_EVERY = 64
"""A worker yields to other tasks after this many items, even if its items never wait."""

FollowUp = Callable[[Outcome[Any]], Awaitable[None]]
"""Continues work on an item after its job has returned."""


Job = Callable[[Outcome[Any], Slot], Awaitable[FollowUp | None] | None]
"""Processes one item: fills in its outcome, and runs each paid step inside the slot.

It returns an awaitable for the rest of the work, or None if the item has already ended, for example
because an earlier run submitted it. If the outcome already has task ids, the fan-out submitted the
item before it was stopped, and only the follow-up remains.
"""


class FanOut(Generic[R_co]):
    """Runs many items concurrently and collects their outcomes.

    Await the fan-out to get all outcomes. Iterate over it with ``async for`` to get each outcome as
    it ends, and to keep only the items in flight in memory. One bad item does not affect the
    others.

    If the fan-out is cancelled or the loop is left early, nothing new starts. Paid steps get
    ``RetryPolicy.grace`` seconds to end, and the outcomes remain readable. Await the fan-out or
    iterate over it again to resume: the remaining items start, and interrupted waits and downloads
    continue. A complete fan-out returns immediately.

    ``len(fan)``, ``for outcome in fan`` and ``fan[0]`` refer to ``outcomes``.

    Attributes:
        outcomes: the outcomes so far, in input order after an ``await``; with ``async for``, only
            the outcomes that have not been yielded.
        counts: the number of items in each state, including items that were already yielded.
        stopping: whether the fan-out was cancelled or closed, after which nothing new starts.
        stopped_by: the error that stopped the fan-out before the end of its input, such as
            ``InsufficientFunds``; None if there was none. Submitted items still ran to their end;
            ``counts.not_started`` counts the others.
    """

    def __init__(
        self,
        items: Items,
        begin: Callable[[], Job],
        *,
        concurrency: int,
        grace: float,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more (got {concurrency!r})")
        self.outcomes: list[Outcome[R_co]] = []
        self.counts: Counts = Counts(len(items) if isinstance(items, Sequence) else None)
        self.stopping: bool = False
        self.stopped_by: Exception | None = None
        self._feed = Feed(items)
        self._begin = begin
        self._prepare = prepare
        self._job: Job
        self._concurrency = concurrency
        self._grace = grace
        self._workers: dict[asyncio.Task[None], Slot] = {}
        self._followers: dict[asyncio.Task[None], Outcome[R_co]] = {}
        self._follow_up_slots: asyncio.Semaphore
        self._changed: asyncio.Event
        self._consumed: asyncio.Event | None = None
        self._line: asyncio.Lock
        self._running: asyncio.Future[None] | None = None
        self._closing = False
        self._has_more: Callable[[], bool] | None = None
        # Items that were not submitted because of a stop. They are kept here too, because they may
        # have been yielded. There is at most one per worker, unless the rest is still pulled.
        self._not_submitted: list[Outcome[Any]] = []

    @property
    def task_ids(self) -> list[str]:
        """The task ids in ``outcomes``, as a flat list; a request may have several."""
        return [task_id for outcome in self.outcomes for task_id in outcome.task_ids]

    @property
    def errors(self) -> list[Exception]:
        """The errors in ``outcomes``, one for each item that failed."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]

    def raise_for_errors(self) -> None:
        """Raise the errors of the items that failed. Call it once all items have ended.

        Raises:
            ExceptionGroup: at least one item failed. The group contains ``errors``.
        """
        if errors := self.errors:
            failed = sum(1 for error in errors if not isinstance(error, NotStarted))
            left = self.counts.not_started
            rest = f", {left} were not started" if left else ""
            total = self.counts.total or len(self.outcomes)
            raise ExceptionGroup(f"{failed} of {total} items failed{rest}", errors)

    def to_records(self) -> list[dict[str, Any]]:
        """Return ``outcomes`` as flat dicts, for a table: ``pandas.DataFrame(fan.to_records())``.

        Each dict has the request's fields, followed by the outcome's: ``index``, ``key``,
        ``state``, ``task_ids``, ``paths`` and ``urls`` (joined by spaces), and ``error`` (the
        message, or None).
        """
        return [outcome.to_record() for outcome in self.outcomes]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __bool__(self) -> bool:
        return True  # unlike a list, it is true even before it has any outcomes

    def __iter__(self) -> Iterator[Outcome[R_co]]:
        if self._running is None:
            # Otherwise a forgotten `async` would look like an empty input.
            raise RuntimeError("this FanOut has not started: await it, or use 'async for'")
        return iter(tuple(self.outcomes))

    @overload
    def __getitem__(self, index: int) -> Outcome[R_co]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Outcome[R_co]]: ...

    def __getitem__(self, index: int | slice) -> Outcome[R_co] | list[Outcome[R_co]]:
        return self.outcomes[index]

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
                with brief_if_stopped(lambda: describe_fan_out(self.counts)):
                    await asyncio.wait({running})
            finally:
                await self.aclose()
                self.outcomes.sort(key=lambda outcome: outcome.index)
            _raise_for(running)
        except BaseException as error:
            note_ids(error, self.task_ids)
            raise
        return self

    async def __aiter__(self) -> AsyncGenerator[Outcome[R_co]]:
        if self._is_complete():  # as after `await`: the list is left unchanged
            for outcome in self:
                yield outcome
            return
        running, self._consumed = self._start(), asyncio.Event()
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while not running.done() or self.outcomes:
                while self.outcomes:
                    yield self.outcomes.pop(0)
                self._consumed.set()
                self._changed.clear()
                if not running.done():
                    with brief_if_stopped(lambda: describe_fan_out(self.counts)):
                        await self._changed.wait()
        finally:
            await self.aclose()
        _raise_for(running)

    async def aclose(self) -> None:
        """Stop starting new work, and give paid steps their grace period to finish.

        If cancelled, it ends the grace period at once. Closing has no effect before the fan-out
        starts or after it ends. A second caller waits for the same steps.
        """
        running = self._running
        if running is None or running.done():
            return
        if not self._closing:  # a second caller must not cut the grace period short
            self._closing = running.cancel()
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running})
            raise

    @property
    def _pulls(self) -> bool:
        if self.stopping or self.stopped_by is None or self._has_more is None:
            return not self.stopping and self.stopped_by is None
        return self._feed.has_returned or self._has_more()

    def _is_complete(self) -> bool:
        """Return whether the fan-out ran to the end of its input."""
        run = self._running
        return run is not None and run.done() and not run.cancelled() and self.stopped_by is None

    def _start(self) -> asyncio.Future[None]:
        running = self._running
        if running is not None:
            if not running.done():
                raise RuntimeError("this FanOut is already being awaited or iterated over")
            if self._is_complete():
                return running
        self._job = self._begin()  # a journal that cannot be opened fails here, once
        self._resume()
        self._running = asyncio.ensure_future(self._run())
        return self._running

    def _resume(self) -> None:
        """Set up the first run, or a run that resumes unfinished items."""
        unfinished = [outcome for outcome in self.outcomes if outcome.unfinished]
        again = [*self._not_submitted, *unfinished]
        for outcome in again:
            self.counts.remove(outcome)
        indices = {outcome.index for outcome in again}
        self.outcomes = [outcome for outcome in self.outcomes if outcome.index not in indices]
        # Use new outcomes, since callers may hold the old ones. Keep any task ids: their creates
        # were paid for, and only their follow-ups are left.
        self._feed.resume(
            Outcome(each.index, each.request, each.key, each.task_ids)
            if each.task_ids
            else Outcome(each.index, each.request)
            for each in again
        )
        self._not_submitted.clear()
        self.stopping, self.stopped_by, self._closing = False, None, False
        self._has_more = None
        self.counts.not_started = 0
        self._workers, self._consumed = {}, None
        self._follow_up_slots = asyncio.Semaphore(MAX_FOLLOW_UPS)
        self._changed = asyncio.Event()
        self._line = asyncio.Lock()

    def stop_feed(self, reason: Exception, has_more: Callable[[], bool] | None) -> None:
        """Stop the feed. Jobs call this through ``Slot.stop``."""
        # Cancel workers that are uploading, or waiting for a permit or a retry. If nothing more
        # will be pulled, also cancel workers that are pulling. The calling job is not cancelled.
        if self.stopping or self.stopped_by is not None:
            return
        self.stopped_by, self._has_more = reason, has_more
        current = asyncio.current_task()
        for task, slot in self._workers.items():
            if task is not current and not (slot.busy or (slot.pulls and has_more is not None)):
                task.cancel()

    async def _run(self) -> None:
        """Process the input.

        Raises:
            Exception: ``prepare`` or the input raised it. No item is running any more.
        """
        if self._prepare is not None:
            await self._prepare()
        for _ in range(self._concurrency):
            slot = Slot(self)
            self._workers[asyncio.ensure_future(self._worker(slot))] = slot
        try:
            await asyncio.wait(self._workers)
            while self._followers:  # one at a time: waiting for all would keep all in memory
                await asyncio.wait([next(iter(self._followers))])
        except asyncio.CancelledError:
            # Cancel follow-ups, and workers that are not in a paid step, at once. Workers in a paid
            # step get the grace period first.
            self.stopping = True
            idle = [task for task, slot in self._workers.items() if not slot.busy]
            for task in (*idle, *self._followers):
                task.cancel()
            await end_within({*self._workers, *self._followers}, self._grace)
            raise
        if self.stopped_by is not None and self.counts.total is not None:
            # Computed instead of counted, because the rest of the input is not pulled.
            self.counts.not_started = self.counts.total - self.counts.ended
        if self._feed.error is not None:
            raise self._feed.error
        for worker in self._workers:
            if self.stopped_by is None or not worker.cancelled():
                worker.result()  # a worker that died must not look like one that finished

    async def _worker(self, slot: Slot) -> None:
        try:
            while self._pulls:
                slot.pulls = True
                outcome = await self._feed.pull()
                slot.pulls = False
                if outcome is None:
                    break
                if (rest := self._start_item(outcome, slot)) is not None:
                    await self._run_item(outcome, rest, slot)
                elif self._is_ahead:
                    await self._wait_for_consumer()
                if outcome.index % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.stopped_by is None or self.stopping:
                raise

    def _start_item(self, outcome: Outcome[Any], slot: Slot) -> Awaitable[FollowUp | None] | None:
        """Start one item's job. Return the rest of the job, or None if the item has ended."""
        # Many items in a row may come from earlier runs, so they must not cost a coroutine each.
        self.counts.under_way += 1
        try:
            rest = self._job(outcome, slot)
        except Exception as error:  # noqa: BLE001 - one bad item does not affect the others
            outcome.error, rest = error, None
        if rest is None:
            self._record(outcome)
        return rest

    async def _run_item(
        self, outcome: Outcome[Any], rest: Awaitable[FollowUp | None], slot: Slot
    ) -> None:
        """Run the rest of one item's job, and start its follow-up."""
        # 1. Cancelled: record an item that has started as it is. If the fan-out was cancelled, put
        #    back an item that has not started.
        # 2. The feed was stopped before the item started: record it as not started. If the feed is
        #    still pulled, put it back and let its job decide: an earlier run may have made it.
        # 3. The item was in flight when the feed was stopped, and was refused for the same reason:
        #    record it as not started. Only the first refusal is reported.
        # 4. Failed, or done without a follow-up: record it, and wait for the consumer.
        # 5. A follow-up runs in its own task, unless the fan-out is stopping.
        follow: FollowUp | None = None
        try:
            follow = await rest
            if follow is not None:
                await self._follow_up_slots.acquire()
        except asyncio.CancelledError:
            if outcome.error is None and not outcome.task_ids:
                ends = self.stopped_by is None or self.stopping
                if ends or self._has_more is not None:
                    self.counts.under_way -= 1
                    self._feed.undeliver(outcome)
                    if not ends and (task := asyncio.current_task()) and not task.uncancel():
                        return
                    raise
                outcome.error = not_started(cast(Exception, self.stopped_by))
            self._record(outcome)
            raise
        except Exception as error:  # noqa: BLE001 - one bad item does not affect the others
            outcome.error, reason = error, self.stopped_by
            same = type(error) is type(reason) and error is not reason
            if reason is not None and same and outcome.not_submitted:
                outcome.error = not_started(reason)
        slot.busy = False
        if follow is None or self.stopping:
            self._record(outcome)
            if self._is_ahead:
                await self._wait_for_consumer()
            return
        task = asyncio.ensure_future(self._follow(follow, outcome))
        self._followers[task] = outcome
        # Not in a finally: a task that is cancelled before its first step runs none of its body.
        task.add_done_callback(self._on_followed)

    async def _follow(self, follow: FollowUp, outcome: Outcome[Any]) -> None:
        try:
            await follow(outcome)
        except Exception as error:  # noqa: BLE001 - one bad item does not affect the others
            outcome.error = error
        if self._is_ahead:
            await self._wait_for_consumer()

    def _on_followed(self, task: asyncio.Task[None]) -> None:
        self._record(self._followers.pop(task))
        self._follow_up_slots.release()

    def _record(self, outcome: Outcome[Any]) -> None:
        self.outcomes.append(outcome)
        self.counts.add(outcome)
        if outcome.error is not None and outcome.not_submitted:
            self._not_submitted.append(outcome)
        self._changed.set()

    @property
    def _is_ahead(self) -> bool:
        """Whether the maximum number of outcomes is waiting for the consumer."""
        is_full = len(self.outcomes) >= self._concurrency
        return is_full and self._consumed is not None and not self.stopping

    async def _wait_for_consumer(self) -> None:
        """Wait until the consumer has caught up."""
        # Workers wait in line: if all woke at once, each would process one item and wait again.
        # Instead, the first fills the free space, and then goes to the end of the line.
        async with self._line:
            while self._is_ahead:
                consumed = cast(asyncio.Event, self._consumed)
                consumed.clear()
                await consumed.wait()


def _raise_for(running: asyncio.Future[None]) -> None:
    if running.cancelled():
        raise ConfigurationError(
            "closed before all items had ended; those that had ended are in outcomes"
        )
    running.result()
