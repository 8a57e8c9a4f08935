"""Rows read before they are asked for, because a program run again asks in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Row = tuple[Any, ...]
"""Its number and its key come first."""

NEAR = 64
"""Most rows between two look-ups that count as in order: about what is in flight at a time."""

WINDOW = 512
"""Rows read at once."""


class ReadAhead:
    """Holds the rows that follow the last one found.

    To look a key up in a large file costs ten times what the next row does. Look-ups in no
    order hardly ever lie near each other, so they cost what they did.

    Args:
        fetch: returns at most so many rows after a row's number, in order.
    """

    def __init__(self, fetch: Callable[[int, int], Iterable[Row]]) -> None:
        self._fetch = fetch
        self._rows: dict[str, Row] = {}
        self._last = 0

    def get(self, key: str) -> Row | None:
        """Return a key's row if it is here."""
        row = self._rows.get(key)
        if row is not None:
            self._last = row[0]
        return row

    def found(self, row: Row, *, quiet: bool) -> None:
        """Note a row that was looked up; read on if it followed the last one closely.

        Args:
            row: the one found.
            quiet: whether nothing is being written: what is read then holds until forgotten.
        """
        near = 0 < row[0] - self._last <= NEAR
        self._last = row[0]
        if near and quiet:
            self._rows = {one[1]: one for one in self._fetch(self._last, WINDOW)}

    def forget(self, key: str) -> None:
        """Drop what is about to change."""
        self._rows.pop(key, None)
