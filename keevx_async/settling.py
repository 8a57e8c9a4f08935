"""Creates whose answer was lost, and what callbacks tell of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from .errors import (
    APIError,
    ConfigurationError,
    InvalidRequest,
    KeevxError,
    NotFoundError,
    Violation,
)
from .family import kind_by_name
from .journal import Entry, JournalProtocol, State
from .kinds import Kind
from .tasks import Task

if TYPE_CHECKING:
    from .callbacks import CallbackReceiver  # brings aiohttp.web along, which few need

log = logging.getLogger("keevx_async")

MOST_TOLD = 3
"""Ids that callbacks may tell of one create, for each task that it has."""
REMEMBERED = 10_000
"""Lost creates that nobody waits for, ids and ends kept in memory; the oldest go first."""
PARALLEL = 16
"""Status queries about what callbacks told, at a time."""
PAUSES = (0.5, 1.5, 3.0)
"""Seconds before a task that Keevx does not find is asked about again: it may be new."""
GRACE = 5.0
"""Seconds in which closing lets end what has begun."""


@define(eq=False)
class _Create:
    """What callbacks told of one create.

    Attributes:
        count: how many ids it has.
        kind: of what kind they are.
        ids: those that Keevx confirmed.
        told: those that callbacks named, confirmed, denied or not asked about yet.
        users: who needs it: the create under way, and all who wait for it.
        lost: whether its answer is known to be lost.
        news: set when ids grows.
        writing: held while ids are written.
    """

    count: int
    kind: Kind
    ids: list[str] = Factory(list[str])
    told: set[str] = Factory(set[str])
    users: int = 0
    lost: bool = False
    news: asyncio.Event = Factory(asyncio.Event)
    writing: asyncio.Lock = Factory(asyncio.Lock)


class Settlements:
    """Takes callbacks: wakes the poller, and fills in the ids of uncertain creates.

    It works on the event loop that it was made on.

    Args:
        receiver: signs the URLs, and tells what is posted to them.
        ask: one status query of a kind, repeated as need be: what a callback says is not
            believed.
        wake: has a task asked about at once.
        journal: keeps the ids.
        sleep: waits for the given seconds; tests pass their own.
    """

    def __init__(
        self,
        receiver: CallbackReceiver,
        ask: Callable[[str, Kind], Awaitable[Task]],
        wake: Callable[[str], None],
        journal: JournalProtocol,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._receiver = receiver
        self._ask = ask
        self._wake = wake
        self._journal = journal
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._gate = asyncio.Semaphore(PARALLEL)
        self._creates: dict[str, _Create] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._ended: OrderedDict[str, Task] = OrderedDict()
        self._taking: set[asyncio.Task[None]] = set()
        receiver.attach(self.told)

    def leave(self) -> None:
        """Take no more callbacks."""
        self._receiver.detach(self.told)

    async def close(self) -> None:
        """Take no more callbacks; end what has begun."""
        self.leave()
        if self._taking:
            await asyncio.wait(self._taking, timeout=GRACE)
        for taking in list(self._taking):
            taking.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)

    @asynccontextmanager
    async def expecting(self, key: str, count: int, kind: Kind) -> AsyncGenerator[str]:
        """Remember what callbacks tell of a create while the block makes it.

        The block is given the create's callback URL.

        Raises:
            InvalidRequest: the key cannot stand in a URL, or is another create's right now.
        """
        url = self._receiver.url_for(key)
        known = self._creates.get(key)
        if known is not None and known.users:
            message = "is another create's, whose callbacks are still due; give this one its own"
            raise InvalidRequest([Violation("key", key, "unused", message)])
        create = self._creates[key] = _Create(count, kind)
        self._hold(key, create)
        try:
            yield url
        finally:
            try:
                if create.told and not create.lost and await self._uncertain(key) is not None:
                    self.lost(key)  # an earlier run's: this one's attempt to make it again failed
            finally:
                self._drop(key, create)

    def lost(self, key: str) -> None:
        """Look into what callbacks have told of a create: it is now known to be uncertain."""
        create = self._creates[key]
        create.lost = True
        for task_id in create.told.difference(create.ids):
            taking = asyncio.create_task(self._take_later(key, create, task_id))
            self._taking.add(taking)
            taking.add_done_callback(self._taking.discard)

    def owns(self, key: str, task_ids: Iterable[str]) -> None:
        """Remember whose these ids are: no other create gets them."""
        for task_id in task_ids:
            self._owners[task_id] = key
            _trim(self._owners)

    async def told(self, key: str, task_id: str) -> None:
        """Take one genuine callback.

        Raises:
            KeevxError: Keevx could not be asked now, or the journal not be written.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("serve the callbacks on the event loop of their client")
        self._wake(task_id)
        create = self._creates.get(key) or await self._reopened(key)
        if create is None or task_id in create.told or len(create.told) >= MOST_TOLD * create.count:
            return
        create.told.add(task_id)
        if create.lost:
            await self._take(key, create, task_id)

    async def wait(self, key: str, count: int, kind: Kind) -> tuple[str, ...]:
        """Return the ids of an uncertain create, when callbacks have brought as many as count."""
        entry = None if key in self._creates else await self._journal.find(key)
        create = self._creates.get(key) or self._opened(key, count, kind, entry)
        self._hold(key, create)
        try:
            while len(create.ids) < count:
                create.news.clear()
                await create.news.wait()
            return tuple(create.ids)
        finally:
            self._drop(key, create)

    async def known(self, key: str) -> tuple[str, ...]:
        """Return the ids that callbacks have brought so far."""
        create = self._creates.get(key) or await self._reopened(key)
        return tuple(create.ids) if create else ()

    def end_of(self, task_id: str) -> Task | None:
        """Hand out, once, an ended task that Keevx was asked about here."""
        return self._ended.pop(task_id, None)

    async def _uncertain(self, key: str) -> Entry | None:
        entry = await self._journal.find(key)
        return entry if entry is not None and entry.state is State.UNCERTAIN else None

    async def _reopened(self, key: str) -> _Create | None:
        """Return an uncertain create that only the journal remembers."""
        entry = await self._uncertain(key)
        if entry is None:
            return None
        count = json.loads(entry.body).get("generate_count", 1)
        kind = kind_by_name(entry.kind)
        return self._creates.get(key) or self._opened(key, count, kind, entry)

    def _opened(self, key: str, count: int, kind: Kind, entry: Entry | None) -> _Create:
        ids = entry.task_ids if entry else ()
        create = self._creates[key] = _Create(count, kind, [*ids], {*ids}, lost=True)
        self._rest(key)
        return create

    def _hold(self, key: str, create: _Create) -> None:
        create.users += 1
        self._idle.pop(key, None)

    def _drop(self, key: str, create: _Create) -> None:
        create.users -= 1
        if create.users:
            return
        if create.lost:
            self._rest(key)
        else:
            del self._creates[key]

    def _rest(self, key: str) -> None:
        """Keep a lost create that nobody waits for, while there is room."""
        self._idle[key] = None
        if len(self._idle) > REMEMBERED:
            del self._creates[self._idle.popitem(last=False)[0]]

    async def _take_later(self, key: str, create: _Create, task_id: str) -> None:
        try:
            await self._take(key, create, task_id)
        except KeevxError as error:
            log.warning("task %s, of which a callback told: %s", task_id, error)

    async def _take(self, key: str, create: _Create, task_id: str) -> None:
        """Take an id for a lost create's own, if it is."""
        try:
            async with self._gate:
                task = await self._confirmed(task_id, create.kind)
            if task is None or not await self._is_free(key, task_id):
                log.warning("a callback told of task %s, which is not its create's", task_id)
                return
            if task.done:
                self._ended[task_id] = task
                _trim(self._ended)
            async with create.writing:
                await self._record(key, create.count, [*create.ids, task_id])
                create.ids.append(task_id)
        except BaseException:
            create.told.discard(task_id)  # it may be told again
            raise
        create.news.set()

    async def _confirmed(self, task_id: str, kind: Kind) -> Task | None:
        """Return what Keevx knows of a task; None if it knows of none."""
        for pause in (*PAUSES, None):
            try:
                return await self._ask(task_id, kind)
            except NotFoundError:
                if pause is not None:
                    await self._sleep(pause)
            except APIError as error:
                if type(error) is not APIError:  # it is about the asking, not about the task
                    raise
                return None
        return None

    async def _is_free(self, key: str, task_id: str) -> bool:
        """Claim an id for a create, unless it is another's."""
        owner = await self._journal.owner(task_id) or self._owners.get(task_id, key)
        if owner == key:
            self.owns(key, [task_id])
        return owner == key

    async def _record(self, key: str, count: int, ids: list[str]) -> None:
        """Write the ids; the create stays uncertain until all are known."""
        entry = await self._journal.find(key)
        if entry is None:  # there is no journal
            return
        if entry.state is not State.UNCERTAIN and not 0 < len(entry.task_ids) < len(ids):
            log.info("%r was settled otherwise meanwhile; callbacks told of %s", key, ids)
            return
        if len(ids) < count:
            reason = f"callbacks have told of {len(ids)} of its {count} tasks"
            await self._journal.uncertain(key, reason, ids)
        else:
            await self._journal.settle(key, ids)


def _trim(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > REMEMBERED:
        kept.popitem(last=False)
