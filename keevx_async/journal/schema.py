"""The file: whose it is, what is in it, and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

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

OPEN = "open"
"""The note that is 1 while the journal is open, then 0.

It is brought into the file itself as the journal is opened, and the 0 only as it is closed in
order. So a file in which it is 1 is not whole without the log (``-wal``) that belongs to it.
"""


def version() -> int:
    """Return the version that journals are brought to."""
    return max(MIGRATIONS) + 1


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that any thread may use, though only one at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)


class Found(NamedTuple):
    """What a file tells of itself before anything is changed.

    Attributes:
        commits: how many it knows of.
        log_is_missing: whether a log belongs to it, and none is there.
    """

    commits: int
    log_is_missing: bool


def inspect(path: Path) -> Found:
    """See that the file is ours, or empty. Changes nothing.

    Raises:
        JournalError: it is another program's, or a newer keevx_async's.
    """
    if not path.exists() or not path.stat().st_size:
        return Found(0, log_is_missing=False)
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0  # asked first: to look in may make one
    # Read-only: another would write what a broken log holds into the file as it closes.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        notes = _notes(connection, path)
    return Found(int(notes.get(COMMITS, 0)), bool(int(notes.get(OPEN, 0))) and not has_log)


def _notes(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID and (tables or owner):
        raise JournalError(f"{path} is a database, but no journal; name another file")
    if found > version():
        raise JournalError(f"{path} is of a newer keevx_async (version {found}); upgrade")
    if not tables:
        return {}
    asked = "SELECT name, value FROM notes WHERE name IN (?, ?)"
    return dict(connection.execute(asked, (COMMITS, OPEN)).fetchall())


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


def upgrade(connection: sqlite3.Connection, commits: int) -> int:
    """Bring the file up to date and note that it is open; also proves that it can be written.

    Args:
        connection: to the file.
        commits: how many it knows of.

    Returns:
        how many commits it knows of now.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    for older in range(found, version()):
        for statement in MIGRATIONS[older]:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version()}")
    connection.executemany(
        "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [(OPEN, 1), (COMMITS, commits + 1)],
    )
    connection.execute("COMMIT")
    # From the log into the file itself, which may be copied alone from now on.
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    return commits + 1


def is_locked(error: sqlite3.Error) -> bool:
    """Tell whether another program has the file, which it will let go of."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it only says in which way
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
