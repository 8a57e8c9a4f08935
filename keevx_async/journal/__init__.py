"""The durable record of what was submitted, ended and brought home. sqlite3 lives here."""

from .claims import Claims
from .null import NoJournal
from .protocol import (
    DIED,
    Claim,
    Entry,
    JournalProtocol,
    State,
    TaskRecord,
    first_try,
    made,
    partly,
)
from .sqlite import Journal, resubmits

__all__ = [
    "DIED",
    "Claim",
    "Claims",
    "Entry",
    "Journal",
    "JournalProtocol",
    "NoJournal",
    "State",
    "TaskRecord",
    "first_try",
    "made",
    "partly",
    "resubmits",
]
