"""Stores learned task durations in the journal between runs."""

from __future__ import annotations

import json
from contextlib import suppress

from attrs import define, field

from ..errors import JournalError
from ..journal.protocol import JournalProtocol
from ..polling.durations import Durations

DURATIONS = "durations"
"""The name of the journal note that contains the durations."""


@define(eq=False)
class DurationStore:
    """Loads and saves the task durations that polling learns.

    It never raises: if the journal cannot be read or written, only the learned durations are lost.
    A store can be used on several event loops, one after another.

    Args:
        journal: stores the durations between runs.

    Attributes:
        durations: the durations learned so far; empty until `load`.
    """

    _journal: JournalProtocol
    durations: Durations = field(factory=Durations, init=False)
    _loaded: bool = field(default=False, init=False)

    async def load(self) -> None:
        """Load the durations learned in earlier runs. Call it before scheduling any task.

        After the durations are loaded, calls return immediately. If the note cannot be read, the
        next call tries again; until then, `save` does not overwrite the note.
        """
        if self._loaded:
            return
        with suppress(JournalError):
            note = await self._journal.get_note(DURATIONS)
            try:
                learned: object = json.loads(note or "{}")
            except ValueError:  # ignore a damaged note
                learned = {}
            if not self._loaded:  # another call may have loaded it, and more was learned since
                self._loaded = True
                self.durations.load(learned)

    async def save(self) -> None:
        """Save the learned durations for the next run."""
        if self._loaded:
            with suppress(JournalError):
                await self._journal.set_note(DURATIONS, json.dumps(self.durations.dump()))
