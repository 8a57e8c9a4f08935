"""A mapping that remembers only so much: what each cache of the package is made of."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict that forgets its oldest entries beyond a limit.

    The age of an entry is that of its key: setting a key that is present changes its value and
    not its place. ``move_to_end`` makes an entry the newest again. Every way to add an entry
    keeps to the limit; forgetting one takes constant time, however many there are.

    Args:
        limit: the most entries that are kept.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            self.popitem(last=False)
