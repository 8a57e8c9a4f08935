"""Looks up creates that an earlier run submitted in the journal, without waiting.

A program that is run again meets its creates in the order of the journal. For these it needs no
claim that outlives the call, no permit and no step that waits, so nothing here is a coroutine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from attrs import define, field

from ..journal.protocol import Entry, JournalProtocol
from ..models.bounded import BoundedDict
from ..models.encoding import canonical_body
from ..models.kinds import Kind
from ..models.request import Request


@define(eq=False)
class Recall:
    """Finds the submitted create that matches a request.

    Args:
        journal: the record of earlier runs.
        owners: as for ``Submitter``, which shares this and the next two.
        register: called with each task's id, request, and age in seconds.
        remember_kind: called with the ids and their kind.
    """

    _journal: JournalProtocol = field(alias="journal")
    _owners: BoundedDict[str, str] = field(alias="owners")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _remember_kind: Callable[[Sequence[str], Kind], None] = field(alias="remember_kind")

    def __call__(self, request: Request) -> Entry | None:
        """Return the journal's entry for a request without a named key; None to submit it.

        None does not mean that the journal has no such create: only ``Submitter.submit`` decides
        what is sent. An entry that is returned was submitted, and no two calls return the same one.
        """
        if request.files():  # their bytes must be read first
            return None
        kind = request.kind
        entry = self._journal.recall(kind.name, lambda: canonical_body(request))
        if entry is None:
            return None
        self._remember_kind(entry.task_ids, kind)
        age = max(0.0, time.time() - entry.at)  # a clock may have been wrong
        for task_id in entry.task_ids:
            self._owners.setdefault(task_id, entry.key)
            self._register(task_id, request, age)
        return entry
