"""The file: whose it is, what is in it, and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ..errors import JournalError

APPLICATION_ID = 0x6B657678  # "kevx" in the file's header tells a journal from other databases
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
}
"""What brings a journal of each older version to the next; 0 is an empty file."""

COMMITS = "commits"
"""The note that counts commits."""


def version() -> int:
    """Return the version that journals are brought to."""
    return max(MIGRATIONS) + 1


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that any thread may use, though only one at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)


def inspect(path: Path) -> int:
    """See that the file is ours, or empty; return how many commits it knows of. Changes nothing.

    Raises:
        JournalError: it is a folder, another program's, or a newer keevx_async's.
    """
    if path.is_dir():
        raise JournalError(f"{path} is a folder; name a file in it")
    if not path.exists() or not path.stat().st_size:
        return 0
    # Read-only: another would write what a broken log holds into the file as it closes.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return _commits(connection, path)


def _commits(connection: sqlite3.Connection, path: Path) -> int:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID and (tables or owner):
        raise JournalError(f"{path} is a database, but no journal; name another file")
    if found > version():
        raise JournalError(f"{path} is of a newer keevx_async (version {found}); upgrade")
    if not tables:
        return 0
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (COMMITS,)).fetchone()
    return int(row[0]) if row else 0


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page: a key that a damaged one hides would be paid for again.

    Raises:
        JournalError: the file is damaged.
    """
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise JournalError(
            f"{path} is damaged ({said}). Bring back a whole copy; or keep it aside, where "
            f"'sqlite3 {path} .recover' may read it, and name another file"
        )


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the file up to date, in one transaction; also proves that it can be written."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    for older in range(found, version()):
        for statement in MIGRATIONS[older]:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version()}")
    connection.execute("COMMIT")
