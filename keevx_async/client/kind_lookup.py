"""Which kind of job a task is of: it is asked about where it was made."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ..errors import InvalidRequest, Violation
from ..journal.protocol import JournalProtocol
from ..models.kinds import Kind
from ..models.registry import REQUESTS, kind_by_id, kind_by_name

MAX_REMEMBERED = 100_000
"""Ids remembered whose prefix does not tell their kind; the oldest are forgotten."""


class KindResolver:
    """Knows each task's kind: from what it was told, from the id's prefix, from the journal.

    Args:
        journal: knows of what kind each create was.
    """

    def __init__(self, journal: JournalProtocol) -> None:
        self._journal = journal
        self._learned: OrderedDict[str, Kind] = OrderedDict()

    def remember(self, task_ids: Iterable[str], kind: Kind) -> None:
        """Remember the kind of tasks, as far as their ids do not tell it."""
        for task_id in task_ids:
            if kind_by_id(task_id) is kind:
                self._learned.pop(task_id, None)  # another may have been said of it by mistake
            else:
                self._learned[task_id] = kind
                if len(self._learned) > MAX_REMEMBERED:
                    self._learned.popitem(last=False)

    def remember_as(self, task_ids: Iterable[str], kind: str | None) -> tuple[str, ...]:
        """Return ids, whose kind is remembered if the caller names it.

        Raises:
            InvalidRequest: there is no such kind.
        """
        told = tuple(task_ids)
        if kind is not None:
            self.remember(told, kind_by_name(kind))
        return told

    def lookup(self, task_id: str) -> Kind | None:
        """Return the kind that was learned, or that the prefix tells."""
        return self._learned.get(task_id) or kind_by_id(task_id)

    async def resolve(self, task_id: str) -> Kind:
        """Return a task's kind.

        Raises:
            InvalidRequest: nothing tells it.
        """
        kind = self.lookup(task_id) or await self._recorded(task_id)
        if kind is None:
            message = (
                f"{task_id!r} does not tell its kind; give kind=, one of {', '.join(REQUESTS)}"
            )
            raise InvalidRequest([Violation("task_id", task_id, "kind", message)])
        return kind

    async def _recorded(self, task_id: str) -> Kind | None:
        """Return the kind of the create that the task is of; that reads the whole journal."""
        key = await self._journal.find_owner(task_id)
        entry = await self._journal.find(key) if key is not None else None
        if entry is None:
            return None
        self.remember([task_id], kind_by_name(entry.kind))
        return self.lookup(task_id)
