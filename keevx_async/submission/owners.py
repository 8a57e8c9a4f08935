"""Which create each task id belongs to, as far as this client has seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MOST_OWNED = 100_000
"""Task ids of which a client remembers the create; the oldest are forgotten."""


class Owners:
    """Which create each task id was given to. It outlives an event loop.

    An id that comes again in the answer to another create shows that this answer is not its own:
    a server or a gateway answered twice on one connection.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[str, str] = OrderedDict()

    def add(self, task_ids: Sequence[str], key: str) -> None:
        """Remember whose these ids are; an id that is another create's stays so."""
        keys = self._keys
        for task_id in task_ids:
            keys.setdefault(task_id, key)
        while len(keys) > MOST_OWNED:
            keys.popitem(last=False)

    def foreign(self, task_ids: Sequence[str], key: str) -> dict[str, str]:
        """Return those ids that are another create's, with its key."""
        keys = self._keys
        return {one: keys[one] for one in task_ids if keys.get(one, key) != key}
