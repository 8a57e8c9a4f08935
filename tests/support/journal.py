"""Reads journals back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keevx_async import Journal, JournalError
from keevx_async.journal.database import Database
from keevx_async.journal.protocol import Entry, JournalProtocol


async def kept(journal: Journal) -> list[Entry]:
    return [entry async for entry in journal.entries()]


async def entry_of(journal: JournalProtocol, key: str = "k") -> Entry:
    """Return the entry of a key, which must have one."""
    entry = await journal.find(key)
    assert entry is not None
    return entry


async def kept_in(path: Path) -> list[Entry]:
    async with Journal(path) as journal:
        return await kept(journal)


def opened(journal: Journal) -> Database:
    assert journal._opened is not None
    return journal._opened


async def opened_and_closed(path: Path) -> None:
    """Open a journal as a run does, and close it."""
    async with writing(path):
        pass


async def gives_out_no_key(path: Path, said: str) -> None:
    """A journal that has lost its log is opened to be read, and every claim is refused."""
    async with writing(path) as journal:
        with pytest.raises(JournalError, match=said):
            await journal.claim("image_to_video", b"{}", None)


@asynccontextmanager
async def writing(path: Path) -> AsyncIterator[Journal]:
    """A journal that is open for writing, as a run has it: no other process may write it."""
    journal = Journal(path)
    journal.attach()
    try:
        yield journal
    finally:
        await journal.detach()
