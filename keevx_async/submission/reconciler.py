"""Settles creates whose response was lost, using the ids that callbacks report."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from attrs import Factory, define

from ..errors import (
    APIError,
    ConfigurationError,
    InvalidRequest,
    KeevxError,
    NotFoundError,
    SubmissionUncertain,
    Violation,
)
from ..http.retry import correlation, error_correlation
from ..journal.protocol import Entry, JournalProtocol, State, partial_reason
from ..models.bounded import BoundedDict
from ..models.kinds import Kind
from ..models.registry import kind_by_name
from ..models.request import Request
from ..models.tasks import Task
from ..settings import is_retryable_status

if TYPE_CHECKING:
    from .callbacks import CallbackReceiver  # imports aiohttp.web, which few need

log = logging.getLogger("keevx_async.submission")

MAX_REPORTED_IDS = 3
"""The maximum number of unrecorded ids that callbacks may report per expected id of a create."""
MAX_REMEMBERED = 10_000
"""The maximum size of each collection in memory: idle creates, owned ids and ended tasks. The
oldest are forgotten."""
MAX_CONFIRMATIONS = 16
"""The maximum number of concurrent status queries that confirm callbacks."""
PAUSES = (0.5, 1.5, 3.0)
"""Seconds to wait before each repeated query for a task that Keevx does not find yet."""
GRACE = 5.0
"""Seconds that running checks get to end when the reconciler is closed."""


class ReconcilerStatistics(NamedTuple):
    """The sizes of a reconciler's in-memory collections.

    Attributes:
        active: the number of creates in progress, and of lost creates that calls wait for.
        idle: the number of lost creates that no call waits for; at most MAX_REMEMBERED.
        owned_ids: the number of ids whose create is remembered; at most MAX_REMEMBERED.
        checks: the number of reported ids that are being confirmed in the background.
    """

    active: int
    idle: int
    owned_ids: int
    checks: int


@define(eq=False)
class _Create:
    """A create, and what callbacks have reported about it.

    Attributes:
        count: the number of ids that the create should have.
        kind: the kind of the create's tasks.
        ids: ids that are known to be the create's, and are recorded if there is a journal.
        confirmed: ids that Keevx confirmed and that may not be recorded yet.
        denied: reported ids that Keevx does not know, or that belong to another create.
        reported: all ids that callbacks reported.
        checking: ids that are being confirmed in the background.
        users: the number of calls that are sending the create or waiting for it.
        making: whether the create is in progress. If so, reported ids are checked when it ends.
        lost: whether the create's response is known to be lost.
        changed: set when ``ids`` grows.
        writing: held while ids are being written to the journal.
    """

    count: int
    kind: Kind
    ids: list[str] = Factory(list[str])
    confirmed: set[str] = Factory(set[str])
    denied: set[str] = Factory(set[str])
    reported: set[str] = Factory(set[str])
    checking: set[str] = Factory(set[str])
    users: int = 0
    making: bool = False
    lost: bool = False
    changed: asyncio.Event = Factory(asyncio.Event)
    writing: asyncio.Lock = Factory(asyncio.Lock)

    @property
    def open(self) -> set[str]:
        """Reported ids that are neither recorded nor denied."""
        return self.reported.difference(self.ids, self.denied)

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The create's ids, including confirmed ids that are not recorded yet."""
        return (*self.ids, *sorted(self.confirmed.difference(self.ids)))


class Reconciler:
    """Receives callbacks: wakes the poller, and records ids that the journal does not have.

    If a genuine callback reports a task and Keevx confirms the task, its create was made, whatever
    the journal says. If the create is uncertain, or counts as refused or not sent, the id is added
    to the create. If the create already has all its ids, it was charged twice, and this is logged.

    A reconciler works only on the event loop on which it was created.

    Args:
        receiver: signs the URLs, and passes on the callbacks.
        query: queries a task's status, with retries, since a callback alone is not trusted.
        wake: polls a task at once.
        journal: stores the ids.
        sleep: waits for the given seconds; tests pass their own.
    """

    def __init__(
        self,
        receiver: CallbackReceiver,
        query: Callable[[str, Kind], Awaitable[Task]],
        wake: Callable[[str], None],
        journal: JournalProtocol,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._receiver = receiver
        self._query = query
        self._wake = wake
        self._journal = journal
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._confirmations = asyncio.Semaphore(MAX_CONFIRMATIONS)
        self._active: dict[str, _Create] = {}
        self._idle: BoundedDict[str, _Create] = BoundedDict(MAX_REMEMBERED)
        self._owners: BoundedDict[str, str] = BoundedDict(MAX_REMEMBERED)
        self._ended: BoundedDict[str, Task] = BoundedDict(MAX_REMEMBERED)
        self._checks: set[asyncio.Task[None]] = set()
        receiver.attach(self.on_callback)

    def statistics(self) -> ReconcilerStatistics:
        """Return the sizes of the reconciler's in-memory collections."""
        return ReconcilerStatistics(
            len(self._active), len(self._idle), len(self._owners), len(self._checks)
        )

    def detach(self) -> None:
        """Stop receiving callbacks. Calling it again has no effect."""
        self._receiver.detach(self.on_callback)

    async def close(self) -> None:
        """Stop receiving callbacks, and give running checks GRACE seconds to end.

        An interrupted check records nothing; Keevx may post its callback again.
        """
        self.detach()
        if self._checks:
            await asyncio.wait(self._checks, timeout=GRACE)
        for check in list(self._checks):
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    def check(self, request: Request) -> None:
        """Refuse a request that sets a callback URL, since every create gets a signed URL.

        Raises:
            InvalidRequest: the request has a callback URL.
        """
        if request.callback_url is not None:
            message = "must not be set when callbacks= is given: every create has its own URL"
            raise InvalidRequest(
                [Violation("callback_url", request.callback_url, "unused", message)]
            )

    @asynccontextmanager
    async def expecting(self, key: str, count: int, kind: Kind) -> AsyncGenerator[str]:
        """Collect the ids that callbacks report for a create while the block sends the create.

        Yield the create's callback URL. The collected ids are checked when the block ends, even if
        it raises.

        Raises:
            InvalidRequest: the key is not valid in a URL, or another create is using the key.
        """
        url = self._receiver.url_for(key)
        create = self._find(key)
        if create is None:
            create = _Create(count, kind)
        elif create.users:
            message = "belongs to another create, whose callbacks are still due; choose another key"
            raise InvalidRequest([Violation("key", key, "unused", message)])
        self._retain(key, create)
        create.making = True
        try:
            yield url
        finally:
            create.making = False
            self._check_open(key, create)
            self._release(key, create)

    def mark_lost(self, key: str) -> None:
        """Check the ids that callbacks reported for a create that has just become uncertain."""
        create = self._active[key]
        create.lost = True
        create.making = False
        self._check_open(key, create)

    async def announced(self, key: str, request: Request) -> tuple[str, ...]:
        """Return the ids that callbacks reported for a create that is about to be sent.

        Usually there are none. If all expected ids are returned, an earlier attempt that counted as
        refused or not sent was accepted after all, and the create must not be sent again.

        Raises:
            SubmissionUncertain: only some ids were reported, or an id cannot be confirmed now.
        """
        create = self._active[key]
        try:
            for task_id in create.open - create.confirmed:
                await self._confirm(key, create, task_id)
        except KeevxError as error:
            reason = f"a callback reported a task, but Keevx could not confirm it: {error}"
            raise SubmissionUncertain(request, key, reason) from error
        ids = create.all_ids
        if ids and len(ids) < request.count:
            raise SubmissionUncertain(request, key, partial_reason(len(ids), request.count), ids)
        return ids

    def confirmed(self, key: str) -> tuple[str, ...]:
        """Return the ids that are known to belong to a create in progress."""
        return self._active[key].all_ids

    def claim_ids(self, key: str, task_ids: Iterable[str]) -> None:
        """Record that ids belong to a create, so callbacks cannot add them to another create."""
        create = self._find(key)
        for task_id in task_ids:
            self._owners[task_id] = key
            if create is not None and task_id not in create.ids:
                create.ids.append(task_id)

    async def on_callback(self, key: str, task_id: str) -> None:
        """Receive one genuine callback: wake the poller, and record the id if it is missing.

        Raises:
            KeevxError: Keevx could not be queried, or the journal could not be written. If the same
                callback arrives again, it is processed again.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("callbacks must be served on their client's event loop")
        # 1. Poll the task at once, if anyone is waiting for it.
        # 2. An id that its create has, or that was reported before, needs nothing more.
        # 3. Limit the unrecorded ids per create: anyone who learns its URL can report many.
        # 4. If the create is still in progress, keep the id and check it when the create ends.
        # 5. Otherwise query Keevx, and record the id if it belongs to this create.
        self._wake(task_id)
        create = self._find(key) or await self._reopen(key, task_id)
        if create is None or task_id in create.reported or task_id in create.ids:
            return
        if len(create.reported.difference(create.ids)) >= MAX_REPORTED_IDS * create.count:
            return
        create.reported.add(task_id)
        if not create.making:
            await self._accept(key, create, task_id)

    async def wait(self, key: str, count: int, kind: Kind) -> tuple[str, ...]:
        """Return the ids of an uncertain create, once callbacks have reported ``count`` of them.

        There is no time limit. If the call is cancelled, the ids reported so far are kept.
        """
        entry = None if self._find(key) else await self._journal.find(key)
        create = self._find(key) or self._remember_lost(key, count, kind, entry)
        self._retain(key, create)
        try:
            while len(create.ids) < count:
                create.changed.clear()
                await create.changed.wait()
            return tuple(create.ids)
        finally:
            self._release(key, create)

    async def ids_so_far(self, key: str) -> tuple[str, ...]:
        """Return a create's recorded ids, even if some are missing."""
        create = self._find(key) or await self._reopen(key)
        return tuple(create.ids) if create else ()

    def end_of(self, task_id: str) -> Task | None:
        """Return a task if a callback reported its end and Keevx confirmed it; otherwise None.

        Each task is returned only once: the poll that the callback triggers then needs no query.
        """
        return self._ended.pop(task_id, None)

    # A create is active while it has users. Afterwards it is idle, if it is lost or still has ids
    # to check. Only idle creates are forgotten, and they can be restored from the journal.

    def _find(self, key: str) -> _Create | None:
        return self._active.get(key) or self._idle.get(key)

    async def _reopen(self, key: str, task_id: str | None = None) -> _Create | None:
        """Restore a create from the journal.

        Return None if the journal has no entry for the key, or if the entry already has the id.
        """
        entry = await self._journal.find(key)
        if entry is None or task_id in entry.task_ids:
            return None
        count = json.loads(entry.body).get("generate_count", 1)
        return self._find(key) or self._remember_lost(key, count, kind_by_name(entry.kind), entry)

    def _remember_lost(self, key: str, count: int, kind: Kind, entry: Entry | None) -> _Create:
        create = _Create(count, kind, [*entry.task_ids] if entry else [], lost=True)
        self._idle[key] = create
        return create

    def _retain(self, key: str, create: _Create) -> None:
        create.users += 1
        self._active[key] = create
        self._idle.pop(key, None)

    def _release(self, key: str, create: _Create) -> None:
        create.users -= 1
        if not create.users:
            del self._active[key]
            if create.lost or create.open:
                self._idle[key] = create

    def _check_open(self, key: str, create: _Create) -> None:
        """Start checking every reported id that is neither recorded nor denied."""

        async def accept(task_id: str) -> None:
            try:
                await self._accept(key, create, task_id)
            except KeevxError as error:
                log.warning(
                    "create %s: could not confirm task %s from a callback: %s",
                    key,
                    task_id,
                    error,
                    extra=error_correlation(key, error),
                )
            finally:
                create.checking.discard(task_id)

        # A lost create is checked as soon as it is known to be lost, and again when it ends.
        for task_id in create.open - create.checking:
            create.checking.add(task_id)
            check = asyncio.create_task(accept(task_id))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _accept(self, key: str, create: _Create, task_id: str) -> None:
        """Add an id to a create and record it, if Keevx confirms the task."""
        try:
            if not await self._confirm(key, create, task_id):
                return
            if create.making:  # the create is being sent again: the id is checked when it ends
                return
            async with create.writing:
                entry = await self._journal.add_ids(key, [task_id], create.count)
                # The id may contradict the journal. If the create has all its ids, it was charged
                # twice. If it is planned or refused, it was made after all.
                before = create.ids if entry is None else entry.task_ids
                if task_id not in before and len(before) >= create.count:
                    ids = ", ".join(before)
                    what = "%s was charged twice: it has %s, and now %s"
                    log.warning(what, key, ids, task_id, extra=correlation(key))
                elif entry is not None and entry.state in (State.PLANNED, State.REFUSED):
                    state = entry.state
                    what = "%s is %s, but it was made: it has task %s"
                    log.warning(what, key, state, task_id, extra=correlation(key))
                if task_id not in create.ids:
                    create.ids.append(task_id)
        except BaseException:
            create.reported.discard(task_id)  # it may be reported again
            raise
        create.changed.set()

    async def _confirm(self, key: str, create: _Create, task_id: str) -> bool:
        """Return whether a task exists and is this create's; claim the task if no create has it."""
        if task_id in create.confirmed:
            return True
        async with self._confirmations:
            task = await self._query_new(task_id, create.kind)
        # The journal takes precedence over this process's memory. An id without an owner belongs to
        # this create from now on.
        if task is not None:
            owner = await self._journal.find_owner(task_id) or self._owners.get(task_id, key)
            if owner == key:
                self._owners[task_id] = key
                create.confirmed.add(task_id)
                if task.done:
                    self._ended[task_id] = task
                return True
        what = "create %s: a callback reported task %s, which does not belong to it"
        log.warning(what, key, task_id, extra=correlation(key))
        create.denied.add(task_id)
        return False

    async def _query_new(self, task_id: str, kind: Kind) -> Task | None:
        """Query a task that may be new; return None if Keevx has no task with that id."""
        for pause in (*PAUSES, None):
            try:
                return await self._query(task_id, kind)
            except NotFoundError:
                if pause is not None:
                    await self._sleep(pause)
            except APIError as error:
                # A subclass, or a transient status, means that the query failed.
                if type(error) is not APIError or is_retryable_status(error.status):
                    raise
                return None
        return None
