"""The one thread that writes: many rows, one statement, one transaction, one fsync.

While the event loop is busy, this thread may wait 5 ms for the interpreter's lock each time it
has given it up. So it does so as seldom as can be: rows come encoded; what came during a commit
is the next batch; a batch is a single statement; the commit is witnessed once those who wait
for it have been woken.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from attrs import define, field

from ..errors import JournalError
from .lock import Lock
from .schema import COMMITS, OPEN

log = logging.getLogger("keevx_async")

Row = list[Any]
Waiter = asyncio.Future[None]
_Item = tuple[str, Waiter | None]

_encode = json.JSONEncoder(separators=(",", ":")).encode
_CELLS = "abcdefg"
CLOSED = _encode(["notes", OPEN, 0])
"""The row that is written last."""


def _upsert(table: str, key: str, fixed: str, kept: str = "") -> str:
    """Return what writes a row of the batch, if it is meant for table.

    Args:
        table: where to.
        key: the first column, by which a row is replaced.
        fixed: columns that a row sets.
        kept: columns that a null leaves as they were.
    """
    columns = [key, *fixed.split(), *kept.split()]
    cells = ", ".join(f"NEW.{cell}" for cell in _CELLS[: len(columns)])
    sets = [f"{name} = excluded.{name}" for name in fixed.split()]
    sets += [f"{name} = coalesce(excluded.{name}, {name})" for name in kept.split()]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {cells} WHERE NEW.place = '{table}' "
        f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(sets)};"
    )


BATCH = (
    f"CREATE TEMP VIEW batch (place, {', '.join(_CELLS)}) AS SELECT 0{', 0' * len(_CELLS)}",
    "CREATE TEMP TRIGGER sort INSTEAD OF INSERT ON batch BEGIN "
    + _upsert("entries", "key", "state reason", "kind body at task_ids")
    + _upsert("tasks", "task_id", "snapshot at", "path size digest")
    + _upsert("notes", "name", "value")
    + " END",
)
"""What a batch is inserted into; it sorts the rows into their tables. Of the connection alone."""

_VALUES = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(_CELLS) + 1))
INSERT = f"INSERT INTO batch SELECT {_VALUES} FROM json_each(?)"  # noqa: S608 - our own names


@define
class _Batch:
    """Rows to be written together, as JSON, and who waits for them."""

    rows: list[str] = field(factory=list[str])
    waiters: list[Waiter] = field(factory=list[Waiter])
    last: bool = False

    def add(self, item: _Item | None) -> None:
        """Add a row; None says that no more will come."""
        if item is None:
            self.last = True
            return
        row, waiter = item
        self.rows.append(row)
        if waiter is not None:
            self.waiters.append(waiter)


class Writer(threading.Thread):
    """Commits rows in groups.

    Args:
        connection: used by this thread alone from now on.
        lock: witnesses each commit.
        commits: how many there were so far.
        path: named in errors.
    """

    def __init__(self, connection: sqlite3.Connection, lock: Lock, commits: int, path: str) -> None:
        super().__init__(name="keevx-journal", daemon=True)
        for statement in BATCH:
            connection.execute(statement)
        self._connection = connection
        self._lock = lock
        self._commits = commits
        self._path = path
        self._turn = threading.Lock()
        self._items: SimpleQueue[_Item | None] = SimpleQueue()
        self._put = 0
        self._done = 0
        self._broken: JournalError | None = None

    @property
    def idle(self) -> bool:
        """Whether all that was put is written."""
        return self._put == self._done

    def check(self) -> None:
        """Raise JournalError if anything could not be written or read before."""
        if self._broken is not None:
            raise JournalError(*self._broken.args) from self._broken

    def fail(self, reason: str) -> JournalError:
        """Have check() raise from now on; return what it raises."""
        error = JournalError(f"{reason}. Nothing more is sent; mend it, and run again")
        if self._broken is None:
            self._broken = error
            log.error("%s", error)
        return error

    def put(self, table: str, row: Row, waiter: Waiter | None = None) -> None:
        """Have a row written; waiter is told when it is durable."""
        item = (_encode([table, *row]), waiter)
        with self._turn:
            self._put += 1
        self._items.put(item)

    async def write(self, table: str, row: Row) -> None:
        """Have a row written and return when it is durable. It is, even if this is cancelled."""
        waiter = asyncio.get_running_loop().create_future()
        self.put(table, row, waiter)
        await waiter

    def stop(self) -> None:
        """Write what is left, then end. Blocks until then."""
        self._items.put(None)
        self.join()

    def run(self) -> None:
        """Commit batch after batch."""
        last = False
        while not last:
            batch = self._next()
            rows = [*batch.rows, CLOSED] if batch.last else batch.rows
            error = self._try(rows) if rows else None
            _tell(batch.waiters, error)
            if error is None:
                self._witness()
            self._done += len(batch.rows)
            last = batch.last

    def _next(self) -> _Batch:
        """Return all that was put, once something was."""
        batch = _Batch()
        batch.add(self._items.get())
        with suppress(Empty):
            while True:
                batch.add(self._items.get_nowait())
        return batch

    def _try(self, rows: list[str]) -> JournalError | None:
        commit = _encode(["notes", COMMITS, self._commits + 1])
        try:
            self._commit(f"[{','.join([*rows, commit])}]")
        except Exception as error:  # noqa: BLE001 - were this thread to die, all would wait for ever
            return self.fail(f"{self._path} cannot be written: {error}")
        return None

    def _commit(self, batch: str) -> None:
        self._connection.execute(INSERT, (batch,))
        self._commits += 1

    def _witness(self) -> None:
        try:
            self._lock.committed(self._commits)
        except OSError as error:
            self.fail(f"{self._path}-lock cannot be written: {error}")


def _tell(waiters: Iterable[Waiter], error: JournalError | None) -> None:
    """Wake waiters, each on its own loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        loops.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, those in loops.items():
        with suppress(RuntimeError):  # it was closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, those, error)


def _settle(waiters: list[Waiter], error: JournalError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(JournalError(*error.args))
