"""What earlier runs have made, which a run that makes nothing more still delivers."""

from __future__ import annotations

import time

from attrs import define, field

from ..journal.protocol import Entry, JournalProtocol


@define(eq=False)
class RecordedCreates:
    """The creates of earlier runs in a journal, and how many of them this run has met.

    When no more can be made, it decides how far the input is still worth reading: what was paid is
    waited for and downloaded, or reported as uncertain, and costs nothing. An endless input ends
    once all of them were met.

    Args:
        journal: the record of this run and of earlier ones.
        since: when this run began, in seconds since the epoch.
    """

    _journal: JournalProtocol = field(alias="journal")
    _since: float = field(factory=time.time, alias="since")
    _met: int = field(default=0, init=False)
    _total: int | None = field(default=None, init=False)

    def meet(self, entry: Entry | None) -> bool:
        """Count the entry of an item, None for none; return whether it is sent no more."""
        if entry is None or not entry.is_final(resubmits=self._journal.resubmits):
            return False
        self._met += self._is_earlier(entry)
        return True

    async def load(self) -> None:
        """Count the creates of earlier runs, the first time only: the whole journal is read."""
        if self._total is None:
            counted = 0
            resubmits = self._journal.resubmits
            async for entry in self._journal.entries():
                counted += entry.is_final(resubmits=resubmits) and self._is_earlier(entry)
            self._total = counted

    def has_more(self) -> bool:
        """Return whether there are creates of earlier runs that were not met; as loaded."""
        return self._met < (self._total or 0)

    def _is_earlier(self, entry: Entry) -> bool:
        return entry.at is not None and entry.at < self._since
