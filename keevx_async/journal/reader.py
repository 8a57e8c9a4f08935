"""Read a SQLite journal, whether it is open for reading or for writing."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..models.usage import UsageGroup
from .encoding import ENTRY, entry_of, join_ids, usage_of
from .lock import LostCommits, check_witness, is_live
from .owner import OwnerRecord
from .protocol import Entry
from .schema import connect_to_read, inspect, verify

BY_KEY = f"SELECT {ENTRY} FROM entries WHERE key = ?"  # noqa: S608 - our own names
ALL = f"SELECT {ENTRY} FROM entries ORDER BY rowid"  # noqa: S608 - our own names
OWNER_OF = "SELECT key FROM entries WHERE instr(' ' || task_ids || ' ', ' ' || ? || ' ')"
# Each body is parsed once. A row's ids are separated by single spaces.
USAGE = """
SELECT kind, json_extract(body, '$.model', '$.aspect_resolution', '$.duration', '$.generate_count'),
    CASE WHEN ifnull(task_ids, '') = '' THEN 0
    ELSE 1 + length(task_ids) - length(replace(task_ids, ' ', '')) END,
    count(*)
FROM entries
WHERE state IN ('sending', 'submitted', 'uncertain') OR ifnull(task_ids, '') <> ''
GROUP BY 1, 2, 3"""
RECORD = "SELECT host, account, salt, digest FROM owner"

EntryRow = tuple[Any, ...]
"""The columns in ENTRY, which start with the row's number and its key."""


def is_written(path: Path) -> bool:
    """Return whether the file exists and contains data, even if it is not a journal."""
    try:
        if not path.stat().st_size:
            return False
        with closing(connect_to_read(path.resolve())) as connection:
            return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.Error:
        return True
    except OSError:
        return False


class Queries:
    """Queries that read a journal.

    Args:
        path: the file's path, for error messages.
        connection: the connection to read from.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._reader = connection

    def select(self, statement: str, *values: Any) -> Any:
        """Return the first row of a query, or None.

        Raises:
            JournalError: the file cannot be read, so nothing more is sent.
        """
        try:  # not reading(): a context manager would cost as much as the query
            return self._reader.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def find(self, key: str) -> tuple[int, Entry] | None:
        """Return a key's row number and entry, or None if the key has no entry.

        Raises:
            JournalError: the file cannot be read.
        """
        row = self.select(BY_KEY, key)
        return (row[0], self._entry(row)) if row is not None else None

    def entries(self) -> Iterator[Entry]:
        """Iterate over all entries, oldest first, on a separate connection.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading(), self._own_connection() as connection:
            for row in connection.execute(ALL):
                yield self._entry(row)

    def find_owner(self, task_id: str) -> str | None:
        """Return the key of the entry that contains a task id, or None if there is none.

        Any thread may call this. It reads all entries, because an index of ids would slow down
        every create.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._reading(), self._own_connection() as connection:
            row = connection.execute(OWNER_OF, (join_ids([task_id]),)).fetchone()
        return row[0] if row else None

    def usage(self) -> Counter[UsageGroup]:
        """Return the number of results that creates made or may have made, by group.

        Any thread may call this.

        Raises:
            JournalError: the file cannot be read.
        """
        counts: Counter[UsageGroup] = Counter()
        with self._reading(), self._own_connection() as connection:
            for row in connection.execute(USAGE):
                group, results = usage_of(row)
                counts[group] += results
        return counts

    def owner(self) -> OwnerRecord | None:
        """Return the journal's owner, or None if none is recorded, as in older journals.

        Raises:
            JournalError: the file cannot be read.
        """
        if not self.select("SELECT 1 FROM sqlite_master WHERE name = 'owner'"):
            return None
        row = self.select(RECORD)
        return None if row is None else OwnerRecord(*row)

    def _entry(self, row: EntryRow) -> Entry:
        return entry_of(row, self._is_held)

    def _is_held(self, key: str) -> bool:
        """Return whether the key's holder is alive. If not, ``sending`` reads as ``uncertain``."""
        raise NotImplementedError

    def _own_connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a connection for a query that is slow or runs in another thread."""
        return closing(connect_to_read(self._path))

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"{self._path} cannot be read: {error}")


class Reader(Queries):
    """A journal opened only for reading. It takes no lock, so a run may write at the same time.

    A journal that has lost commits can still be read: its remaining entries show earlier creates.

    Args:
        path: the file's path.

    Raises:
        JournalError: there is no journal, or it cannot be read; the message says why.

    Attributes:
        is_live: whether a live program had the journal open for writing when this was opened.
        lost: the error that describes the lost commits; None if none are lost.
    """

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        self.is_live: bool = is_live(path)
        self.lost: LostCommits | None = None
        try:
            # The witness is read first: a run that continues in the meantime only adds commits.
            witness = b""
            with suppress(FileNotFoundError):
                witness = Path(f"{path}-lock").read_bytes()
            header = inspect(path)
            if header.is_empty:
                raise JournalError(f"there is no journal at {path}")
            try:
                check_witness(path, witness, header.commits, log_is_missing=header.log_is_missing)
            except LostCommits as error:
                self.lost = error
            connection = connect_to_read(path)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path} cannot be read as a journal: {error}") from error
        super().__init__(path, connection)
        try:
            with self._reading():
                verify(connection, path)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file. Calling it again has no effect."""
        self._reader.close()

    def _is_held(self, key: str) -> bool:
        return self.is_live
