"""A size-limited mapping, used for the package's caches."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict that forgets its oldest entries beyond a limit.

    An entry is as old as its key: setting an existing key changes the value, but not the position.
    ``move_to_end`` makes an entry the newest again. The limit applies to every way of adding an
    entry. Removing the oldest entry takes constant time, regardless of size.

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
