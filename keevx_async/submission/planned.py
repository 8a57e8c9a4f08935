"""A create that is planned but not submitted yet."""

from __future__ import annotations

from attrs import define, field

from ..journal.protocol import Entry
from ..models.request import Request
from .reservations import Reservation


@define
class Planned:
    """A create that is about to be submitted. Its key is claimed.

    Attributes:
        request: the request.
        key: the create's key, in this run and in later runs.
        body: the request's canonical JSON, which contains the digests of local files.
        entry: the journal's entry for an earlier create with this key, if any.
        reservation: the create's share of the budget, once reserved; None if there is no budget.
        is_plain: whether the body can be sent unchanged; see ``Request.has_plain_sources``.
    """

    request: Request
    key: str
    body: bytes
    entry: Entry | None
    reservation: Reservation | None = None
    is_plain: bool = field(kw_only=True)
