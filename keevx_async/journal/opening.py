"""Open a SQLite journal for reading, or for writing by all clients in this process."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Self

from ..errors import JournalError
from .claims import Claims
from .database import Database, join, leave
from .lock import LostCommits
from .owner import Owner, admit
from .reader import Queries, Reader, is_written

log = logging.getLogger("keevx_async.journal")

_users = threading.RLock()
"""Held while journals are opened and closed, which may happen in several threads."""


class JournalFile:
    """A journal's file and its users.

    Args:
        path: the file's path.
        adopts: whether to hand the journal over to the client that opens it.
    """

    def __init__(self, path: Path, *, adopts: bool) -> None:
        self.path: Path = path
        self._adopts = adopts
        self._users = 0
        self._opened: Database | None = None
        self._claims: Claims | None = None
        self._readers = 0
        self._reader: Reader | None = None
        self._is_changing = False

    async def __aenter__(self) -> Self:
        # 1. The journal is open: there is one more user.
        # 2. The file exists: it is opened for reading, and for writing on the first change.
        # 3. The file does not exist: it is created.
        with _users:
            if self._opened is None and self._reader is None and is_written(self.path):
                self._reader = Reader(self.path)
            if self._reader is None:
                self.attach()
            else:
                self._readers += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        with _users:
            is_reader = self._reader is not None
            self._readers -= is_reader
            was_changing = self._is_changing and not self._readers
            if was_changing:
                self._is_changing = False
            self._close_reader()
        if was_changing or not is_reader:
            await self.detach()

    def attach(self, owner: Owner | None = None) -> None:
        """Open the journal for another user. The first user opens the file.

        If the journal's log is missing, the journal is opened read-only, and a warning is logged.
        Its entries can still be read. Nothing can be recorded, so nothing is sent; ``lost`` says
        why.

        Args:
            owner: the host and account for which the journal is used; None skips the check.

        Raises:
            JournalError: the journal cannot be used, belongs to another host or account, or is in
                use on another event loop; the message says why.
        """
        with _users:
            try:
                opened = self._opened or join(self.path)
            except LostCommits as error:
                if self._adopts:  # adopting is a change
                    raise
                self._attach_to_read(owner, error)
                return
            try:
                opened.holds.check_loop()
                if owner is not None:
                    opened.own(owner, str(self.path), adopts=self._adopts)
                claims = self._claims or opened.join()
            except BaseException:
                if self._opened is None:
                    leave(opened)
                raise
            self._opened, self._claims = opened, claims
            self._users += 1

    def _attach_to_read(self, owner: Owner | None, lost: LostCommits) -> None:
        if self._reader is None:
            self._reader = Reader(self.path)
        try:
            record = self._reader.owner()
            if owner is not None and record is not None:
                admit(record, owner, str(self.path), "restore its files first", adopts=False)
        except BaseException:
            self._close_reader()
            raise
        self._users += 1
        log.warning("the journal is read-only, so nothing will be sent: %s", lost.message)

    def _close_reader(self) -> None:
        """Close the reader unless it is still in use."""
        needed = self._readers or (self._users and self._opened is None)
        if self._reader is not None and not needed:
            self._reader.close()
            self._reader = None

    async def check_owner(self) -> None:
        """Do nothing, because ``attach`` has already checked the owner."""

    async def detach(self) -> None:
        """Stop using the journal. The last user to do so closes the file.

        Everything recorded before this call is durable on return.
        """
        with _users:
            self._users -= 1
            if self._users == 0 and self._opened is not None and self._claims is not None:
                self._claims.leave()
                opened, self._opened, self._claims = self._opened, None, None
                leave(opened)
            self._close_reader()

    @property
    def shared(self) -> object:
        """An object that is the same for all users of the open journal in this process."""
        return self._file

    @property
    def lost(self) -> str | None:
        """A message about the data that the journal lost with its log; None if it lost nothing."""
        if self._opened is not None or self._reader is None or self._reader.lost is None:
            return None
        return self._reader.lost.message

    @property
    def is_live(self) -> bool:
        """Whether a live program, this one or another, has the journal open for writing.

        If the journal is open only for reading, this was determined when it was opened.
        """
        return self._opened is not None or (self._reader is not None and self._reader.is_live)

    @property
    def _file(self) -> Database:
        """The journal's database, which is opened for writing if necessary."""
        if self._opened is None and self.lost is not None:
            raise JournalError(self.lost)
        if self._opened is None and self._reader is not None:
            self.attach()
            self._is_changing = True
        if self._opened is None:
            raise JournalError(f"{self.path} is not open")
        self._opened.holds.enter()
        return self._opened

    @property
    def _queries(self) -> Queries:
        """The journal's queries. The file is open for reading or writing."""
        return self._reader if self._opened is None and self._reader is not None else self._file

    @property
    def _own_claims(self) -> Claims:
        if self._claims is None:
            raise JournalError(f"{self.path} is not open")
        return self._claims
