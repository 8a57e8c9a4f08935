"""Answers at once, from the journal, what an earlier run has submitted.

A program that is run again meets its creates in the order of the journal. For those it needs no
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
    """Finds the submitted create that a request meets.

    Args:
        journal: has it.
        owners: as for ``Submitter``, and shared with it; so are the others.
        register: receives each task's id, request, and age in seconds.
        remember_kind: receives the ids and their kind.
    """

    _journal: JournalProtocol = field(alias="journal")
    _owners: BoundedDict[str, str] = field(alias="owners")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _remember_kind: Callable[[Sequence[str], Kind], None] = field(alias="remember_kind")

    def __call__(self, request: Request) -> Entry | None:
        """Return the entry of a request without a named key, as met; None to submit it.

        None does not mean that the journal has no such create: only ``Submitter.submit`` decides
        what is sent. An entry that is returned was submitted, and each call returns another.
        """
        if request.files():  # their bytes are to be read first
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
