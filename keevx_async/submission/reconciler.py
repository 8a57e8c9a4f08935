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

from ..errors import (
    APIError,
    ConfigurationError,
    InvalidRequest,
    KeevxError,
    NotFoundError,
    Violation,
)
from ..journal.protocol import Entry, JournalProtocol, State
from ..models.kinds import Kind
from ..models.registry import kind_by_name
from ..models.tasks import Task
from ..settings import is_retryable_status

if TYPE_CHECKING:
    from .callbacks import CallbackReceiver  # brings aiohttp.web along, which few need

log = logging.getLogger("keevx_async")

MAX_REPORTED_IDS = 3
"""Ids that callbacks may tell of one create and that are not its own, for each task it has."""
MAX_REMEMBERED = 10_000
"""Lost creates that nobody waits for, ids and ends kept in memory; the oldest go first."""
MAX_CONFIRMATIONS = 16
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
        ids: those that are known to be its, and written down where there is a journal.
        confirmed: those that Keevx confirmed and that may not be written down yet.
        denied: those that callbacks named and Keevx does not know, or another create has.
        told: all that callbacks named.
        users: who needs it: the create under way, and all who wait for it.
        making: whether it is under way. What callbacks tell is then looked into when it ends.
        lost: whether its answer is known to be lost.
        news: set when ids grows.
        writing: held while ids are written.
    """

    count: int
    kind: Kind
    ids: list[str] = Factory(list[str])
    confirmed: set[str] = Factory(set[str])
    denied: set[str] = Factory(set[str])
    reported: set[str] = Factory(set[str])
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
    def known(self) -> tuple[str, ...]:
        """Its ids, whether or not they are written down."""
        return (*self.ids, *sorted(self.confirmed.difference(self.ids)))


class Reconciler:
    """Takes callbacks: wakes the poller, and writes down ids that the journal does not have.

    A genuine callback whose task Keevx confirms is evidence that its create was made, and
    outweighs whatever was assumed: of an uncertain create, or of one that counts as refused or
    as not sent, it brings an id; of one that has all its ids it proves that it was paid twice.

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
        self._confirmations = asyncio.Semaphore(MAX_CONFIRMATIONS)
        self._creates: dict[str, _Create] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._ended: OrderedDict[str, Task] = OrderedDict()
        self._taking: set[asyncio.Task[None]] = set()
        receiver.attach(self.on_callback)

    def detach(self) -> None:
        """Take no more callbacks."""
        self._receiver.detach(self.on_callback)

    async def close(self) -> None:
        """Take no more callbacks; end what has begun."""
        self.detach()
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
        create = self._creates.get(key)
        if create is None:
            create = self._creates[key] = _Create(count, kind)
        elif create.users:
            message = "is another create's, whose callbacks are still due; give this one its own"
            raise InvalidRequest([Violation("key", key, "unused", message)])
        self._retain(key, create)
        create.making = True
        try:
            yield url
        finally:
            create.making = False
            self._look_into(key, create)
            self._release(key, create)

    def mark_lost(self, key: str) -> None:
        """Look into what callbacks have told of a create: it is now known to be uncertain."""
        create = self._creates[key]
        create.lost = True
        create.making = False
        self._look_into(key, create)

    def _look_into(self, key: str, create: _Create) -> None:
        for task_id in create.open:
            taking = asyncio.create_task(self._accept_later(key, create, task_id))
            self._taking.add(taking)
            taking.add_done_callback(self._taking.discard)

    async def announced(self, key: str) -> tuple[str, ...]:
        """Return the ids that callbacks have brought of a create that is about to be sent.

        Raises:
            KeevxError: Keevx could not be asked about one of them.
        """
        create = self._creates[key]
        for task_id in create.open - create.confirmed:
            await self._confirm(key, create, task_id)
        return create.known

    def confirmed(self, key: str) -> tuple[str, ...]:
        """Return the ids of a create under way that are known to be its so far."""
        return self._creates[key].known

    def claim_ids(self, key: str, task_ids: Iterable[str]) -> None:
        """Remember whose these ids are: no other create gets them."""
        create = self._creates.get(key)
        for task_id in task_ids:
            self._owners[task_id] = key
            _trim(self._owners)
            if create is not None and task_id not in create.ids:
                create.ids.append(task_id)

    async def on_callback(self, key: str, task_id: str) -> None:
        """Take one genuine callback.

        Raises:
            KeevxError: Keevx could not be asked now, or the journal not be written.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("serve the callbacks on the event loop of their client")
        self._wake(task_id)
        create = self._creates.get(key) or await self._reopened(key, task_id)
        if create is None or task_id in create.reported or task_id in create.ids:
            return
        if len(create.reported.difference(create.ids)) >= MAX_REPORTED_IDS * create.count:
            return
        create.reported.add(task_id)
        if not create.making:
            await self._accept(key, create, task_id)

    async def wait(self, key: str, count: int, kind: Kind) -> tuple[str, ...]:
        """Return the ids of an uncertain create, when callbacks have brought as many as count."""
        entry = None if key in self._creates else await self._journal.find(key)
        create = self._creates.get(key) or self._opened(key, count, kind, entry)
        self._retain(key, create)
        try:
            while len(create.ids) < count:
                create.changed.clear()
                await create.changed.wait()
            return tuple(create.ids)
        finally:
            self._release(key, create)

    async def ids_so_far(self, key: str) -> tuple[str, ...]:
        """Return the ids that callbacks have brought so far."""
        create = self._creates.get(key) or await self._reopened(key)
        return tuple(create.ids) if create else ()

    def end_of(self, task_id: str) -> Task | None:
        """Hand out, once, an ended task that Keevx was asked about here."""
        return self._ended.pop(task_id, None)

    async def _reopened(self, key: str, task_id: str | None = None) -> _Create | None:
        """Return a create that only the journal remembers; none, if it has that id already."""
        entry = await self._journal.find(key)
        if entry is None or task_id in entry.task_ids:
            return None
        count = json.loads(entry.body).get("generate_count", 1)
        kind = kind_by_name(entry.kind)
        return self._creates.get(key) or self._opened(key, count, kind, entry)

    def _opened(self, key: str, count: int, kind: Kind, entry: Entry | None) -> _Create:
        ids = entry.task_ids if entry else ()
        create = self._creates[key] = _Create(count, kind, [*ids], lost=True)
        self._retire(key)
        return create

    def _retain(self, key: str, create: _Create) -> None:
        create.users += 1
        self._idle.pop(key, None)

    def _release(self, key: str, create: _Create) -> None:
        create.users -= 1
        if create.users:
            return
        if create.lost or create.open:
            self._retire(key)
        else:
            del self._creates[key]

    def _retire(self, key: str) -> None:
        """Keep a lost create that nobody waits for, while there is room."""
        self._idle[key] = None
        if len(self._idle) > MAX_REMEMBERED:
            del self._creates[self._idle.popitem(last=False)[0]]

    async def _accept_later(self, key: str, create: _Create, task_id: str) -> None:
        try:
            await self._accept(key, create, task_id)
        except KeevxError as error:
            log.warning("could not confirm task %s from a callback: %s", task_id, error)

    async def _accept(self, key: str, create: _Create, task_id: str) -> None:
        """Take an id for a create's own, if it is, and write it down."""
        try:
            if not await self._confirm(key, create, task_id):
                return
            if create.making:  # sent again meanwhile: its end looks into this
                return
            async with create.writing:
                await self._record(key, create, task_id)
        except BaseException:
            create.reported.discard(task_id)  # it may be told again
            raise
        create.changed.set()

    async def _confirm(self, key: str, create: _Create, task_id: str) -> bool:
        """Ask Keevx whether there is such a task, and see that it is no other create's."""
        if task_id in create.confirmed:
            return True
        async with self._confirmations:
            task = await self._confirmed(task_id, create.kind)
        if task is None or not await self._is_free(key, task_id):
            log.warning("a callback told of task %s, which is not its create's", task_id)
            create.denied.add(task_id)
            return False
        create.confirmed.add(task_id)
        if task.done:
            self._ended[task_id] = task
            _trim(self._ended)
        return True

    async def _confirmed(self, task_id: str, kind: Kind) -> Task | None:
        """Return what Keevx knows of a task; None if it knows of none."""
        for pause in (*PAUSES, None):
            try:
                return await self._ask(task_id, kind)
            except NotFoundError:
                if pause is not None:
                    await self._sleep(pause)
            except APIError as error:
                # A subclass, or a status that passes, is about the asking, not about the task.
                if type(error) is not APIError or is_retryable_status(error.status):
                    raise
                return None
        return None

    async def _is_free(self, key: str, task_id: str) -> bool:
        """Claim an id for a create, unless it is another's."""
        owner = await self._journal.find_owner(task_id) or self._owners.get(task_id, key)
        if owner == key:
            self._owners[task_id] = key
            _trim(self._owners)
        return owner == key

    async def _record(self, key: str, create: _Create, task_id: str) -> None:
        """Write an id down, and report one that contradicts what was assumed."""
        entry = await self._journal.add_ids(key, [task_id], create.count)
        before = create.ids if entry is None else entry.task_ids
        if task_id not in before and len(before) >= create.count:
            log.warning("%s was paid twice: it has %s, and now %s", key, ", ".join(before), task_id)
        elif entry is not None and entry.state in (State.PLANNED, State.REFUSED):
            log.warning("%s is %s, but was made: it has task %s", key, entry.state, task_id)
        if task_id not in create.ids:
            create.ids.append(task_id)


def _trim(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > MAX_REMEMBERED:
        kept.popitem(last=False)
