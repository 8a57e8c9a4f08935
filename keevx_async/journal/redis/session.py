"""Open and close a journal in Redis, and check its owner."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from attrs import astuple

from ...errors import JournalError
from ..owner import Owner, OwnerRecord, admit
from . import scripts
from .connection import Connection, Sleep
from .lease import Lease

OWNER = "owner"
"""The name of the note that contains the journal's owner."""
ADOPT = "run: keevx journal --docket URL --adopt"


class Session:
    """A journal's users and owner, and its lease while it is in use.

    Args:
        connection: runs scripts.
        name: the journal's name.
        duration: seconds without a heartbeat after which a worker counts as dead.
        holder_name: this process's name, as shown to processes that wait for its claims.
        adopts: whether to hand the journal over to the client that opens it.
        sleep: waits for the given number of seconds.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        duration: float,
        holder_name: str,
        adopts: bool,
        sleep: Sleep,
    ) -> None:
        self.name: str = name
        self.connection: Connection = connection
        self._duration = duration
        self._holder_name = holder_name
        self._sleep = sleep
        self._adopts = adopts
        self._owner: Owner | None = None
        self._is_owned = False
        self._aclose: Callable[[], Awaitable[None]] | None = None
        self._users = 0
        self._opened: Lease | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def __aenter__(self) -> Self:
        self.attach()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    @property
    def shared(self) -> object:
        """The journal itself, because the shared data is in Redis."""
        return self

    @property
    def lost(self) -> None:
        """Always None, because the journal cannot tell whether Redis has lost data."""

    def attach(self, owner: Owner | None = None) -> None:
        """Open the journal for another user. Redis is not contacted until the journal is used.

        Args:
            owner: the host and account for which the journal is used; None skips the check.

        Raises:
            JournalError: this object is open for another host or account.
        """
        if owner is not None:
            if self._owner not in (None, owner):
                raise JournalError(
                    f"journal {self.name!r} in Redis is open for another host or account; use a "
                    "separate RedisJournal, with its own name, for each"
                )
            self._owner = owner
        if self._opened is None:
            self._opened = Lease(
                self.connection, self._duration, self._holder_name, repr(self), self._sleep
            )
        self._users += 1

    async def check_owner(self) -> None:
        """Check the journal's owner: the first host and account that used it.

        Raises:
            JournalError: the journal belongs to another owner, or Redis stayed unavailable.
        """
        # This runs before each step once the owner is known, so the first step contacts Redis. If
        # two first clients race, the script lets one of them record itself as the owner, and the
        # other reads that record.
        if self._owner is None or self._is_owned:
            return
        purpose, run = "its owner could not be read", self.connection.run
        holder = self._lease.holder
        answer = await run(purpose, scripts.GET_NOTE, holder, OWNER)
        text = answer.decode() if answer else None
        for _ in range(2):
            record = OwnerRecord(*json.loads(text)) if text is not None else None
            name = f"journal {self.name!r} in Redis"
            new = admit(record, self._owner, name, ADOPT, adopts=self._adopts)
            if new is None:
                break
            values = (OWNER, json.dumps(astuple(new)), text or "")
            text = (await run(purpose, scripts.REPLACE_NOTE, holder, *values)).decode()
        self._is_owned = True

    async def detach(self) -> None:
        """Stop using the journal. The last user to do so releases all claims and closes it."""
        self._users -= 1
        if self._users == 0 and self._opened is not None:
            lease, self._opened = self._opened, None
            self._owner, self._is_owned = None, False
            try:
                await lease.close()
            finally:
                if self._aclose is not None:
                    await self._aclose()

    @property
    def _lease(self) -> Lease:
        if self._opened is None:
            raise JournalError(f"journal {self.name!r} in Redis is not open")
        self._opened.claims.enter()
        return self._opened

    async def _run(self, purpose: str, script: scripts.Script, *values: str | float) -> Any:
        if self._owner is not None and not self._is_owned:
            await self.check_owner()
        return await self.connection.run(purpose, script, self._lease.holder, *values)
