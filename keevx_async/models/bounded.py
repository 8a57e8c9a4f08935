"""A size-limited mapping, on which the package's caches are built."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict that forgets its oldest entries beyond a limit.

    An entry's age is that of its key: setting an existing key changes its value but not its place.
    ``move_to_end`` makes an entry the newest again. The limit applies however an entry is added;
    forgetting one takes constant time, regardless of size.

    Args:
        limit: the maximum number of entries to keep.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            self.popitem(last=False)
