"""A create between its plan and its submission."""

from __future__ import annotations

from attrs import define

from ..journal.protocol import Entry
from ..models.request import Request
from .reservations import Reservation


@define
class Planned:
    """A create that is about to be submitted, and whose key is claimed.

    Attributes:
        request: the request.
        key: the create's key, in this run and in later runs.
        body: the request's canonical JSON, which contains the digests of local files.
        entry: the journal's entry for an earlier create with this key, if any.
        reservation: its share of the budget, once it has one; None without a budget.
        is_plain: whether the body is sent as it is: see ``Request.has_plain_sources``.
    """

    request: Request
    key: str
    body: bytes
    entry: Entry | None
    reservation: Reservation | None = None
    is_plain: bool = False
