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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from attrs import define, field

from ..errors import JournalError
from .lock import Lock
from .schema import COMMITS, OPEN, is_locked

log = logging.getLogger("keevx_async")

Row = list[Any]
Waiter = asyncio.Future[None]
_Item = tuple[str, Waiter | None]

_encode = json.JSONEncoder(separators=(",", ":")).encode
_CELLS = "abcdefgh"
CLOSED = _encode(["notes", OPEN, 0])
"""The row that is written last."""

CHANGED = "changed"
_IDS_CELL = 6

_IDS = """
CASE WHEN ifnull(excluded.task_ids, '') = '' THEN task_ids
WHEN ifnull(task_ids, '') = '' THEN excluded.task_ids
ELSE excluded.task_ids || (
    SELECT coalesce(group_concat(' ' || value, ''), '')
    FROM json_each('["' || replace(entries.task_ids, ' ', '","') || '"]')
    WHERE instr(' ' || excluded.task_ids || ' ', ' ' || value || ' ') = 0)
END"""
"""Ids are only ever added to."""

_IS_REFUSED = (
    "NEW.h IS NOT NULL AND (state = 'submitted' OR ifnull(task_ids, '') <> '' "
    "OR abs(coalesce(at, -1) - NEW.h) > 0.001)"
)
_STAYS = "state = 'submitted' AND ifnull(excluded.task_ids, '') = ''"

_ENTRIES: Mapping[str, str] = {
    "state": f"CASE WHEN {_IS_REFUSED} THEN RAISE(ABORT, '{CHANGED}') "
    f"WHEN {_STAYS} THEN state ELSE excluded.state END",
    "reason": f"CASE WHEN {_STAYS} THEN reason ELSE excluded.reason END",
    "kind": "coalesce(excluded.kind, kind)",
    "body": "coalesce(excluded.body, body)",
    "at": "coalesce(excluded.at, at)",
    "task_ids": _IDS,
}
"""What becomes of an entry that is there, column by column.

1. An intent is refused if the entry is not as it was when it was claimed: another intent was
   written since, or its ids are known. Else one create could be paid twice. The last cell of an
   intent, which other rows leave out, is when the last one was written that the claim knew of.
2. One that is submitted stays so, unless more ids come.
"""
_TASKS: Mapping[str, str] = {
    "snapshot": "excluded.snapshot",
    "at": "excluded.at",
    "path": "coalesce(excluded.path, path)",
    "size": "coalesce(excluded.size, size)",
    "digest": "coalesce(excluded.digest, digest)",
}


def _upsert(table: str, key: str, sets: Mapping[str, str]) -> str:
    """Return what writes a row of the batch, if it is meant for table.

    Args:
        table: where to.
        key: the first column, by which a row is replaced.
        sets: the others, and what each becomes in a row that is there.
    """
    columns = [key, *sets]
    cells = ", ".join(f"NEW.{cell}" for cell in _CELLS[: len(columns)])
    changes = ", ".join(f"{column} = {becomes}" for column, becomes in sets.items())
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {cells} WHERE NEW.place = '{table}' "
        f"ON CONFLICT ({key}) DO UPDATE SET {changes};"
    )


BATCH = (
    f"CREATE TEMP VIEW batch (place, {', '.join(_CELLS)}) AS SELECT 0{', 0' * len(_CELLS)}",
    "CREATE TEMP TRIGGER sort INSTEAD OF INSERT ON batch BEGIN "
    + _upsert("entries", "key", _ENTRIES)
    + _upsert("tasks", "task_id", _TASKS)
    + _upsert("notes", "name", {"value": "excluded.value"})
    + " END",
)
"""What a batch is inserted into; it sorts the rows into their tables. Of the connection alone."""

_VALUES = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(_CELLS) + 1))
INSERT = f"INSERT INTO batch SELECT {_VALUES} FROM json_each(?)"  # noqa: S608 - our own names


@define
class _Batch:
    """Rows to be written together, as JSON, and who waits for each."""

    items: list[_Item] = field(factory=list["_Item"])
    last: bool = False

    def add(self, item: _Item | None) -> None:
        """Add a row; None says that no more will come."""
        if item is None:
            self.last = True
        else:
            self.items.append(item)


class EntryChanged(JournalError):
    """An intent was refused: its entry is no longer as it was when it was claimed."""


class Writer(threading.Thread):
    """Commits rows in groups.

    Args:
        connection: used by this thread alone from now on.
        lock: witnesses each commit; None for a journal in memory.
        commits: how many there were so far.
        path: named in errors.
    """

    def __init__(
        self, connection: sqlite3.Connection, lock: Lock | None, commits: int, path: str
    ) -> None:
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
        self._unwritten: list[str] = []

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
        if self.is_alive():  # in a forked process it is not
            self._items.put(None)
            self.join()

    def run(self) -> None:
        """Commit batch after batch."""
        last = False
        while not last:
            batch = self._next()
            if batch.items:
                self._write(batch.items)
            self._done += len(batch.items)
            last = batch.last
        self._write_unwritten()
        self._write([(CLOSED, None)])

    def _write(self, items: Sequence[_Item]) -> None:
        """Commit rows, and tell those who wait for them."""
        error = self._try([row for row, _ in items])
        if isinstance(error, EntryChanged) and len(items) > 1:
            for item in items:  # what one may not do must not keep the others from what they may
                self._write([item])
            return
        _wake([waiter for _, waiter in items if waiter is not None], error)
        if error is None:
            self._witness()
            self._write_unwritten()
        else:
            self._unwritten += [row for row, _ in items if _has_ids(row)]

    def _write_unwritten(self) -> None:
        """Write the ids that could not be when they came: by now the disk may have room."""
        rows, self._unwritten = self._unwritten, []
        for row in rows:
            if self._try([row]) is None:
                self._witness()
            else:
                self._unwritten.append(row)

    def _next(self) -> _Batch:
        """Return all that was put, once something was."""
        batch = _Batch()
        batch.add(self._items.get())
        with suppress(Empty):
            while True:
                batch.add(self._items.get_nowait())
        return batch

    def _try(self, rows: Sequence[str]) -> JournalError | None:
        """Commit rows; return why that failed.

        1. An entry has changed since it was claimed: only its own create is stopped.
        2. Another program has the file locked for longer than SQLite waits: tried once more.
        3. All else: no further create begins.
        """
        commit = _encode(["notes", COMMITS, self._commits + 1])
        batch = f"[{','.join([*rows, commit])}]"
        try:
            try:
                self._commit(batch)
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
                log.warning("%s is locked by another program; trying again", self._path)
                self._commit(batch)
        except sqlite3.IntegrityError as error:
            if str(error) != CHANGED:
                return self.fail(f"{self._path} cannot be written: {error}")
            return EntryChanged(f"{self._path}: the entry has changed since it was claimed")
        except Exception as error:  # noqa: BLE001 - were this thread to die, all would wait for ever
            return self.fail(f"{self._path} cannot be written: {error}")
        return None

    def _commit(self, batch: str) -> None:
        self._connection.execute(INSERT, (batch,))
        self._commits += 1

    def _witness(self) -> None:
        if self._lock is None:
            return
        try:
            self._lock.committed(self._commits)
        except OSError as error:
            self.fail(f"{self._path}-lock cannot be written: {error}")


def _wake(waiters: Iterable[Waiter], error: JournalError | None) -> None:
    """Wake waiters, each on its own loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        loops.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, those in loops.items():
        with suppress(RuntimeError):  # it was closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve, those, error)


def _resolve(waiters: list[Waiter], error: JournalError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(type(error)(*error.args))


def _has_ids(row: str) -> bool:
    place, *cells = json.loads(row)
    return place == "entries" and len(cells) > _IDS_CELL and bool(cells[_IDS_CELL])
