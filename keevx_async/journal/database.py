"""An open journal: its lock, its writer, and the connection that reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import JournalError
from .claims import Claims
from .encoding import ENTRY, entry_of, join_ids
from .lock import Lock
from .protocol import Entry
from .readahead import ReadAhead
from .schema import connect, inspect, upgrade, verify
from .writer import Row, Writer

BY_KEY = f"SELECT {ENTRY} FROM entries WHERE key = ?"  # noqa: S608 - our own names
FOLLOWING = f"SELECT {ENTRY} FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - likewise
ALL = f"SELECT {ENTRY} FROM entries ORDER BY rowid"  # noqa: S608 - likewise
OWNER = "SELECT key FROM entries WHERE instr(' ' || task_ids || ' ', ' ' || ? || ' ')"
LATER = "SELECT key FROM entries WHERE key GLOB '*~[1-9]*'"
LAST = "SELECT coalesce(max(rowid), 0) FROM entries"

MEMORY = Path(":memory:")
"""What SQLite calls a database that is nowhere but in memory."""


class Database:
    """Everything there is while a journal is open.

    Args:
        path: the file.

    Raises:
        JournalError: it cannot be used; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self._in_memory = path == MEMORY
        # Links and a change of folder must not lead elsewhere.
        self._path = path if self._in_memory else path.resolve()
        with ExitStack() as undo, self._translated_errors():
            open_ = self._open_memory if self._in_memory else self._open_file
            writing, lock, commits = open_(undo)
            # Asked once: to look for a later try of each entry would double what a resume takes.
            rows = writing.execute(LATER)
            self.later_tries: frozenset[str] = frozenset(row[0] for row in rows)
            self._reader = writing
            if not self._in_memory:
                self._reader = undo.enter_context(closing(connect(self._path)))
            self.writer: Writer = Writer(writing, lock, commits, str(self._path))
            self.claims: Claims = Claims(self.fetch_one(LAST)[0])
            self._close = undo.pop_all().close
        self._ahead = ReadAhead(self._following)
        self.writer.start()

    def _open_file(self, undo: ExitStack) -> tuple[sqlite3.Connection, Lock, int]:
        """Return a connection to the file, its lock, and how many commits it knows of."""
        lock = undo.enter_context(closing(Lock(self._path)))
        found = inspect(self._path)
        lock.check(found.commits, log_is_missing=found.log_is_missing)
        lock.committed(found.commits)
        connection = undo.enter_context(closing(connect(self._path)))
        verify(connection, self._path)
        commits = upgrade(connection, found.commits)
        lock.committed(commits)
        return connection, lock, commits

    def _open_memory(self, undo: ExitStack) -> tuple[sqlite3.Connection, None, int]:
        """Return the one connection that there is to memory; it reads and writes."""
        connection = undo.enter_context(closing(connect(self._path)))
        return connection, None, upgrade(connection, 0)

    def _another(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a connection for a longer look."""
        return nullcontext(self._reader) if self._in_memory else closing(connect(self._path))

    @contextmanager
    def _translated_errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self._path} cannot be used as a journal: {error}") from error

    def close(self) -> None:
        """Write what is left and close; in a forked process only let go of it."""
        self.writer.stop()
        self._close()

    async def save(self, row: Row) -> None:
        """Have an entry's row written; durable on return."""
        self._ahead.forget(row[0])
        await self.writer.write("entries", row)

    def fetch_one(self, statement: str, *values: Any) -> Any:
        """Return one row, or None.

        Raises:
            JournalError: the file cannot be read; nothing more is sent then.
        """
        try:
            return self._reader.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def find(self, key: str) -> tuple[int, Entry] | None:
        """Return a key's row number and its entry."""
        row = self._ahead.get(key)
        if row is None:
            row = self.fetch_one(BY_KEY, key)
            if row is None:
                return None
            self._ahead.found(row, quiet=self.writer.idle)
        return row[0], self._entry(row)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, oldest first."""
        try:
            with self._another() as connection:
                for row in connection.execute(ALL):
                    yield self._entry(row)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def find_owner(self, task_id: str) -> str | None:
        """Return the key of the entry that has a task id. Reads them all; any thread may ask."""
        try:
            with self._another() as connection:
                row = connection.execute(OWNER, (join_ids([task_id]),)).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return row[0] if row else None

    def _following(self, row: int, most: int) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(FOLLOWING, (row, most)).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        return entry_of(row, held=self.claims.holds(row[1]))

    def _unreadable(self, error: sqlite3.Error) -> JournalError:
        return self.writer.fail(f"{self._path} cannot be read: {error}")
