"""Reads journals back."""

from __future__ import annotations

from pathlib import Path

from keevx_async import Journal
from keevx_async.journal.database import Database
from keevx_async.journal.protocol import Entry


async def kept(journal: Journal) -> list[Entry]:
    return [entry async for entry in journal.entries()]


async def kept_in(path: Path) -> list[Entry]:
    async with Journal(path) as journal:
        return await kept(journal)


def opened(journal: Journal) -> Database:
    assert journal._opened is not None
    return journal._opened
