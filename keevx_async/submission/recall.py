"""Finds creates from earlier runs without waiting.

A program that is run again usually reads its requests in the journal's order. Finding their creates
needs no lasting claim, no permit and no waiting, so nothing here is a coroutine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from attrs import define, field

from ..journal.protocol import Entry, JournalProtocol
from ..models.bounded import BoundedDict
from ..models.kinds import Kind
from ..models.request import Request, canonical_body


@define(eq=False)
class Recall:
    """Finds the create that an earlier run submitted for a request.

    Args:
        journal: the journal to search.
        owners: see ``Submitter``, which uses the same object.
        register: called with each task's id, request, and age in seconds.
        remember_kind: called with the task ids and their kind.
    """

    _journal: JournalProtocol = field(alias="journal")
    _owners: BoundedDict[str, str] = field(alias="owners")
    _register: Callable[[str, Request, float], None] = field(alias="register")
    _remember_kind: Callable[[Sequence[str], Kind], None] = field(alias="remember_kind")

    def __call__(self, request: Request, key: str | None) -> Entry | None:
        """Return the request's submitted entry, or None if it cannot be found without waiting.

        None does not mean that the journal has no such create: only ``Submitter.submit`` decides
        what is sent. Without a key, each call returns a different entry.
        """

        def encode() -> bytes | None:  # the bytes of local files would have to be read first
            return None if request.files() else canonical_body(request)

        kind = request.kind
        entry = self._journal.recall(kind.name, encode, key)
        if entry is None:
            return None
        self._remember_kind(entry.task_ids, kind)
        age = max(0.0, time.time() - entry.at)  # a clock may have been wrong
        for task_id in entry.task_ids:
            self._owners.setdefault(task_id, entry.key)
            self._register(task_id, request, age)
        return entry
