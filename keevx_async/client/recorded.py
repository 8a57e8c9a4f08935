"""Creates of earlier runs, which a run still delivers once it cannot submit any more."""

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
    """The creates of earlier runs in a journal, and how many of them this run has found.

    When nothing more can be made, it decides how far the input is still worth reading. Creates that
    were already charged are waited for and downloaded, or reported as uncertain, at no cost. Even
    an endless input ends once all of them have been found.

    Args:
        journal: the record of this run and of earlier runs.
        since: when this run started, in seconds since the epoch.
    """

    _journal: JournalProtocol = field(alias="journal")
    _since: float = field(factory=time.time, alias="since")
    _met: int = field(default=0, init=False)
    _total: int | None = field(default=None, init=False)

    def meet(self, entry: Entry | None) -> bool:
        """Count an item's entry, if any; return whether its create must not be sent again."""
        if entry is None or not entry.is_final(resubmits=self._journal.resubmits):
            return False
        self.count(entry)
        return True

    def count(self, entry: Entry) -> None:
        """Count an item's entry whose create must not be sent again."""
        self._met += self._is_earlier(entry)

    async def load(self) -> None:
        """Count the creates of earlier runs by reading the whole journal, once only."""
        if self._total is None:
            counted = 0
            resubmits = self._journal.resubmits
            async for entry in self._journal.entries():
                counted += entry.is_final(resubmits=resubmits) and self._is_earlier(entry)
            self._total = counted

    def has_more(self) -> bool:
        """Return whether any of the loaded creates of earlier runs is still to be found."""
        return self._met < (self._total or 0)

    def _is_earlier(self, entry: Entry) -> bool:
        return entry.at is not None and entry.at < self._since


def recorded_request(entry: Entry) -> Request:
    """Return the request of a create in the journal, as it was submitted.

    It is not checked again: the rules may have changed since, and a local file or a task's result
    is recorded by what identifies it, not by its URL.
    """
    kind, fields = REQUESTS[entry.kind], json.loads(entry.body)
    request = object.__new__(kind)
    for each in attrs.fields(cast(Any, kind)):
        value: object = fields.get(each.name, each.default)
        items = tuple(cast("list[object]", value)) if isinstance(value, list) else value
        object.__setattr__(request, each.name, items)
    return request
