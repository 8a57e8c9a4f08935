"""What is read of the journal in Redis, and how it is opened and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Self

from attrs import frozen

from ...errors import JournalError
from ..encoding import join_ids
from ..protocol import Entry, State, TaskRecord
from . import encoding as values
from . import scripts
from .connection import Connection
from .lease import Lease

AT_ONCE = 500
"""Keys asked for in one round trip when all are read."""
UNREAD = "it could not be read"


@frozen
class CreateRecord:
    """What became of a create: its entry, and what is known of how each task ended."""

    entry: Entry
    records: tuple[TaskRecord | None, ...]

    @property
    def done(self) -> bool:
        """Whether all of its tasks have ended; one that was given up has not."""
        return all(one is not None and one.task.done for one in self.records)


class RedisReader:
    """The part of a journal that changes nothing.

    Args:
        server: runs scripts.
        name: of the journal.
        lease: seconds that a sign of life holds.
    """

    def __init__(self, server: Connection, name: str, lease: float) -> None:
        self.name: str = name
        self._server = server
        self._lease = lease
        self._aclose: Callable[[], Awaitable[None]] | None = None
        self._users = 0
        self._open: Lease | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def __aenter__(self) -> Self:
        self.attach()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    def attach(self) -> None:
        """Open it, for one more user; Redis is first asked when something is."""
        if self._open is None:
            self._open = Lease(self._server, self._lease)
        self._users += 1

    async def detach(self) -> None:
        """Let go of all that is held and close it, when its last user leaves."""
        self._users -= 1
        if self._users == 0 and self._open is not None:
            holding, self._open = self._open, None
            try:
                await holding.close()
            finally:
                if self._aclose is not None:
                    await self._aclose()

    @property
    def _holding(self) -> Lease:
        if self._open is None:
            raise JournalError(f"journal {self.name!r} in Redis is not open")
        self._open.claims.enter()
        return self._open

    async def _run(self, what: str, script: scripts.Script, *words: str | float) -> Any:
        """Run a script on Redis; the error says what could not be done."""
        return await self._server.run(what, script, self._holding.holder, *words)

    async def find_entry(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return (await self._find([key]))[0]

    async def _find(self, keys: Sequence[str]) -> list[Entry | None]:
        found = await self._run(UNREAD, scripts.FIND, *keys)
        pairs = zip(keys, found, strict=True)
        return [values.entry_of(key, fields, held=bool(held)) for key, (held, fields) in pairs]

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of an ended task."""
        return (await self._tasks([task_id]))[0]

    async def _tasks(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        names = (join_ids([one]) for one in task_ids)
        found = await self._run(UNREAD, scripts.TASKS, *names)
        pairs = zip(task_ids, found, strict=True)
        return [values.record_of(task_id, *fields) for task_id, fields in pairs]

    async def find_records(self, keys: Sequence[str]) -> dict[str, CreateRecord]:
        """Return what became of many creates, a thousand at most, in two round trips.

        Args:
            keys: those that are not in the journal are left out.
        """
        entries = [one for one in await self._find(keys) if one is not None]
        task_ids = [task_id for entry in entries for task_id in entry.task_ids]
        records = dict(zip(task_ids, await self._tasks(task_ids), strict=True))
        return {
            one.key: CreateRecord(one, tuple(records[task_id] for task_id in one.task_ids))
            for one in entries
        }

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that was given a task id."""
        found = await self._run(UNREAD, scripts.OWNER, join_ids([task_id]))
        return found.decode() if found else None

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield the entries in one state, or all, oldest first."""
        first = 0
        while keys := await self._run(UNREAD, scripts.KEYS, first, first + AT_ONCE - 1):
            first += len(keys)
            for entry in await self._find([key.decode() for key in keys]):
                if entry is not None and state in (None, entry.state):
                    yield entry

    async def counts(self) -> dict[str, int]:
        """Return how many creates are in each state, and how many tasks succeeded and failed.

        A create that a dead worker was sending counts as ``sending`` until someone takes it.
        """
        found = await self._run(UNREAD, scripts.COUNTS)
        known = {found[n].decode(): int(found[n + 1]) for n in range(0, len(found), 2)}
        names = [*(state.value for state in State), "succeeded", "failed"]
        return {name: known.get(name, 0) for name in names}

    async def get_note(self, name: str) -> str | None:
        """Return a text that was kept."""
        found = await self._run(UNREAD, scripts.NOTED, name)
        return found.decode() if found else None
