"""Finds creates from earlier runs, which a run still delivers when it can no longer submit."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import attrs
from attrs import define, field

from ..journal.protocol import Entry, JournalProtocol
from ..models.registry import REQUESTS
from ..models.request import Request


@define(eq=False)
class RecordedCreates:
    """Counts a journal's creates from earlier runs, and those found in this run's input.

    When nothing more can be submitted, the counts decide how far the input is still read. Items
    that were already charged are waited for and downloaded, or reported as uncertain, at no cost.
    Once all of them have been found, reading stops, even if the input is endless.

    Args:
        journal: the record of this run and earlier runs.
        since: when this run started, in seconds since the epoch.
    """

    _journal: JournalProtocol = field(alias="journal")
    _since: float = field(factory=time.time, alias="since")
    _met: int = field(default=0, init=False)
    _total: int | None = field(default=None, init=False)

    def meet(self, entry: Entry | None) -> bool:
        """If an item's create must not be sent again, count its entry and return True."""
        if entry is None or not entry.is_final(resubmits=self._journal.resubmits):
            return False
        self.count(entry)
        return True

    def count(self, entry: Entry) -> None:
        """Count the entry of an item whose create must not be sent again."""
        self._met += self._is_earlier(entry)

    async def load(self) -> None:
        """Read the whole journal to count the creates of earlier runs. Later calls do nothing."""
        if self._total is None:
            counted = 0
            resubmits = self._journal.resubmits
            async for entry in self._journal.entries():
                counted += entry.is_final(resubmits=resubmits) and self._is_earlier(entry)
            self._total = counted

    def has_more(self) -> bool:
        """Return whether some creates counted by `load` have not been found in the input yet."""
        return self._met < (self._total or 0)

    def _is_earlier(self, entry: Entry) -> bool:
        return entry.at is not None and entry.at < self._since


def recorded_request(entry: Entry) -> Request:
    """Return the request of a create in the journal, as it was submitted.

    The request is not validated again: the rules may have changed, and the journal records local
    files and task results by identifiers instead of URLs.
    """
    kind, fields = REQUESTS[entry.kind], json.loads(entry.body)
    request = object.__new__(kind)
    for each in attrs.fields(cast(Any, kind)):
        value: object = fields.get(each.name, each.default)
        items = tuple(cast("list[object]", value)) if isinstance(value, list) else value
        object.__setattr__(request, each.name, items)
    return request
