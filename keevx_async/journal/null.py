"""The journal that keeps nothing: what a client uses when it is given none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from secrets import token_hex

from ..models.tasks import Task
from ..models.usage import Usage, UsageLimit
from .claims import fork_count
from .protocol import Claim, Entry, State, TaskRecord


class NullJournal:
    """Gives each create a key of its own and keeps nothing.

    The same steps run as with a journal, so the create path has no branch for it. Keys are unique
    across processes, forked ones included.
    """

    resubmits = False

    def __init__(self) -> None:
        self._forks, self._prefix = fork_count(), token_hex(8)
        self._numbers = count(1)

    def attach(self) -> None:
        """Open nothing."""

    async def detach(self) -> None:
        """Close nothing."""

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Return the key passed, or a new one.

        A key that is passed twice is not waited for: nobody can tell whether it was used before.
        """
        # A forked process continues its parent's numbers, so it needs a prefix of its own.
        if self._forks != fork_count():
            self._forks, self._prefix = fork_count(), token_hex(8)
        return Claim(key or f"{self._prefix}-{next(self._numbers)}", None)

    async def release(self, key: str, *, made: bool = True) -> None:
        """Do nothing."""

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record nothing."""

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Return False: the client counts."""
        return False

    async def usage(self) -> Usage:
        """Return nothing: nothing is kept of earlier runs."""
        return {}

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record nothing."""

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record nothing."""

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record nothing."""

    async def mark_planned(self, key: str) -> None:
        """Record nothing."""

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record nothing."""

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Record nothing; return None."""
        return None

    async def mark_ended(self, task: Task) -> None:
        """Record nothing."""

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record nothing."""

    async def find(self, key: str) -> Entry | None:
        """Return None."""
        return None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return None."""
        return None

    async def find_owner(self, task_id: str) -> str | None:
        """Return None."""
        return None

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield nothing."""
        empty: tuple[Entry, ...] = ()
        for entry in empty:
            yield entry

    async def set_note(self, name: str, value: str) -> None:
        """Record nothing."""

    async def get_note(self, name: str) -> str | None:
        """Return None."""
        return None
