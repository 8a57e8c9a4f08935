"""No journal: the same steps, nothing kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from secrets import token_hex

from ..models.tasks import Task
from .claims import forks
from .protocol import Claim, Entry, State, TaskRecord


class NullJournal:
    """Numbers keys, and keeps nothing."""

    resubmits = False

    def __init__(self) -> None:
        self._forks, self._prefix = forks(), token_hex(8)
        self._numbers = count(1)

    def attach(self) -> None:
        """Open nothing."""

    async def detach(self) -> None:
        """Close nothing."""

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Return the key given, or one that no other create has."""
        if self._forks != forks():  # forked: the keys of both must differ
            self._forks, self._prefix = forks(), token_hex(8)
        return Claim(key or f"{self._prefix}-{next(self._numbers)}", None)

    async def release(self, key: str, *, made: bool = True) -> None:
        """Keep nothing."""

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Keep nothing."""

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Keep nothing."""

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Keep nothing."""

    async def mark_refused(self, key: str, reason: str) -> None:
        """Keep nothing."""

    async def mark_planned(self, key: str) -> None:
        """Keep nothing."""

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Keep nothing."""

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Keep nothing."""
        return None

    async def mark_ended(self, task: Task) -> None:
        """Keep nothing."""

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Keep nothing."""

    async def find_entry(self, key: str) -> Entry | None:
        """Know nothing."""
        return None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Know nothing."""
        return None

    async def find_owner(self, task_id: str) -> str | None:
        """Know nothing."""
        return None

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Know nothing."""
        nothing: tuple[Entry, ...] = ()
        for one in nothing:
            yield one

    async def set_note(self, name: str, value: str) -> None:
        """Keep nothing."""

    async def get_note(self, name: str) -> str | None:
        """Know nothing."""
        return None
