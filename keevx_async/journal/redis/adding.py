"""Add planned creates to the journal, many in one round trip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from secrets import token_hex

from ..encoding import check_key, other_request_error
from ..protocol import State, stem_of
from . import encoding, scripts
from .connection import Connection
from .encoding import Added, Planned


class Adder:
    """Adds planned creates, and remembers the number of equal bodies in each input.

    Args:
        connection: runs scripts.
        journal: the journal to name in error messages.
    """

    def __init__(self, connection: Connection, journal: object) -> None:
        self._connection = connection
        self._journal = journal
        self._added: dict[tuple[str, str], int] = {}

    async def add_many(self, holder: str, creates: Sequence[Planned], run: str) -> list[Added]:
        """Record planned creates; see ``RedisJournal.add_many``."""
        rows: list[tuple[str | float, ...]] = []
        now = f"{time.time():.3f}"
        for kind, body, key in creates:
            if key is not None:
                check_key(key)
            stem, token = stem_of(kind, body), token_hex(scripts.TOKEN // 2)
            # Numbers up to this input's last number are taken. By starting after them, the n-th of
            # several equal creates does not have to try all earlier numbers.
            first = self._added.get((run, stem), 0) + 1
            rows.append((token, kind, body.decode(), now, run, key or "", stem, first))
        purpose = f"{len(rows)} creates could not be added"
        answers = await self._connection.run_many(purpose, scripts.PLAN, holder, rows)
        added: list[Added] = []
        for create, (verdict, word, *rest) in zip(creates, answers, strict=True):
            if verdict == b"other":
                raise other_request_error(
                    self._journal, create.key or "", word.decode(), create.body
                )
            key = word.decode()
            stem, _, number = key.rpartition("-")
            if create.key is None and number != "1":
                self._added[run, stem] = int(number)
            entry = encoding.entry_of(key, rest[1], held=bool(rest[0])) if rest else None
            if entry is not None and rest[2]:  # it was refused until now
                entry = entry._replace(state=State.REFUSED)
            added.append(Added(key, entry))
        return added
