"""The durable record of what was submitted, ended and brought home. sqlite3 lives here."""

from .claims import Claims
from .null import NullJournal
from .protocol import (
    DIED_WHILE_SENDING,
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
    "DIED_WHILE_SENDING",
    "Claim",
    "Claims",
    "Entry",
    "Journal",
    "JournalProtocol",
    "NullJournal",
    "State",
    "TaskRecord",
    "first_try",
    "made",
    "partly",
    "resubmits",
]
