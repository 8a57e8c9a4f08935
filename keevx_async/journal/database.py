"""A SQLite journal open for writing: its lock, its writer thread, and its read connection."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs

from ..errors import JournalError
from .claims import Claims, Holds
from .encoding import ENTRY, entry_of
from .lock import Identity, Lock, identity_of
from .owner import Owner, admit
from .protocol import Entry
from .reader import BY_KEY, EntryRow, Queries
from .schema import connect, inspect, upgrade, verify
from .writer import Row, Waiter, Writer

FOLLOWING = f"SELECT {ENTRY} FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - our own names
LATER = "SELECT key FROM entries WHERE key GLOB '*~[1-9]*'"
KEYS = "SELECT key FROM entries"
LAST = "SELECT coalesce(max(rowid), 0) FROM entries"

MEMORY = Path(":memory:")
"""SQLite's name for a database that exists in memory only."""

MAX_GAP = 64
"""Maximum number of rows between two look-ups that are still considered in order. This is roughly
the number of creates in flight."""

READ_AHEAD = 512
"""The number of rows read at once."""

SLOTS = 1 << 22
"""The least number of slots for known keys."""

SLOTS_PER_KEY = 8
"""The least number of slots for each key, so that at most one new key in eight is queried.

If a run adds many keys, each doubling raises this share by a sixteenth, to about a quarter at
2,000,000 creates.
"""

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
    """Reads rows ahead, since a program that runs again looks up keys in order.

    Looking up a key in a large file costs ten times as much as reading the next row. Unordered
    look-ups are rarely near each other, so nothing is read ahead for them.

    Without this, a run that has nothing left to do takes 36% more instructions per create (``python
    -m benchmarks.journal readahead``).

    Args:
        fetch: returns up to the given number of rows that follow a row, in order.

    Attributes:
        in_step: whether the last row that was looked up had been read ahead.
    """

    def __init__(self, fetch: Callable[[int, int], Sequence[EntryRow]]) -> None:
        self._fetch = fetch
        self._rows: dict[str, EntryRow] = {}
        self._last = self._end = 0
        self.in_step: bool = False

    def get(self, key: str, *, quiet: bool = False) -> EntryRow | None:
        """Return a key's row if it has been read ahead.

        Args:
            key: the key.
            quiet: see ``observe``. If true, more rows are read once the current rows are used up.
        """
        row = self._rows.get(key)
        if row is None and quiet and self.in_step and self._last == self._end:
            self._read_on()
            row = self._rows.get(key)
        self.in_step = row is not None
        if row is not None:
            self._last = row[0]
        return row

    def observe(self, row: EntryRow, *, quiet: bool) -> None:
        """Record that a row was looked up, and read ahead if it closely follows the last row.

        Args:
            row: the row.
            quiet: whether nothing is being written. Rows that are read then stay valid until
                dropped.
        """
        in_order = 0 < row[0] - self._last <= MAX_GAP
        self._last = row[0]
        if in_order and quiet:
            self._read_on()
            self.in_step = bool(self._rows)

    def _read_on(self) -> None:
        rows = self._fetch(self._last, READ_AHEAD)
        self._rows = {row[1]: row for row in rows}
        self._end = rows[-1][0] if rows else self._last

    def drop(self, key: str) -> None:
        """Drop the row of a key that is about to change."""
        self._rows.pop(key, None)


class KnownKeys:
    """Records which keys may have an entry, so that a new create needs no query.

    A query takes as long as the rest of a claim, because each commit empties the reading
    connection's page cache. Without this, a create takes 12% more CPU time (``python -m
    benchmarks.journal creates``).

    Keys with the same hash share a slot of one byte. A key without an entry may therefore be
    queried needlessly; a key with an entry is always queried.

    Args:
        rows: the number of rows in the file.
        read: returns the keys in the file.
    """

    def __init__(self, rows: int, read: Callable[[], Iterable[str]]) -> None:
        self._read = read
        self._is_complete = False
        self._count = rows
        self._slots = bytearray(max(SLOTS, 1 << (rows * SLOTS_PER_KEY).bit_length()))

    def add(self, key: str) -> None:
        """Add a key whose entry is about to be written."""
        if not self._slots[slot := self._slot(key)]:
            self._slots[slot] = 1
            self._count += 1
            if self._count * SLOTS_PER_KEY > len(self._slots):
                # A doubled table uses one more bit of each hash, so a key's slot is its old one
                # or that slot's copy.
                self._slots *= 2

    def may_have(self, key: str) -> bool:
        """Return False only if the key has no entry."""
        return not self._is_complete or self._slots[self._slot(key)] == 1

    def complete(self) -> None:
        """Add the keys in the file. Calling it again has no effect.

        This blocks for 0.5 s per million keys. It is called only once a key turns out to have no
        entry, because a run that finds every create in the file does not need it.
        """
        if not self._is_complete:
            for key in self._read():
                self._slots[self._slot(key)] = 1
            self._is_complete = True  # `add` has added the keys that are not committed yet

    def _slot(self, key: str) -> int:
        return hash(key) & (len(self._slots) - 1)


class Database(Queries):
    """A journal open for writing, shared by all of its users in this process.

    Args:
        path: the file's path; MEMORY for a database without a file.

    Raises:
        LostCommits: the journal has lost commits, so it can only be read.
        JournalError: the journal cannot be used; the message says why.

    Attributes:
        later_attempts: the keys under which failed creates were resubmitted.
        writer: the thread that writes rows.
        holds: the claimed keys.
        identity: the file's identity; None for a journal in memory.
        users: the current number of users.
    """

    def __init__(self, path: Path) -> None:
        self._in_memory = path == MEMORY
        # Resolved, so that neither a link nor a change of folder can redirect it later.
        self._path = path if self._in_memory else path.resolve()
        with ExitStack() as undo, self._translated_errors():
            lock: Lock | None = None
            if self._in_memory:
                # A second connection would see another database, so this one reads and writes.
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
            # Read only once, because looking for each entry's later attempt would double the cost
            # of a resume.
            self.later_attempts: set[str] = {row[0] for row in writing.execute(LATER)}
            self._known = KnownKeys(writing.execute(LAST).fetchone()[0], self._keys)
            reader = writing
            if not self._in_memory:
                reader = undo.enter_context(closing(connect(self._path)))
            super().__init__(self._path, reader)
            self.writer: Writer = Writer(writing, lock, commits, str(self._path))
            self.holds: Holds = Holds(str(path))
            self.identity: Identity | None = lock.identity if lock is not None else None
            self.users: int = 0
            # Nothing failed: from here on, close() releases everything.
            self._close = undo.pop_all().close
        self._ahead = ReadAhead(self._following)
        self.writer.start()

    def close(self) -> None:
        """Write the remaining rows and close. Blocks until done.

        In a forked process, which has no writer thread, this only closes the process's descriptors.
        """
        self.writer.stop()
        self._close()

    def join(self) -> Claims:
        """Add a client and return its claims."""
        return self.holds.join(self.select(LAST)[0])

    def own(self, owner: Owner, name: str, *, adopts: bool) -> None:
        """Let an owner use the journal, and record the owner if it is new.

        Args:
            owner: the host and account for which a client is about to use the journal.
            name: the journal's name, as its user wrote it.
            adopts: whether to hand the journal over to this owner.

        Raises:
            JournalError: the journal belongs to another host or account.
        """
        record = self.owner()
        adopt = f"run: keevx journal {name} --adopt"
        try:
            new = admit(record, owner, name, adopt, adopts=adopts)
        except JournalError:
            # If nothing was made for the recorded owner, such as a mistyped host, there is nothing
            # to protect.
            if self.select(PAID) is not None:
                raise
            new = admit(record, owner, name, adopt, adopts=True)
        if new is not None:
            self._execute(RECORDED, *attrs.astuple(new))

    def set_aside(self, keys: Sequence[str], mark: str) -> None:
        """Rename submitted entries, so that their old keys can be used for new creates.

        The entries keep their ids. Either all or none are renamed. Durable on return.

        Args:
            keys: the entries' keys.
            mark: the text to append to each key after an ``@``.
        """
        for key in keys:
            self._known.add(f"{key}@{mark}")
        self._execute(RENAME, mark, json.dumps(list(keys)))
        self._ahead = ReadAhead(self._following)

    def _execute(self, statement: str, *values: Any) -> None:
        """Execute one statement on a separate connection. Durable on return."""
        with self._translated_errors(), self._own_connection() as connection:
            connection.execute(statement, values)

    def save(self, row: Row) -> Waiter:
        """Queue an entry's row; see ``Writer.write``."""
        self._ahead.drop(row[1])
        self._known.add(row[1])
        return self.writer.write(row)

    @property
    def is_read_ahead(self) -> bool:
        """Whether the next entry to be looked up has probably been read already."""
        return self._ahead.in_step

    def recall(self, key: str) -> tuple[int, Entry] | None:
        """Return the result of ``find`` if the row was read ahead or is next; otherwise None."""
        row = self._ahead.get(key, quiet=self.writer.idle)
        return None if row is None else (row[0], entry_of(row, self._is_held))

    def find(self, key: str) -> tuple[int, Entry] | None:
        """Return a key's row number and entry, or None if the key has no entry.

        Raises:
            JournalError: the file cannot be read.
        """
        # Rows read ahead are valid: each write in this process drops its row first, and no other
        # process writes while the journal is locked.
        row = self._ahead.get(key)
        if row is None:
            row = self.select(BY_KEY, key)
            if row is None:
                return None
            self._ahead.observe(row, quiet=self.writer.idle)
        return row[0], self._entry(row)

    def find_to_claim(self, key: str) -> tuple[int, Entry] | None:
        """Return the result of ``find``, without a query if the key is known to have no entry.

        If another process writes to the file despite the lock, this may overlook its entries. A
        create is still not paid for twice, because the writer refuses an intent for an entry that
        already has one.
        """
        if not self._known.may_have(key):
            return None
        row_and_entry = self.find(key)
        if row_and_entry is None:
            self._known.complete()
        return row_and_entry

    def _keys(self) -> Iterator[str]:
        with self._reading():
            for row in self._reader.execute(KEYS):
                yield row[0]

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
"""Held while journals are opened and closed, which may happen in several threads."""


def join(path: Path) -> Database:
    """Open a journal, or join it if this process already has it open under any path.

    Each call must be matched by one call to ``leave``. A journal in memory is never shared.

    Raises:
        LostCommits: the journal has lost commits, so it can only be read.
        JournalError: the journal cannot be used; the message says why.
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
    """Stop using a journal. The last user to do so closes it."""
    with _turn:
        database.users -= 1
        if not database.users:
            if database.identity is not None:
                _databases.pop(database.identity, None)  # already removed in a forked process
            database.close()


def _forget_inherited() -> None:
    """Forget the parent's journals, because a forked process has none of them open."""
    global _turn
    _turn = threading.Lock()
    _databases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
