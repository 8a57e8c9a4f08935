"""An open SQLite journal: its lock, its writing thread, and the connection that reads."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..models.usage import UsageGroup
from .claims import Claims
from .encoding import ENTRY, entry_of, join_ids, usage_of
from .lock import Lock
from .protocol import Entry
from .schema import connect, inspect, upgrade, verify
from .writer import Row, Writer

BY_KEY = f"SELECT {ENTRY} FROM entries WHERE key = ?"  # noqa: S608 - our own names
FOLLOWING = f"SELECT {ENTRY} FROM entries WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - likewise
ALL = f"SELECT {ENTRY} FROM entries ORDER BY rowid"  # noqa: S608 - likewise
OWNER = "SELECT key FROM entries WHERE instr(' ' || task_ids || ' ', ' ' || ? || ' ')"
# One parse of each body. The ids of a row are separated by one space each.
USAGE = """
SELECT kind, json_extract(body, '$.model', '$.aspect_resolution', '$.duration', '$.generate_count'),
    CASE WHEN ifnull(task_ids, '') = '' THEN 0
    ELSE 1 + length(task_ids) - length(replace(task_ids, ' ', '')) END,
    count(*)
FROM entries
WHERE state IN ('sending', 'submitted', 'uncertain') OR ifnull(task_ids, '') <> ''
GROUP BY 1, 2, 3"""
LATER = "SELECT key FROM entries WHERE key GLOB '*~[1-9]*'"
LAST = "SELECT coalesce(max(rowid), 0) FROM entries"

MEMORY = Path(":memory:")
"""SQLite's name for a database that exists in memory only."""

MAX_GAP = 64
"""Rows between two look-ups that still count as in order: about as many as are in flight."""

READ_AHEAD = 512
"""Rows read at once."""

EntryRow = tuple[Any, ...]
"""The columns of ENTRY: the row's number first, then its key."""


class ReadAhead:
    """Reads the rows that follow the last one, for a program run again asks in their order.

    To look a key up in a large file costs ten times what the next row does. Look-ups in no order
    rarely lie near each other, so nothing is read ahead for them.

    Without it a run that has nothing left to do takes 16% more instructions per create
    (``python -m benchmarks.journal readahead``).

    Args:
        fetch: returns at most so many rows after a row's number, in order.
    """

    def __init__(self, fetch: Callable[[int, int], Iterable[EntryRow]]) -> None:
        self._fetch = fetch
        self._rows: dict[str, EntryRow] = {}
        self._last = 0

    def get(self, key: str) -> EntryRow | None:
        """Return a key's row if it was read ahead."""
        row = self._rows.get(key)
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

    def drop(self, key: str) -> None:
        """Drop the row of a key that is about to change."""
        self._rows.pop(key, None)


class Database:
    """What a Journal has while it is open.

    Args:
        path: the file; MEMORY for none.

    Raises:
        JournalError: it cannot be used; the message says why.

    Attributes:
        later_attempts: the keys of failed creates that were resubmitted before it was opened.
        writer: writes rows.
        claims: hands out keys.
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
            self.later_attempts: frozenset[str] = frozenset(
                row[0] for row in writing.execute(LATER)
            )
            self._reader = writing
            if not self._in_memory:
                self._reader = undo.enter_context(closing(connect(self._path)))
            self.writer: Writer = Writer(writing, lock, commits, str(self._path))
            self.claims: Claims = Claims(self.select(LAST)[0])
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

    async def save(self, row: Row) -> None:
        """Write an entry's row. Durable on return, and also if cancelled.

        Raises:
            JournalError: it could not be written.
        """
        self._ahead.drop(row[0])
        await self.writer.write("entries", row)

    def select(self, statement: str, *values: Any) -> Any:
        """Return the first row of a query, or None.

        Raises:
            JournalError: the file cannot be read; nothing more is sent then.
        """
        try:  # not _reading(): a context manager would cost as much as the query
            return self._reader.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

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

    def entries(self) -> Iterator[Entry]:
        """Iterate over all entries, oldest first, on a connection of their own.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading(), self._own_connection() as connection:
            for row in connection.execute(ALL):
                yield self._entry(row)

    def find_owner(self, task_id: str) -> str | None:
        """Return the key of the entry that has a task id, or None. Any thread may call it.

        There is no index of ids, which each create would pay for: this reads all entries.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading(), self._own_connection() as connection:
            row = connection.execute(OWNER, (join_ids([task_id]),)).fetchone()
        return row[0] if row else None

    def usage(self) -> Counter[UsageGroup]:
        """Return the results that entries have made or may have. Any thread may call it.

        Raises:
            JournalError: the file cannot be read.
        """
        counts: Counter[UsageGroup] = Counter()
        with self._reading(), self._own_connection() as connection:
            for row in connection.execute(USAGE):
                group, results = usage_of(row)
                counts[group] += results
        return counts

    def _following(self, row: int, limit: int) -> list[EntryRow]:
        with self._reading():
            return self._reader.execute(FOLLOWING, (row, limit)).fetchall()

    def _entry(self, row: EntryRow) -> Entry:
        return entry_of(row, held=self.claims.holds(row[1]))

    def _own_connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a connection for a query that takes long, or runs in another thread."""
        return nullcontext(self._reader) if self._in_memory else closing(connect(self._path))

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> JournalError:
        return self.writer.fail(f"{self._path} cannot be read: {error}")

    @contextmanager
    def _translated_errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self._path} cannot be used as a journal: {error}") from error
