"""The durable record of what was submitted, ended and brought home. sqlite3 lives here."""

from .entries import Claim, Entry, JournalProtocol, State, TaskRecord, first_try
from .memory import NoJournal
from .sqlite import Journal

__all__ = [
    "Claim",
    "Entry",
    "Journal",
    "JournalProtocol",
    "NoJournal",
    "State",
    "TaskRecord",
    "first_try",
]
