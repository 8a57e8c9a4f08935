"""Creates whose answer was lost, and what callbacks report of them."""

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
    from .callbacks import CallbackReceiver  # brings aiohttp.web along, which few need

log = logging.getLogger("keevx_async.submission")

MAX_REPORTED_IDS = 3
"""Foreign ids that callbacks may name for one create, for each task that it has."""
MAX_REMEMBERED = 10_000
"""Lost creates that nobody waits for, ids and ended tasks kept in memory; the oldest go first."""
MAX_CONFIRMATIONS = 16
"""Status queries that confirm callbacks, at a time."""
PAUSES = (0.5, 1.5, 3.0)
"""Seconds before a task that Keevx does not find is queried again: it may be new."""
GRACE = 5.0
"""Seconds in which closing lets end what has begun."""


class ReconcilerStatistics(NamedTuple):
    """What a reconciler holds in memory.

    Attributes:
        active: creates under way, and lost ones that someone waits for.
        idle: lost creates that nobody waits for; at most MAX_REMEMBERED.
        owned_ids: ids whose create is remembered; at most MAX_REMEMBERED.
        checks: reported ids that are being confirmed in the background.
    """

    active: int
    idle: int
    owned_ids: int
    checks: int


@define(eq=False)
class _Create:
    """What callbacks reported of one create.

    Attributes:
        count: how many ids it has.
        kind: of what kind they are.
        ids: those that are certain to be its own, and written down where there is a journal.
        confirmed: those that Keevx confirmed and that may not be written down yet.
        denied: those that callbacks named and Keevx does not know, or another create has.
        reported: all that callbacks named.
        checking: those that are being confirmed in the background.
        users: who needs it: the create under way, and all who wait for it.
        making: whether it is under way. What callbacks report is then checked when it ends.
        lost: whether its answer is known to be lost.
        changed: set when ids grows.
        writing: held while ids are written.
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
        """What callbacks named that is neither written down nor denied."""
        return self.reported.difference(self.ids, self.denied)

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Its ids, whether or not they are written down."""
        return (*self.ids, *sorted(self.confirmed.difference(self.ids)))


class Reconciler:
    """Receives callbacks: wakes the poller, and records ids that the journal does not have.

    A genuine callback whose task Keevx confirms is evidence that its create was made. It outweighs
    what was assumed: to an uncertain create, or to one that counts as refused or not sent, it adds
    an id; of one that has all its ids it proves that it was paid twice, which is logged.

    It works on the event loop that it was made on.

    Args:
        receiver: signs the URLs, and passes on what is posted to them.
        query: one status query of a kind, repeated as need be: a callback alone is not believed.
        wake: has a task polled at once.
        journal: keeps the ids.
        sleep: waits for some seconds; tests pass their own.
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
        """Return how much it holds in memory."""
        return ReconcilerStatistics(
            len(self._active), len(self._idle), len(self._owners), len(self._checks)
        )

    def detach(self) -> None:
        """Receive no more callbacks. The second time nothing happens."""
        self._receiver.detach(self.on_callback)

    async def close(self) -> None:
        """Receive no more callbacks; give the checks under way GRACE seconds to end.

        A check that is cut short records nothing: Keevx may post that callback again.
        """
        self.detach()
        if self._checks:
            await asyncio.wait(self._checks, timeout=GRACE)
        for check in list(self._checks):
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    def check(self, request: Request) -> None:
        """Refuse a request with a callback URL of its own: its create gets a signed one.

        Raises:
            InvalidRequest: it has one.
        """
        if request.callback_url is not None:
            message = "every create has a callback URL of its own where callbacks= is given"
            raise InvalidRequest(
                [Violation("callback_url", request.callback_url, "unused", message)]
            )

    @asynccontextmanager
    async def expecting(self, key: str, count: int, kind: Kind) -> AsyncGenerator[str]:
        """Remember what callbacks report of a create while the block makes it.

        The block receives the create's callback URL. What was reported meanwhile is checked when
        the block ends, however it ends.

        Raises:
            InvalidRequest: the key cannot stand in a URL, or is another create's right now.
        """
        url = self._receiver.url_for(key)
        create = self._find(key)
        if create is None:
            create = _Create(count, kind)
        elif create.users:
            message = "is another create's, whose callbacks are still due; choose another key"
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
        """Check what callbacks have reported of a create: it is now known to be uncertain."""
        create = self._active[key]
        create.lost = True
        create.making = False
        self._check_open(key, create)

    async def announced(self, key: str, request: Request) -> tuple[str, ...]:
        """Return the ids that callbacks brought of a create that is about to be sent.

        None, as a rule. All of them, where an earlier attempt that counted as refused or not sent
        was made after all: then the create must not be sent again.

        Raises:
            SubmissionUncertain: they brought some of its ids, or one that cannot be confirmed now.
        """
        create = self._active[key]
        try:
            for task_id in create.open - create.confirmed:
                await self._confirm(key, create, task_id)
        except KeevxError as error:
            reason = f"a callback reported a task, and Keevx could not confirm it: {error}"
            raise SubmissionUncertain(request, key, reason) from error
        ids = create.all_ids
        if ids and len(ids) < request.count:
            raise SubmissionUncertain(request, key, partial_reason(len(ids), request.count), ids)
        return ids

    def confirmed(self, key: str) -> tuple[str, ...]:
        """Return the ids of a create under way that are certain to be its own so far."""
        return self._active[key].all_ids

    def claim_ids(self, key: str, task_ids: Iterable[str]) -> None:
        """Remember whose these ids are: no other create gets them from a callback."""
        create = self._find(key)
        for task_id in task_ids:
            self._owners[task_id] = key
            if create is not None and task_id not in create.ids:
                create.ids.append(task_id)

    async def on_callback(self, key: str, task_id: str) -> None:
        """Receive one genuine callback: wake the poller, and record the id if it is missing.

        Raises:
            KeevxError: Keevx could not be asked now, or the journal not be written. The same
                callback may come again and is then processed again.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("serve callbacks on their client's event loop")
        # 1. The task is polled at once, if anyone waits for it.
        # 2. An id that its create has, or that was reported before, needs nothing more.
        # 3. A create has room for so many foreign ids only: whoever learns its URL may name many.
        # 4. A create that is still under way: the id is kept, and checked when it ends.
        # 5. Otherwise Keevx is asked, and the id is recorded if it is this create's.
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
        """Return the ids of an uncertain create, once callbacks have brought count of them.

        It waits without limit; when cancelled, what was brought so far is kept.
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
        """Return the recorded ids of a create, whether or not they are all of them."""
        create = self._find(key) or await self._reopen(key)
        return tuple(create.ids) if create else ()

    def end_of(self, task_id: str) -> Task | None:
        """Hand out, once, an ended task that a callback reported and Keevx confirmed.

        So a poll that the callback woke costs no second query.
        """
        return self._ended.pop(task_id, None)

    # A create is active while it has users, and idle afterwards if it is lost or has ids that are
    # still to be checked. Only idle creates are forgotten, and the journal can bring them back.

    def _find(self, key: str) -> _Create | None:
        return self._active.get(key) or self._idle.get(key)

    async def _reopen(self, key: str, task_id: str | None = None) -> _Create | None:
        """Return a create that only the journal remembers; none, if it has that id already."""
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
        """Check, in the background, every reported id that is neither recorded nor denied."""

        async def accept(task_id: str) -> None:
            try:
                await self._accept(key, create, task_id)
            except KeevxError as error:
                what, extra = "create %s: ", error_correlation(key, error)
                what += "could not confirm task %s from a callback: %s"
                log.warning(what, key, task_id, error, extra=extra)
            finally:
                create.checking.discard(task_id)

        # A create that is lost is checked as soon as that is known, and again when it ends.
        for task_id in create.open - create.checking:
            create.checking.add(task_id)
            check = asyncio.create_task(accept(task_id))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _accept(self, key: str, create: _Create, task_id: str) -> None:
        """Record an id as a create's own, if Keevx confirms that it is."""
        try:
            if not await self._confirm(key, create, task_id):
                return
            if create.making:  # sent again meanwhile: its end checks this id
                return
            async with create.writing:
                entry = await self._journal.add_ids(key, [task_id], create.count)
                # The id may contradict what was assumed: of a create with all its ids it shows that
                # it was paid twice, of one that is planned or refused that it was made.
                before = create.ids if entry is None else entry.task_ids
                if task_id not in before and len(before) >= create.count:
                    ids = ", ".join(before)
                    what = "%s was paid twice: it has %s, and now %s"
                    log.warning(what, key, ids, task_id, extra=correlation(key))
                elif entry is not None and entry.state in (State.PLANNED, State.REFUSED):
                    state = entry.state
                    what = "%s is %s, but was made: it has task %s"
                    log.warning(what, key, state, task_id, extra=correlation(key))
                if task_id not in create.ids:
                    create.ids.append(task_id)
        except BaseException:
            create.reported.discard(task_id)  # it may be reported again
            raise
        create.changed.set()

    async def _confirm(self, key: str, create: _Create, task_id: str) -> bool:
        """Ask Keevx whether there is such a task, and claim it unless it is another create's."""
        if task_id in create.confirmed:
            return True
        async with self._confirmations:
            task = await self._query_new(task_id, create.kind)
        # What the journal has recorded counts more than what this process remembers. An id without
        # an owner is this create's from here on.
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
        """Return a task that may be new; None if Keevx has none of that id."""
        for pause in (*PAUSES, None):
            try:
                return await self._query(task_id, kind)
            except NotFoundError:
                if pause is not None:
                    await self._sleep(pause)
            except APIError as error:
                # A subclass, or a status that passes, is about the query, not about the task.
                if type(error) is not APIError or is_retryable_status(error.status):
                    raise
                return None
        return None
