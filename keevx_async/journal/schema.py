"""Recognize a journal's SQLite file, check it, and migrate it from older versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import JournalError

APPLICATION_ID = 0x6B657678  # "kevx": in the header, it marks a database as a journal
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    0: (
        """CREATE TABLE entries (
            key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, reason TEXT NOT NULL,
            kind TEXT, body TEXT, at REAL, task_ids TEXT)""",
        """CREATE TABLE tasks (
            task_id TEXT NOT NULL UNIQUE, snapshot TEXT NOT NULL, at REAL NOT NULL,
            path TEXT, size INTEGER, digest TEXT)""",
        "CREATE TABLE notes (name TEXT NOT NULL UNIQUE, value)",
    ),
    1: (
        """CREATE TABLE owner (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            host TEXT NOT NULL, account TEXT, salt TEXT NOT NULL, digest TEXT NOT NULL)""",
    ),
}
"""The statements that migrate each older version to the next; version 0 is an empty file."""

COMMITS = "commits"
"""The name of the note that contains the number of commits."""

OPEN = "open"
"""The name of the note that is 1 while the journal is open, and 0 afterwards.

The 1 is checkpointed into the file when the journal is opened, the 0 only when it is closed
cleanly. A file that contains a 1 is therefore incomplete without its log (``-wal``).
"""


def version() -> int:
    """Return the version to which journals are migrated when they are opened."""
    return max(MIGRATIONS) + 1


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that may be used by any thread, but only by one at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a read-only connection. It needs no lock, and may be used while a run writes.

    Args:
        path: the file's absolute path.
    """
    uri = f"{path.as_uri()}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # In a read-only folder, SQLite cannot create the files of a shared database. If there is no
        # log, nobody is writing, so the files are not needed.
        if Path(f"{path}-wal").exists():
            raise
        connection = sqlite3.connect(
            f"{uri}&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    except BaseException:
        connection.close()
        raise
    return connection


class Header(NamedTuple):
    """Information about a file, read from it before anything is changed.

    Attributes:
        commits: the number of commits recorded in the file.
        log_is_missing: whether the file needs a log that does not exist.
        is_empty: whether the file has no tables yet.
    """

    commits: int
    log_is_missing: bool
    is_empty: bool = False


def inspect(path: Path) -> Header:
    """Check that the file is a journal or is empty, without changing anything.

    Raises:
        JournalError: the file is another program's database, or the journal of a newer keevx_async.
    """
    if not path.exists() or not path.stat().st_size:
        return Header(0, log_is_missing=False, is_empty=True)
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0  # checked first: opening may create one
    # Read-only: otherwise, on closing, SQLite would write a broken log's content into the file.
    with closing(connect_to_read(path)) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (current,) = connection.execute("PRAGMA user_version").fetchone()
        if owner != APPLICATION_ID and (tables or owner):
            raise JournalError(f"{path} is a database, but not a journal; use another file")
        if current > version():
            raise JournalError(
                f"{path} was written by a newer keevx_async (version {current}); upgrade"
            )
        notes: dict[str, Any] = {}
        if tables:
            query = "SELECT name, value FROM notes WHERE name IN (?, ?)"
            notes = dict(connection.execute(query, (COMMITS, OPEN)).fetchall())
    is_open = bool(int(notes.get(OPEN, 0)))
    return Header(int(notes.get(COMMITS, 0)), is_open and not has_log, not tables)


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Check every page, because a create hidden by a damaged page would be paid for again.

    Raises:
        JournalError: the file is damaged.
    """
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise JournalError(
            f"{path} is damaged ({result}). Restore an intact copy; or set the file aside "
            f"('sqlite3 {path} .recover' may still read it) and use another"
        )


def upgrade(connection: sqlite3.Connection, commits: int) -> int:
    """Migrate the file and record that it is open, which also proves that it is writable.

    This is atomic: a failed migration leaves the file unchanged.

    Args:
        connection: a connection to the file.
        commits: the number of commits recorded in the file.

    Returns:
        The number of commits recorded in the file after the upgrade.
    """
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    # WAL: reads never wait for the writer, and a commit is one fsync. FULL: every commit is synced;
    # otherwise a power cut could lose an intent whose create was sent.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    for older in range(current, version()):
        for statement in MIGRATIONS[older]:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version()}")
    connection.executemany(
        "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [(OPEN, 1), (COMMITS, commits + 1)],
    )
    connection.execute("COMMIT")
    # Moved from the log into the file, so that a copy of the file alone shows that it is
    # incomplete.
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    return commits + 1


def is_locked(error: sqlite3.Error) -> bool:
    """Return whether an error means that another program has locked the file, which is temporary.

    Source: https://www.sqlite.org/rescode.html#busy
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, without its details
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
