"""Resolves a task's kind, which determines the endpoint for status queries."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidRequest, Violation
from ..journal.protocol import JournalProtocol
from ..models.bounded import BoundedDict
from ..models.kinds import Kind
from ..models.registry import REQUESTS, kind_by_id, kind_by_name

MAX_REMEMBERED = 100_000
"""The maximum number of remembered ids whose prefix does not show their kind. The oldest ids are
forgotten."""


class KindResolver:
    """Resolves a task's kind from the first source that knows it.

    1. the kind remembered from its submission, or from a caller's ``kind=``;
    2. the prefix of its id;
    3. the journal's record of its create.

    A resolver can be used on several event loops, one after another.

    Args:
        journal: records the kind of each create.
    """

    def __init__(self, journal: JournalProtocol) -> None:
        self._journal = journal
        self._remembered: BoundedDict[str, Kind] = BoundedDict(MAX_REMEMBERED)

    def remember(self, task_ids: Iterable[str], kind: Kind) -> None:
        """Remember the tasks' kind, unless the prefix of their ids shows it.

        This replaces any kind remembered before, which may be a caller's mistake.
        """
        for task_id in task_ids:
            if kind_by_id(task_id) is kind:
                self._remembered.pop(task_id, None)
            else:
                self._remembered[task_id] = kind

    def remember_as(self, task_ids: Iterable[str], kind: str | None) -> tuple[str, ...]:
        """Return the ids as a tuple, and remember their kind if ``kind`` is not None.

        Raises:
            InvalidRequest: there is no such kind.
        """
        ids = tuple(task_ids)
        if kind is not None:
            self.remember(ids, kind_by_name(kind))
        return ids

    def lookup(self, task_id: str) -> Kind | None:
        """Return a task's kind without reading the journal; None if it is unknown."""
        return self._remembered.get(task_id) or kind_by_id(task_id)

    async def resolve(self, task_id: str) -> Kind:
        """Return a task's kind. If `lookup` does not know it, read the whole journal.

        Raises:
            InvalidRequest: the task's kind is unknown.
        """
        if (kind := self.lookup(task_id)) is not None:
            return kind
        key = await self._journal.find_owner(task_id)
        entry = await self._journal.find(key) if key is not None else None
        if entry is None:
            message = f"{task_id!r} has an unknown kind; pass kind=, one of {', '.join(REQUESTS)}"
            raise InvalidRequest([Violation("task_id", task_id, "kind", message)])
        kind = kind_by_name(entry.kind)
        self.remember([task_id], kind)
        return kind
