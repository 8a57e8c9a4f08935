"""The journal in one SQLite file: read on the event loop, written by one thread."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from ..errors import ConfigurationError, JournalError
from ..models.tasks import Task
from ..models.usage import Usage, UsageLimit
from . import encoding
from .claims import RESTARTABLE
from .database import Database
from .protocol import (
    DIED_WHILE_SENDING,
    Claim,
    Entry,
    State,
    TaskRecord,
    has_ids_reason,
    is_resubmit,
    next_attempt_key,
    partial_reason,
)
from .writer import EntryChanged

T = TypeVar("T")

TASK_BY_ID = f"SELECT {encoding.TASK} FROM tasks WHERE task_id = ?"  # noqa: S608 - our own names

_URL = re.compile(r"(sqlite|file):|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_users = threading.Lock()
"""Held while journals are opened and closed, which clients may do in several threads."""


class Journal:
    """The durable record of what was submitted, in one SQLite file.

    The intent is on disk before the first byte of a create is sent, and the ids are before the
    caller gets them. Pass it to ``Keevx(journal=…)``, which opens it on first use; or read it
    with ``async with Journal(path) as journal:``.

    It is written with ``synchronous=FULL``: a power cut loses no acknowledged intent, provided
    that the disk does what it promises. One process at a time may have it open.

    Args:
        path: the file, created if need be. While it is open, a ``-wal``, a ``-shm`` and a
            ``-lock`` file stand beside it, and belong to it if the program was killed.
            ``":memory:"`` keeps it in memory until it is closed.
        on_uncertain: what to do with a create whose answer was lost in an earlier run.
            ``"report"`` reports it again; ``"resubmit"`` sends it again, though it may have been
            paid for.
        on_failed: what to do with a create of an earlier run of which a task failed.
            ``"report"`` reports it again; ``"resubmit"`` makes and pays for a new one, with all
            of its videos, under the key ``KEY~2``, once every task of the first has ended.

    Raises:
        ConfigurationError: the path is a URL, such as ``sqlite:///run.db``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        on_failed: Literal["report", "resubmit"] = "report",
    ) -> None:
        if (url := _URL.match(str(path))) is not None:
            raise ConfigurationError(
                f"the journal is a URL ({url[0]}…); it must be the path of a file, such as run.db, "
                "or ':memory:'; for Redis use RedisJournal.from_url(…)"
            )
        self.path: Path = Path(path)
        self.resubmits: bool = is_resubmit("on_uncertain", on_uncertain)
        self._resubmits_failed = is_resubmit("on_failed", on_failed)
        self._users = 0
        self._opened: Database | None = None

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    async def __aenter__(self) -> Self:
        self.attach()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    def attach(self) -> None:
        """Open the journal for one more user; the first one opens the file.

        Raises:
            JournalError: it cannot be used; the message says why.
        """
        with _users:
            if self._opened is None:
                self._opened = Database(self.path)
            self._users += 1

    async def detach(self) -> None:
        """Leave the journal; the last user closes the file.

        What was put before is durable on return.
        """
        with _users:
            self._users -= 1
            if self._users == 0 and self._opened is not None:
                opened, self._opened = self._opened, None
                opened.close()

    @property
    def _file(self) -> Database:
        if self._opened is None:
            raise JournalError(f"{self.path} is not open")
        self._opened.claims.enter()
        return self._opened

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other caller submits the same create meanwhile.

        Where a failed create was resubmitted, the key of its last attempt is claimed.

        Args:
            kind: of job.
            body: the canonical JSON of the request.
            key: the key to claim, waiting while another caller has it. None: the first free key
                of this body, so that the n-th of equal requests meets the n-th entry again.

        Raises:
            JournalError: the key belongs to another request, or cannot be stored.
        """
        file = self._file
        claims = file.claims
        if key is None:
            claim = claims.number(f"{kind}:".encode() + body, file.find)
        else:
            claim = await self._claim_named(kind, body, key)
        # From attempt to attempt, until the one that has not failed, or is to be made now.
        while (later := self._later_attempt(file, claim)) is not None:
            claims.release(claim.key, made=True)
            claim = await self._claim_named(kind, body, later)
        claims.intents[claim.key] = _last_intent(claim.entry)
        return claim

    async def _claim_named(self, kind: str, body: bytes, key: str) -> Claim:
        file = self._file
        encoding.check_key(key)
        entry = await file.claims.take(key, file.find)
        if entry is not None and (entry.kind, entry.body) != (kind, body.decode()):
            file.claims.release(key, made=True)
            raise encoding.other_request_error(self.path, key, entry.body, body)
        return Claim(key, entry)

    def _later_attempt(self, file: Database, claim: Claim) -> str | None:
        """Return the key under which a failed create was resubmitted, or is to be now."""
        entry, resubmits = claim.entry, self._resubmits_failed
        if entry is None or not (resubmits or file.later_attempts):
            return None
        later = next_attempt_key(claim.key)
        if not (resubmits or later in file.later_attempts):
            return None
        # Only a create of which all tasks have ended, and one failed, has a later attempt.
        records = [self._task(task_id) for task_id in entry.task_ids]
        ended = [record.task for record in records if record is not None and record.task.done]
        if len(ended) < len(records) or all(task.succeeded for task in ended):
            return None
        # 1. There is one: it is followed, unless it never began and is not to begin now.
        existing = file.find(later)
        if existing is not None and existing[1].body == entry.body:  # else it only has that name
            return later if resubmits or existing[1].state not in RESTARTABLE else None
        # 2. There is none: an entry of an earlier run is resubmitted. One of this run is not, or
        #    a program that retries on its own would pay again and again.
        row_and_entry = file.find(claim.key)
        is_old = row_and_entry is not None and file.claims.is_old(row_and_entry[0])
        return later if resubmits and is_old else None

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim; releasing twice is harmless.

        Args:
            key: the key claimed.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        if self._opened is not None:
            self._opened.claims.release(key, made=made)

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record the intent to send. Durable on return.

        Raises:
            JournalError: it cannot be written, or an earlier write has failed; or the entry has
                changed since it was claimed: another run has it, or ids arrived for it.
        """
        # The row says which intent its claim saw last. The writer refuses it if the entry has
        # another by now, so of two runs that share a file in spite of its lock, one sends.
        file, now = self._file, time.time()
        file.writer.check()
        last = file.claims.intents.get(key)
        if last is None:  # it was never claimed, or its event loop had stopped and lost it
            entry = await self.find(key)
            if entry is not None and entry.state not in RESTARTABLE:
                raise self._changed(key, entry)
            last = _last_intent(entry)
        try:
            await file.save(encoding.intent_row(key, kind, body, now, last))
        except EntryChanged as error:
            raise self._changed(key, await self.find(key)) from error
        file.claims.intents[key] = now

    def _changed(self, key: str, entry: Entry | None) -> JournalError:
        state = entry.state if entry is not None else "gone"
        return JournalError(
            f"{self.path}: {key} is {state} meanwhile: another run, or ids that arrived for it, "
            "changed it. Nothing was sent; submit it again to get its current state"
        )

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Return False: only this process writes it, so the client counts."""
        return False

    async def usage(self) -> Usage:
        """Return what its creates have made or may have made, uncertain ones included.

        A create counts for what it was to make, or for its ids where these are more. Reads all
        entries, in a thread and in bounded memory.
        """
        return await asyncio.to_thread(self._file.usage)

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the task ids of a create. Durable on return, and also if cancelled.

        Ids are only added to; none is ever removed.
        """
        await self._file.save(encoding.state_row(key, State.SUBMITTED, "", task_ids))

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record that the answer to a create was lost. Durable on return.

        Ids that are known all the same are kept; a submitted create stays submitted.
        """
        await self._file.save(encoding.state_row(key, State.UNCERTAIN, reason, task_ids))

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record that Keevx refused a create for good. Durable on return.

        Nothing was paid; whoever claims the key next may send it again.
        """
        await self._file.save(encoding.state_row(key, State.REFUSED, reason))

    async def mark_planned(self, key: str) -> None:
        """Record that a create made no task and may be sent again. Durable on return.

        A submitted create stays submitted.
        """
        await self._file.save(encoding.state_row(key, State.PLANNED))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record what became of an uncertain create. Durable on return, and also if cancelled.

        A create of several tasks may be settled again as more of its ids become known; none is
        ever removed. One that is in flight, or being settled, is waited for.

        Args:
            key: of the create.
            task_ids: its ids; empty if it was not made, and may be sent again.

        Raises:
            JournalError: it is not uncertain (another settlement may have come first), or it has
                ids and so cannot be settled without any.
        """

        async def change(entry: Entry | None) -> None:
            if entry is None:
                is_open = False
            elif entry.state is State.SUBMITTED:  # open only to more ids than it has
                is_open = set(entry.task_ids) < set(task_ids)
            else:
                is_open = entry.state is State.UNCERTAIN
            if entry is None or not is_open:
                state = "not in it" if entry is None else entry.state
                raise JournalError(
                    f"{self.path}: {key} is {state}; only an uncertain create can be settled"
                )
            if task_ids:
                await self.mark_submitted(key, _union(entry.task_ids, task_ids))
            elif entry.task_ids:
                raise JournalError(f"{self.path}: {key} {has_ids_reason(entry.task_ids)}")
            else:
                await self.mark_planned(key)

        await self._change_alone(key, change)

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add task ids that Keevx confirmed, whatever the entry's state. Durable on return.

        They outweigh what was assumed: an entry that was planned, refused or uncertain becomes
        submitted once it has all its ids, and uncertain until then. One that is in flight, or
        being settled, is waited for. If cancelled, they are written all the same.

        Args:
            key: of the create.
            task_ids: ids; those that it already has are ignored.
            count: how many tasks the create was to make.

        Returns:
            The entry as it was before; None if there is none.
        """

        async def change(entry: Entry | None) -> Entry | None:
            if entry is None or set(task_ids) <= set(entry.task_ids):
                return entry
            ids = _union(entry.task_ids, task_ids)
            if entry.state is State.SUBMITTED or len(ids) >= count:
                await self.mark_submitted(key, ids)
            else:
                await self.mark_uncertain(key, partial_reason(len(ids), count), ids)
            return entry

        return await self._change_alone(key, change)

    async def _change_alone(
        self, key: str, change: Callable[[Entry | None], Coroutine[Any, Any, T]]
    ) -> T:
        """Read an entry and change it while no other caller may.

        It runs to its end even if cancelled: the key is held until what is written can be read,
        or the next caller would decide by what no longer holds.
        """

        async def hold_and_change() -> T:
            file = self._file
            await file.claims.hold(key)
            try:
                row_and_entry = file.find(key)
                entry = row_and_entry[1] if row_and_entry else None
                if entry is not None and entry.state is State.SENDING:  # by a run that died
                    entry = entry._replace(state=State.UNCERTAIN, reason=DIED_WHILE_SENDING)
                return await change(entry)
            finally:
                file.claims.release(key, made=True)

        return await asyncio.shield(asyncio.ensure_future(hold_and_change()))

    async def mark_ended(self, task: Task) -> None:
        """Record the end of a task, without waiting for the disk.

        If the record is lost, a later run asks Keevx again.
        """
        self._file.writer.put("tasks", encoding.end_row(task))

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record where a task's result was downloaded to. Durable on return.

        Args:
            task: the task, ended.
            path: the file; made absolute.
            size: its bytes.
            digest: its SHA-256, in hexadecimal.
        """
        # A snapshot that has not changed keeps its time: its URL expires so many days after that.
        record = self._task(task.task_id)
        at = record.at if record is not None and record.task == task else None
        row = encoding.download_row(task, at, path, size, digest)
        await self._file.writer.write("tasks", row)

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key; None if there is none.

        ``sending`` that no caller of this process holds reads as ``uncertain``.
        """
        row_and_entry = self._file.find(key)
        return row_and_entry[1] if row_and_entry else None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task.

        None as long as no end of it is recorded.
        """
        return self._task(task_id)

    def _task(self, task_id: str) -> TaskRecord | None:
        row = self._file.select(TASK_BY_ID, task_id)
        return encoding.record_of(row) if row else None

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that a task belongs to.

        None if no entry has the id. Reads all entries, in a thread.
        """
        return await asyncio.to_thread(self._file.find_owner, task_id)

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all, oldest first.

        They are read as they are needed; the journal may be used meanwhile.
        """
        for entry in self._file.entries():
            if state in (None, entry.state):
                yield entry

    async def set_note(self, name: str, value: str) -> None:
        """Store a small text for later runs, without waiting for the disk.

        It replaces the one before.
        """
        self._file.writer.put("notes", [name, value])

    async def get_note(self, name: str) -> str | None:
        """Return a text stored by ``set_note``.

        None if there is none of that name.
        """
        row = self._file.select("SELECT value FROM notes WHERE name = ?", name)
        return row[0] if row else None


def _union(ids: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*ids, *more]))


def _last_intent(entry: Entry | None) -> float:
    return encoding.NEVER if entry is None or entry.at is None else entry.at
