"""Many items at once: bounded, fed lazily, safe to cancel. Knows nothing of Keevx.

An item has a slot from before it is pulled until its job returns. A job may leave a follow-up (a
wait, a download) that goes on without the slot, so that few creates are in flight and many tasks
are waited for.

A fan-out ends early in one of two ways:
1. Its feed is stopped, by a job that has a reason (`Slot.stop`): no account could pay for the rest,
   or the budget is used up. Nothing more is begun; what was begun goes on to its end. The rest is
   pulled only as long as it may hold what an earlier run has paid for.
2. It is cancelled, or closed: paid steps get their grace, and everything else ends at once.
In both cases what is unfinished is kept, and awaiting the fan-out again goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from functools import partial
from typing import Any, Generic, TypeVar, cast, overload

from ..errors import ConfigurationError, NotStarted
from ..http.retry import Retryable
from ..models.outcomes import Counts, Outcome, R_co, fan_out_table
from ..submission.shield import end_within
from .fuse import not_started
from .inputs import Feed, Items
from .stopped import brief_if_stopped, describe_fan_out, note_ids

T = TypeVar("T")

MAX_FOLLOW_UPS = 10_000
"""Follow-ups at a time, so that a stream of any length takes bounded memory."""
YIELD_EVERY = 64
"""Items after which a worker lets other tasks run, though its items never wait."""

FollowUp = Callable[[Outcome[Any]], Awaitable[None]]
"""Goes on with an outcome once its job has returned."""


class Slot:
    """One worker's slot: the guard of its paid steps, and the way to stop the feed.

    A busy worker is not cancelled. After a step that succeeded it stays busy until its outcome has
    what the step returned: releasing a key may wait, and a cancellation there would lose ids that
    are paid.
    """

    __slots__ = ("_fan", "busy", "pulls")

    def __init__(self, fan: FanOut[Any]) -> None:
        self.busy = self.pulls = False
        self._fan = fan

    @property
    def stopped_by(self) -> Exception | None:
        """Why the feed was stopped: this slot's job begins nothing any more."""
        return self._fan.stopped_by

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a paid step to its end and return what it returns, or raise what it raises."""
        self.busy = True
        try:
            return await step
        except BaseException as error:
            self.busy = False
            retries = self.stopped_by is not None and isinstance(error, Retryable)
            if (self._fan.stopping or retries) and (task := asyncio.current_task()):
                task.cancel()  # no retry: end at the next wait
            raise

    def stop(self, reason: Exception, has_more: Callable[[], bool] | None = None) -> None:
        """Stop the feed: no item begins, and nothing more is pulled, unless ``has_more``.

        1. Items in a paid step go on, and so do waits and downloads.
        2. Items that were pulled and have sent nothing end as ``NotStarted``, with this reason.
        3. The item of this slot goes on: its job decides how it ends.

        Args:
            reason: becomes ``FanOut.stopped_by``. A second one changes nothing.
            has_more: while it returns true, items go on being pulled. Their job sends nothing: it
                follows what an earlier run made, and raises ``NotStarted`` for the others.
        """
        self._fan.stop_feed(reason, has_more)


Job = Callable[[Outcome[Any], Slot], Awaitable[FollowUp | None]]
"""Works on one item: it fills in the outcome, and runs each paid step in the slot. An outcome that
has task ids comes from an earlier run of the same fan-out: only its follow-up is left to do."""


class FanOut(Generic[R_co]):
    """The outcomes of many items.

    Await it for all of them, or iterate over it with ``async for`` to receive each as it ends and
    to hold only what is in flight. One bad item leaves the others alone.

    If cancelled or left early, it starts nothing new; paid steps get ``RetryPolicy.grace`` seconds
    to end, and its outcomes stay readable. Awaited or iterated over again after that, it goes on
    with what is unfinished: items that had not begun, waits and downloads that were cut short. A
    complete one is returned at once.

    ``len(fan)``, ``for outcome in fan`` and ``fan[0]`` are of ``outcomes``: what has ended so far.

    Attributes:
        outcomes: what has ended, in input order once complete; when iterated over, what has not
            been yielded yet.
        counts: how many items ended in which way, those yielded included.
        stopping: whether it starts nothing new.
        stopped_by: why its feed was stopped before the end of the input, such as an
            ``InsufficientFunds``; None if it was not. What had been submitted went on to its end,
            the rest is ``counts.not_started``.
    """

    def __init__(
        self,
        items: Items,
        begin: Callable[[], Job],
        *,
        concurrency: int,
        grace: float,
        prepare: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0),  # noqa: B008
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
        self._followers: set[asyncio.Task[None]] = set()
        self._follow_up_slots: asyncio.Semaphore
        self._changed: asyncio.Event
        self._consumed: asyncio.Event | None = None
        self._running: asyncio.Future[None] | None = None
        self._closing = False
        self._has_more: Callable[[], bool] | None = None
        # Items that a stop kept from being submitted. They are kept here too, because they may have
        # been yielded; each worker leaves one at most, unless the rest is still pulled.
        self._not_submitted: list[Outcome[Any]] = []

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
            failed = sum(1 for error in errors if not isinstance(error, NotStarted))
            left = self.counts.not_started
            rest = f", {left} were not started" if left else ""
            total = self.counts.total or len(self.outcomes)
            raise ExceptionGroup(f"{failed} of {total} items failed{rest}", errors)

    def to_records(self) -> list[dict[str, Any]]:
        """Return ``outcomes`` as flat dicts, for a table: ``pandas.DataFrame(fan.to_records())``.

        Each has the fields of its request, then of the outcome: ``index``, ``key``, ``state``,
        ``task_ids``, ``paths`` and ``urls`` (joined by spaces) and ``error`` (a text, or None).
        """
        return [outcome.to_record() for outcome in self.outcomes]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __bool__(self) -> bool:
        return True  # as an object, not as a list: one that has not begun is no false value

    def __iter__(self) -> Iterator[Outcome[R_co]]:
        if self._running is None:
            # A forgotten `async` would otherwise look like an empty input.
            raise RuntimeError("this FanOut has not begun: await it, or use 'async for'")
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
        if self._is_complete():  # as after `await`: nothing is taken out of the list
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

    @property
    def _pulls(self) -> bool:
        if self.stopping or self.stopped_by is None or self._has_more is None:
            return not self.stopping and self.stopped_by is None
        return self._feed.has_returned or self._has_more()

    def _is_complete(self) -> bool:
        """Whether it ran to the end of its input."""
        running = self._running
        ended = running is not None and running.done() and not running.cancelled()
        return ended and self.stopped_by is None

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
        """Set up a run: the first, or one that goes on with what an earlier one left unfinished."""
        unfinished = [outcome for outcome in self.outcomes if outcome.unfinished]
        again = [*self._not_submitted, *unfinished]
        for outcome in again:
            self.counts.remove(outcome)
        indices = {outcome.index for outcome in again}
        self.outcomes = [outcome for outcome in self.outcomes if outcome.index not in indices]
        # Blank outcomes, as those before may have been handed out. One with ids keeps them: its
        # create is paid, and only its follow-up is left.
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

    def stop_feed(self, reason: Exception, has_more: Callable[[], bool] | None) -> None:
        """Begin nothing more; as for ``Slot.stop``, which a job calls."""
        # Cancelled are the workers that upload, or wait for a permit or a retry; and those that
        # pull, where nothing more is pulled. The caller's own job ends by itself.
        if self.stopping or self.stopped_by is not None:
            return
        self.stopped_by, self._has_more = reason, has_more
        current = asyncio.current_task()
        for task, slot in self._workers.items():
            if task is not current and not (slot.busy or (slot.pulls and has_more is not None)):
                task.cancel()

    async def _run(self) -> None:
        """Work off the input.

        Raises:
            Exception: what ``prepare``, or the input itself, raised; all under way has ended.
        """
        await self._prepare()
        for _ in range(self._concurrency):
            slot = Slot(self)
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
        if self.stopped_by is not None and self.counts.total is not None:
            # Not one by one: the rest of the input is not pulled.
            self.counts.not_started = self.counts.total - self.counts.ended
        if self._feed.error is not None:
            raise self._feed.error
        for worker in self._workers:
            if self.stopped_by is None or not worker.cancelled():
                worker.result()  # a worker that died must not pass for one that reached the end

    async def _worker(self, slot: Slot) -> None:
        try:
            while self._pulls:
                slot.pulls = True
                outcome = await self._feed.pull()
                slot.pulls = False
                if outcome is None:
                    break
                await self._run_item(outcome, slot)
                if outcome.index % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.stopped_by is None or self.stopping:
                raise

    async def _run_item(self, outcome: Outcome[Any], slot: Slot) -> None:
        """Run one item's job, and start its follow-up."""
        # 1. Cancelled: what was begun is recorded as it stands. What had not begun leaves no
        #    outcome if the fan-out was cancelled; the feed has it again.
        # 2. The feed was stopped before it began: it is recorded as not started. Where the feed is
        #    still pulled, it goes back, and its job decides: an earlier run may have made it.
        # 3. It was in flight then, and was refused for the same reason, which is not its own:
        #    likewise. The first to be refused stands for all.
        # 4. Failed, or done without a follow-up: it is recorded, and waits for the consumer.
        # 5. A follow-up goes on in a task of its own, unless the fan-out stops.
        follow: FollowUp | None = None
        self.counts.under_way += 1
        try:
            follow = await self._job(outcome, slot)
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
        except Exception as error:  # noqa: BLE001 - one bad item leaves the others alone
            outcome.error, reason = error, self.stopped_by
            same = type(error) is type(reason) and error is not reason
            if reason is not None and same and outcome.not_submitted:
                outcome.error = not_started(reason)
        slot.busy = False
        if follow is None or self.stopping:
            self._record(outcome)
            if self._consumed is not None:
                await self._wait_for_consumer(self._consumed)
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
        if self._consumed is not None:
            await self._wait_for_consumer(self._consumed)

    def _record(self, outcome: Outcome[Any]) -> None:
        self.outcomes.append(outcome)
        self.counts.add(outcome)
        if outcome.error is not None and outcome.not_submitted:
            self._not_submitted.append(outcome)
        self._changed.set()

    async def _wait_for_consumer(self, consumed: asyncio.Event) -> None:
        """Wait until who iterates has caught up."""
        if len(self.outcomes) >= self._concurrency and not self.stopping:
            consumed.clear()
            await consumed.wait()


def _raise_for(running: asyncio.Future[None]) -> None:
    if running.cancelled():
        raise ConfigurationError(
            "closed before every item had ended; outcomes holds those that had"
        )
    running.result()
