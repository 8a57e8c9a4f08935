"""What child processes leave of the coverage that they measured."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove the data files that a process was killed over; return their paths.

    Coverage writes a process's data as it ends. If it is killed meanwhile, its file is cut short,
    and combining it with the others warns, or raises and fails the whole run.
    """
    unfinished = [path for path in folder.glob(".coverage.*") if not is_whole(path)]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return unfinished


def is_whole(path: Path) -> bool:
    """Whether a data file can be read to its end, its schema included."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
            file.execute("SELECT version FROM coverage_schema").fetchone()
            file.execute("SELECT 1 FROM arc").fetchone()
    except sqlite3.Error:
        return False
    return bool(verdict == "ok")
