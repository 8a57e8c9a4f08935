"""A create between its plan and its submission."""

from __future__ import annotations

from typing import NamedTuple

from ..journal.protocol import Entry
from ..models.request import Request
from .reservations import Reservation


class Planned(NamedTuple):
    """A create to be made, its key claimed.

    Attributes:
        request: what to make.
        key: names the create, in this run and in any later one.
        body: the request's canonical JSON; local files are in it by their digests.
        entry: what the journal knows of an earlier create of this key, if there was one.
        reservation: its share of the budget, once it has one; None without a budget.
        has_files: whether it has files that are uploaded first.
    """

    request: Request
    key: str
    body: bytes
    entry: Entry | None
    reservation: Reservation | None = None
    has_files: bool = False
