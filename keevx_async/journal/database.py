"""An open SQLite journal: its lock, its writing thread, and the connection that reads."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs

from ..errors import JournalError
from .claims import Claims, Holds
from .encoding import ENTRY
from .lock import Identity, Lock, identity_of
from .owner import Owner, admit
from .protocol import Entry
from .reader import BY_KEY, EntryRow, Queries
from .schema import connect, inspect, upgrade, verify
from .writer import Row, Writer

FOLLOWING = f"SELECT {ENTRY} FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - our own names
LATER = "SELECT key FROM entries WHERE key GLOB '*~[1-9]*'"
LAST = "SELECT coalesce(max(rowid), 0) FROM entries"

MEMORY = Path(":memory:")
"""SQLite's name for a database that exists in memory only."""

MAX_GAP = 64
"""Rows between two look-ups that still count as in order: about as many as are in flight."""

READ_AHEAD = 512
"""Rows read at once."""

RECORDED = "INSERT OR REPLACE INTO owner VALUES (1, ?, ?, ?, ?)"
PAID = (
    "SELECT 1 FROM entries WHERE state NOT IN ('planned', 'refused') "
    "OR ifnull(task_ids, '') <> '' LIMIT 1"
)
RENAME = (
    "UPDATE entries SET key = key || '@' || ? WHERE key IN (SELECT value FROM json_each(?)) "
    "AND state = 'submitted'"
)


class ReadAhead:
    """Reads the rows that follow the last one, for a program run again asks in their order.

    To look a key up in a large file costs ten times what the next row does. Look-ups in no order
    rarely lie near each other, so nothing is read ahead for them.

    Without it a run that has nothing left to do takes 16% more instructions per create
    (``python -m benchmarks.journal readahead``).

    Args:
        fetch: returns at most so many rows after a row's number, in order.

    Attributes:
        in_step: whether the last row that was looked up had been read ahead.
    """

    def __init__(self, fetch: Callable[[int, int], Iterable[EntryRow]]) -> None:
        self._fetch = fetch
        self._rows: dict[str, EntryRow] = {}
        self._last = 0
        self.in_step: bool = False

    def get(self, key: str) -> EntryRow | None:
        """Return a key's row if it was read ahead."""
        row = self._rows.get(key)
        self.in_step = row is not None
        if row is not None:
            self._last = row[0]
        return row

    def observe(self, row: EntryRow, *, quiet: bool) -> None:
        """Take note of a row that was looked up; read on if it followed the last one closely.

        Args:
            row: the row.
            quiet: whether nothing is being written. What is read then holds until it is dropped.
        """
        in_order = 0 < row[0] - self._last <= MAX_GAP
        self._last = row[0]
        if in_order and quiet:
            self._rows = {row[1]: row for row in self._fetch(self._last, READ_AHEAD)}
            self.in_step = bool(self._rows)

    def drop(self, key: str) -> None:
        """Drop the row of a key that is about to change."""
        self._rows.pop(key, None)


class Database(Queries):
    """A journal that is open for writing, for all clients of this process that use it.

    Args:
        path: the file; MEMORY for none.

    Raises:
        LostCommits: it can only be read.
        JournalError: it cannot be used; the message says why.

    Attributes:
        later_attempts: the keys under which failed creates were resubmitted.
        writer: writes rows.
        holds: which keys are claimed.
        identity: the file's; None in memory.
        users: how many have joined it.
    """

    def __init__(self, path: Path) -> None:
        self._in_memory = path == MEMORY
        # Resolved: neither a link nor a change of folder may lead elsewhere later.
        self._path = path if self._in_memory else path.resolve()
        with ExitStack() as undo, self._translated_errors():
            lock: Lock | None = None
            if self._in_memory:
                # A second connection would see another database: this one reads and writes.
                writing = undo.enter_context(closing(connect(self._path)))
                commits = upgrade(writing, 0)
            else:
                lock = undo.enter_context(closing(Lock(self._path)))
                header = inspect(self._path)
                lock.check(header.commits, log_is_missing=header.log_is_missing)
                lock.committed(header.commits)
                writing = undo.enter_context(closing(connect(self._path)))
                verify(writing, self._path)
                commits = upgrade(writing, header.commits)
                lock.committed(commits)
            # Read once: to look for a later attempt of each entry would double a resume's cost.
            self.later_attempts: set[str] = {row[0] for row in writing.execute(LATER)}
            reader = writing
            if not self._in_memory:
                reader = undo.enter_context(closing(connect(self._path)))
            super().__init__(self._path, reader)
            self.writer: Writer = Writer(writing, lock, commits, str(self._path))
            self.holds: Holds = Holds(str(path))
            self.identity: Identity | None = lock.identity if lock is not None else None
            self.users: int = 0
            # Nothing failed: from here on close() undoes what was opened.
            self._close = undo.pop_all().close
        self._ahead = ReadAhead(self._following)
        self.writer.start()

    def close(self) -> None:
        """Write what is left and close. Blocks until then.

        In a forked process, which has no writing thread, it only closes its own descriptors.
        """
        self.writer.stop()
        self._close()

    def join(self) -> Claims:
        """Return the claims of one more client."""
        return self.holds.join(self.select(LAST)[0])

    def own(self, owner: Owner, name: str, *, adopts: bool) -> None:
        """Let an owner use the journal, and record it where that is new.

        Args:
            owner: of the client that is about to use it.
            name: of the journal, as its user wrote it.
            adopts: whether the journal is handed over to it.

        Raises:
            JournalError: it belongs to another host or account.
        """
        record = self.owner()
        adopt = f"run: keevx journal {name} --adopt"
        try:
            new = admit(record, owner, name, adopt, adopts=adopts)
        except JournalError:
            # An owner for whom nothing was made, such as a mistyped host, has nothing to protect.
            if self.select(PAID) is not None:
                raise
            new = admit(record, owner, name, adopt, adopts=True)
        if new is not None:
            self._execute(RECORDED, *attrs.astuple(new))

    def set_aside(self, keys: Sequence[str], mark: str) -> None:
        """Rename submitted entries, so that their requests are made again under the old keys.

        Their ids stay in the journal. All or none are renamed; durable on return.

        Args:
            keys: of the entries.
            mark: added to each key after an ``@``.
        """
        self._execute(RENAME, mark, json.dumps(list(keys)))
        self._ahead = ReadAhead(self._following)

    def _execute(self, statement: str, *values: Any) -> None:
        """Execute one statement beside the writer. Durable on return."""
        with self._translated_errors(), self._own_connection() as connection:
            connection.execute(statement, values)

    async def save(self, row: Row) -> None:
        """Write an entry's row. Durable on return, and also if cancelled.

        Raises:
            JournalError: it could not be written.
        """
        self._ahead.drop(row[0])
        await self.writer.write("entries", row)

    @property
    def is_read_ahead(self) -> bool:
        """Whether the next entry that is looked up is likely to have been read already."""
        return self._ahead.in_step

    def recall(self, key: str) -> tuple[int, Entry] | None:
        """Return what ``find`` does if it was read ahead; else None."""
        row = self._ahead.get(key)
        return None if row is None else (row[0], self._entry(row))

    def find(self, key: str) -> tuple[int, Entry] | None:
        """Return the row number and the entry of a key; None if there is none.

        Raises:
            JournalError: the file cannot be read.
        """
        # What was read ahead holds: each write of this process drops its row first, and while the
        # journal is locked no other process writes.
        row = self._ahead.get(key)
        if row is None:
            row = self.select(BY_KEY, key)
            if row is None:
                return None
            self._ahead.observe(row, quiet=self.writer.idle)
        return row[0], self._entry(row)

    def _following(self, row: int, limit: int) -> list[EntryRow]:
        with self._reading():
            return self._reader.execute(FOLLOWING, (row, limit)).fetchall()

    def _is_held(self, key: str) -> bool:
        return self.holds.holder(key) is not None

    def _own_connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return nullcontext(self._reader) if self._in_memory else closing(connect(self._path))

    def _unreadable(self, error: sqlite3.Error) -> JournalError:
        return self.writer.fail(f"{self._path} cannot be read: {error}")

    @contextmanager
    def _translated_errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self._path} cannot be used as a journal: {error}") from error


_databases: dict[Identity, Database] = {}
_turn = threading.Lock()
"""Held while journals are opened and closed, which clients may do in several threads."""


def join(path: Path) -> Database:
    """Open a journal, or join it where this process has it open under whatever path.

    Each call needs one of ``leave``. ``:memory:`` is never shared.

    Raises:
        LostCommits: it can only be read.
        JournalError: it cannot be used; the message says why.
    """
    with _turn:
        database = None
        if path != MEMORY and path.exists():
            database = _databases.get(identity_of(path.stat()))
        if database is None:
            database = Database(path)
            if database.identity is not None:
                _databases[database.identity] = database
        database.users += 1
        return database


def leave(database: Database) -> None:
    """Leave a journal; the last user closes it."""
    with _turn:
        database.users -= 1
        if not database.users:
            if database.identity is not None:
                _databases.pop(database.identity, None)  # gone already in a forked process
            database.close()


def _forget_inherited() -> None:
    """A forked process has none of its parent's journals open."""
    global _turn
    _turn = threading.Lock()
    _databases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
