"""The SQLite file: how it is recognised, checked, and migrated from an older version."""

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
"""For each older version, the statements that migrate it to the next; 0 is an empty file."""

COMMITS = "commits"
"""The note that counts commits."""

OPEN = "open"
"""The note that is 1 while the journal is open, then 0.

The 1 is checkpointed into the file as the journal is opened, the 0 only as it is closed cleanly.
So a file in which it is 1 is incomplete without its log (``-wal``).
"""


def version() -> int:
    """Return the version that journals are migrated to when they are opened."""
    return max(MIGRATIONS) + 1


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that any thread may use, though only one at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads. It needs no lock, and may be used while a run writes.

    Args:
        path: absolute.
    """
    uri = f"{path.as_uri()}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # In a folder that cannot be written, SQLite cannot make the files of a shared database.
        # Where there is no log, nobody is writing, so none are needed.
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
    """What a file says about itself before anything in it is changed.

    Attributes:
        commits: how many commits it has recorded.
        log_is_missing: whether a log belongs to it that does not exist.
        is_empty: whether it has no tables yet.
    """

    commits: int
    log_is_missing: bool
    is_empty: bool = False


def inspect(path: Path) -> Header:
    """Check that the file is a journal, or empty. Changes nothing.

    Raises:
        JournalError: it is another program's database, or a newer keevx_async's journal.
    """
    if not path.exists() or not path.stat().st_size:
        return Header(0, log_is_missing=False, is_empty=True)
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0  # asked first: opening may make one
    # Read-only: else, as it closes, SQLite would write what a broken log holds into the file.
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
    """Read every page: a key hidden by a damaged one would be paid for again.

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
    """Migrate the file and record that it is open, which also proves that it can be written.

    All or nothing: a migration that fails leaves the file as it was.

    Args:
        connection: to the file.
        commits: how many commits it has recorded.

    Returns:
        How many commits it has recorded now.
    """
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    # WAL: reading never waits for the writer, and a commit is one fsync. FULL: that fsync is made
    # at each commit, or a power cut could lose an intent whose create was sent.
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
    # Moved from the log into the file: a copy of the file alone then shows that it is incomplete.
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    return commits + 1


def is_locked(error: sqlite3.Error) -> bool:
    """Return whether another program has locked the file, which passes.

    Source: https://www.sqlite.org/rescode.html#busy
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, without its details
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
