"""The single writer thread, which uses group commit: many rows, one statement, one fsync.

While the event loop is busy, this thread may wait 5 ms to get the GIL back each time it releases
the GIL. It therefore does so as rarely as possible: rows that arrive during a commit form the next
batch, a batch is a single statement, and a commit is recorded in the witness file only after its
waiters have been woken.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from operator import methodcaller
from queue import SimpleQueue
from typing import Any

from ..errors import JournalError
from .lock import Lock
from .schema import COMMITS, OPEN, is_locked

log = logging.getLogger("keevx_async.journal")

Row = list[Any]
"""The kind of row, a key of STATEMENTS, followed by the row's values.

Each value is exactly a str, an int or a float. For anything else, such as None or an enum member,
sqlite3 looks for an adapter, which takes longer than SQLite takes to write the row.
"""
Waiter = asyncio.Future[None]
_Item = tuple[Row, Waiter | None]
"""A row, and the future to resolve once the row is durable."""

INTENT = "intent"
STATE = "state"
END = "end"
DOWNLOAD = "download"
NOTE = "note"

_COLUMNS = "abcdef"
_WIDTH = 1 + len(_COLUMNS)
MAX_ROWS = 128
"""Maximum number of rows in one commit. SQLite before 3.32 allows only 999 values per statement."""

CHANGED = "changed"
_IDS = 4  # the index of the ids in a STATE row

_IS_REFUSED = (
    "state = 'submitted' OR ifnull(task_ids, '') <> '' OR abs(coalesce(at, -1) - NEW.e) > 0.001"
)
_STAYS = "state = 'submitted' AND excluded.task_ids IS NULL"
_ADDED_IDS = """
CASE WHEN excluded.task_ids IS NULL THEN task_ids
WHEN ifnull(task_ids, '') = '' THEN excluded.task_ids
ELSE excluded.task_ids || (
    SELECT coalesce(group_concat(' ' || value, ''), '')
    FROM json_each('["' || replace(entries.task_ids, ' ', '","') || '"]')
    WHERE instr(' ' || excluded.task_ids || ' ', ' ' || value || ' ') = 0)
END"""

STATEMENTS: Mapping[str, str] = {
    INTENT: f"""
INSERT INTO entries (key, state, reason, kind, body, at)
VALUES (NEW.a, 'sending', '', NEW.b, NEW.c, NEW.d)
ON CONFLICT (key) DO UPDATE SET
state = CASE WHEN {_IS_REFUSED} THEN RAISE(ABORT, '{CHANGED}') ELSE excluded.state END,
reason = excluded.reason, kind = excluded.kind, body = excluded.body, at = excluded.at""",  # noqa: S608 - our own names
    STATE: f"""
INSERT INTO entries (key, state, reason, task_ids)
VALUES (NEW.a, NEW.b, NEW.c, nullif(NEW.d, ''))
ON CONFLICT (key) DO UPDATE SET
state = CASE WHEN {_STAYS} THEN state ELSE excluded.state END,
reason = CASE WHEN {_STAYS} THEN reason ELSE excluded.reason END,
task_ids = {_ADDED_IDS}""",  # noqa: S608 - our own names
    END: """
INSERT INTO tasks (task_id, snapshot, at) VALUES (NEW.a, NEW.b, NEW.c)
ON CONFLICT (task_id) DO UPDATE SET snapshot = excluded.snapshot, at = excluded.at""",
    DOWNLOAD: """
INSERT INTO tasks (task_id, snapshot, at, path, size, digest)
VALUES (NEW.a, NEW.b, NEW.c, NEW.d, NEW.e, NEW.f)
ON CONFLICT (task_id) DO UPDATE SET snapshot = excluded.snapshot, at = excluded.at,
path = excluded.path, size = excluded.size, digest = excluded.digest""",
    NOTE: """
INSERT INTO notes (name, value) VALUES (NEW.a, NEW.b)
ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
}
"""The statement that writes each kind of row, whose values are ``NEW.a`` to ``NEW.f``.

1. An intent is refused if the entry has changed since it was claimed, because another intent was
   written or ids were added. Otherwise one create could be charged twice. An intent's last value is
   the time of the last intent that its claim saw.
2. A submitted entry stays submitted; it can only gain ids.
3. Ids are only ever added. The ids that arrived last come first.
"""

BATCH = (
    f"CREATE TEMP VIEW batch (kind, {', '.join(_COLUMNS)}) AS SELECT 0{', 0' * len(_COLUMNS)}",
    *(
        f"CREATE TEMP TRIGGER write_{kind} INSTEAD OF INSERT ON batch WHEN NEW.kind = '{kind}' "
        f"BEGIN {statement}; END"
        for kind, statement in STATEMENTS.items()
    ),
)
"""A temporary view into which batches are inserted. A trigger for each kind writes its rows."""


@cache
def _insert(count: int) -> str:
    """Return the statement that inserts this many rows into the batch view."""
    row = f"({', '.join('?' * _WIDTH)})"
    return f"INSERT INTO batch VALUES {', '.join([row] * count)}"  # noqa: S608 - our own names


class EntryChanged(JournalError):
    """An intent was refused because its entry has changed since it was claimed.

    Only that create is stopped; the journal keeps working.
    """


class Writer(threading.Thread):
    """Commits rows in groups, in the order in which they were queued.

    After a failed commit, ``check`` raises, so that no further create starts. Rows with task ids
    are tried again later, because they must not be lost.

    Args:
        connection: a connection to the file, which only this thread uses from now on.
        lock: the lock that witnesses each commit; None for a journal in memory.
        commits: the number of commits that the file has recorded.
        path: the file's path, for error messages.

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
        self._queued: list[_Item] = []
        self._signal: SimpleQueue[bool] = SimpleQueue()  # False ends the thread
        self._is_waiting = True
        self._has_ended = False
        self._broken: JournalError | None = None
        self._unwritten: list[Row] = []

    @property
    def idle(self) -> bool:
        """Whether every row has been written, so that what is read now remains valid."""
        return self._is_waiting and not self._unwritten

    def check(self) -> None:
        """Check that no write or read has failed so far.

        Raises:
            JournalError: a write or read failed; the message says which.
        """
        if self._broken is not None:
            raise JournalError(*self._broken.args) from self._broken

    def fail(self, reason: str) -> JournalError:
        """Make ``check`` raise from now on; return the error.

        If there are several failures, ``check`` reports the first.
        """
        error = JournalError(f"{reason}. Nothing more is sent; fix the problem and run again")
        if self._broken is None:
            self._broken = error
            log.error("%s", error)
        return error

    def put(self, row: Row, waiter: Waiter | None = None) -> None:
        """Queue a row to be written. Any thread may call this.

        Args:
            row: the row; an existing row with the same key is changed.
            waiter: a future to resolve, on its own loop, once the row is durable; it gets the error
                if the row cannot be written.

        Raises:
            JournalError: the journal has been closed.
        """
        with self._turn:
            if self._has_ended:
                raise JournalError(f"{self._path} has been closed")
            self._queued.append((row, waiter))
            if self._is_waiting:
                self._signal.put(True)
                self._is_waiting = False

    def write(self, row: Row) -> Waiter:
        """Queue a row, and return a future that is done once the row is durable.

        If the future is cancelled, the row is still written.

        Raises:
            EntryChanged: when awaited, if the row is an intent whose entry has changed since it was
                claimed.
            JournalError: when awaited, if the row cannot be written; at once if the journal has
                been closed.
        """
        waiter = asyncio.get_running_loop().create_future()
        self.put(row, waiter)
        return waiter

    def stop(self) -> None:
        """Write the remaining rows, then end the thread. Blocks until done."""
        if self.is_alive():  # not in a forked process
            self._signal.put(False)
            self.join()

    def run(self) -> None:
        """Commit batches until ``stop`` is called."""
        is_open = True
        while is_open:
            is_open = self._signal.get()
            while items := self._take(is_last=not is_open):
                for start in range(0, len(items), MAX_ROWS - 1):  # one more counts the commits
                    self._write(items[start : start + MAX_ROWS - 1])
        # The note of a clean close is written last: a file that contains it needs no log.
        self._write_unwritten()
        self._write([([NOTE, OPEN, 0], None)])

    def _take(self, *, is_last: bool) -> list[_Item]:
        """Take all queued rows. If there are none, the thread waits for a signal, or ends."""
        with self._turn:
            items, self._queued = self._queued, []
            self._is_waiting = not items
            self._has_ended = is_last and not items
        return items

    def _write(self, items: Sequence[_Item]) -> None:
        """Commit rows and wake their waiters."""
        error = self._try([row for row, _ in items])
        if isinstance(error, EntryChanged) and len(items) > 1:
            for item in items:  # one refused intent must not fail the rest of its batch
                self._write([item])
            return
        _resolve_all([waiter for _, waiter in items if waiter is not None], error)
        if error is None:
            self._witness()
            self._write_unwritten()
        else:  # rows with ids were paid for; a failed intent was never sent
            self._unwritten += [row for row, _ in items if row[0] == STATE and row[_IDS]]

    def _write_unwritten(self) -> None:
        """Try again to write ids whose commit failed, since the disk may have space by now."""
        rows, self._unwritten = self._unwritten, []
        for row in rows:
            if self._try([row]) is None:
                self._witness()
            else:
                self._unwritten.append(row)

    def _try(self, rows: Sequence[Row]) -> JournalError | None:
        """Commit rows, and return the error if the commit failed."""
        # 1. An entry has changed since it was claimed: only its create is stopped.
        # 2. Another program has locked the file for longer than SQLite waits: try once more.
        # 3. Anything else: no further create starts.
        batch = [*rows, [NOTE, COMMITS, self._commits + 1]]
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
        except Exception as error:  # noqa: BLE001 - if this thread died, everything would wait forever
            return self.fail(f"{self._path} cannot be written: {error}")
        return None

    def _commit(self, rows: Sequence[Row]) -> None:
        # Batches of more than eight rows are padded to a multiple of eight. There are then few
        # different statements, and the connection keeps them prepared. A row of zeros matches no
        # trigger, so it is not written.
        size = len(rows) if len(rows) < 8 else -(-len(rows) // 8) * 8
        values: Row = []
        for row in rows:
            values += row
            values += [0] * (_WIDTH - len(row))
        values += [0] * _WIDTH * (size - len(rows))
        self._connection.execute(_insert(size), values)
        self._commits += 1

    def _witness(self) -> None:
        if self._lock is None:
            return
        try:
            self._lock.committed(self._commits)
        except OSError as error:
            self.fail(f"{self._path}-lock cannot be written: {error}")


def _resolve_all(waiters: Iterable[Waiter], error: JournalError | None) -> None:
    """Resolve waiters on their own event loops, waking a loop once for all waiters in a row."""
    for loop, group in groupby(waiters, methodcaller("get_loop")):
        with suppress(RuntimeError):  # the loop was closed: nobody waits on it any more
            loop.call_soon_threadsafe(_resolve, list(group), error)


def _resolve(waiters: list[Waiter], error: JournalError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(type(error)(*error.args))
