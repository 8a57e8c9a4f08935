"""What is learned of how long tasks take, kept in the journal between runs."""

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
    """The durations that polling learns from: those of earlier runs, and of this one.

    It never fails: a journal that cannot be read or written costs only what it would have taught.
    It outlives an event loop.

    Args:
        journal: keeps the durations between runs.

    Attributes:
        durations: what is learned so far; empty until `load`.
    """

    _journal: JournalProtocol
    durations: Durations = field(factory=Durations, init=False)
    _loaded: bool = field(default=False, init=False)

    async def load(self) -> None:
        """Take in what earlier runs learned; call it before a task is scheduled.

        Once is enough: later calls return at once. A note that cannot be read is tried again by
        the next call, and is not overwritten by `save` until then.
        """
        if self._loaded:
            return
        with suppress(JournalError):
            note = await self._journal.get_note(DURATIONS)
            try:
                learned: object = json.loads(note or "{}")
            except ValueError:  # a note that is damaged teaches nothing
                learned = {}
            if not self._loaded:  # else another call did so meanwhile, and more was learned since
                self._loaded = True
                self.durations.load(learned)

    async def save(self) -> None:
        """Keep what was learned for the next run."""
        if self._loaded:
            with suppress(JournalError):
                await self._journal.set_note(DURATIONS, json.dumps(self.durations.dump()))
