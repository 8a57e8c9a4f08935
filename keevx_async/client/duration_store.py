"""Stores the learned durations of tasks in the journal between runs."""

from __future__ import annotations

import json
from contextlib import suppress

from attrs import define, field

from ..errors import JournalError
from ..journal.protocol import JournalProtocol
from ..polling.durations import Durations

DURATIONS = "durations"
"""The name of the journal's note."""


@define(eq=False)
class DurationStore:
    """The durations that polling learns from, in earlier runs and in this one.

    It never fails: if the journal cannot be read or written, only the learned durations are lost.
    It outlives an event loop.

    Args:
        journal: stores the durations between runs.

    Attributes:
        durations: the durations learned so far; empty until `load`.
    """

    _journal: JournalProtocol
    durations: Durations = field(factory=Durations, init=False)
    _loaded: bool = field(default=False, init=False)

    async def load(self) -> None:
        """Load the durations that earlier runs learned; call it before a task is scheduled.

        Once is enough: later calls return immediately. If the note cannot be read, the next call
        tries again, and until then `save` does not overwrite it.
        """
        if self._loaded:
            return
        with suppress(JournalError):
            note = await self._journal.get_note(DURATIONS)
            try:
                learned: object = json.loads(note or "{}")
            except ValueError:  # a damaged note teaches nothing
                learned = {}
            if not self._loaded:  # else another call loaded it, and more was learned since
                self._loaded = True
                self.durations.load(learned)

    async def save(self) -> None:
        """Save the learned durations for the next run."""
        if self._loaded:
            with suppress(JournalError):
                await self._journal.set_note(DURATIONS, json.dumps(self.durations.dump()))
