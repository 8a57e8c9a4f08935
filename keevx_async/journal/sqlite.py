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
from . import encoding as rows
from .claims import RESTARTABLE
from .database import Database
from .protocol import (
    DIED_WHILE_SENDING,
    Claim,
    Entry,
    State,
    TaskRecord,
    has_ids_reason,
    next_attempt_key,
    partial_reason,
)
from .writer import EntryChanged

T = TypeVar("T")

TASK_BY_ID = f"SELECT {rows.TASK} FROM tasks WHERE task_id = ?"  # noqa: S608 - our own names

_ADDRESS = re.compile(r"(sqlite|file):|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_users = threading.Lock()
"""Held where journals are opened and closed, for clients may be so in several threads."""


class Journal:
    """The durable record of what was submitted, in one SQLite file.

    The intent is on disk before the first byte of a create, and the ids are before the caller
    has them. Give it to ``Keevx(journal=…)``, which opens it when it is first used; or read it
    with ``async with Journal(path) as journal:``.

    It is written with ``synchronous=FULL``, so that a power cut loses no acknowledged intent
    where the disk keeps its word.

    Args:
        path: the file, made if need be; a ``-wal``, a ``-shm`` and a ``-lock`` file stand
            beside it while it is open, and belong to it if the program was killed.
            ``":memory:"`` keeps it in memory until it is closed.
        on_uncertain: ``"report"`` leaves a create whose answer was lost in an earlier run
            alone, ``"resubmit"`` sends it again, though it may have been paid.
        on_failed: ``"report"`` tells again of a create of an earlier run of which a task
            failed, ``"resubmit"`` makes and pays a new one, all its videos, under the key
            ``KEY~2``, once every task of the first has ended.

    Raises:
        ConfigurationError: the path is an address, such as ``sqlite:///run.db``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        on_failed: Literal["report", "resubmit"] = "report",
    ) -> None:
        if (address := _ADDRESS.match(str(path))) is not None:
            raise ConfigurationError(
                f"the journal is given as an address ({address[0]}…); it must be the path of a "
                "file, such as run.db, or ':memory:'; Redis takes RedisJournal.from_url(…)"
            )
        self.path: Path = Path(path)
        self.resubmits: bool = is_resubmit("on_uncertain", on_uncertain)
        self._remakes = is_resubmit("on_failed", on_failed)
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
        """Open it, for one more user.

        Raises:
            JournalError: it cannot be used; the message says why.
        """
        with _users:
            if self._opened is None:
                self._opened = Database(self.path)
            self._users += 1

    async def detach(self) -> None:
        """Close it, when its last user leaves."""
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
        """Take a key: the one given, or the first free one among those of equal bodies.

        Where it was made again, the key of the last try is taken.

        Raises:
            JournalError: the key stands for another request, or cannot be written down.
        """
        claims = self._file.claims
        if key is None:
            claim = claims.number(f"{kind}:".encode() + body, self._file.find)
        else:
            claim = await self._take(kind, body, key)
        while (later := self._next_try(claim)) is not None:
            claims.release(claim.key, made=True)
            claim = await self._take(kind, body, later)
        self._file.claims.intents[claim.key] = _last_intent(claim.entry)
        return claim

    async def _take(self, kind: str, body: bytes, key: str) -> Claim:
        file = self._file
        if not rows.is_storable(key):
            raise JournalError(f"key {key!r} holds characters that cannot be kept; name another")
        entry = await file.claims.take(key, file.find)
        if entry is not None and (entry.kind, entry.body) != (kind, body.decode()):
            file.claims.release(key, made=True)
            raise JournalError(
                f"key {key!r} stands for another request; in {self.path}: {entry.body}; "
                f"given now: {body.decode()}. Give this one a key of its own"
            )
        return Claim(key, entry)

    def _next_try(self, claim: Claim) -> str | None:
        """Return the key under which a failed create was made again, or now is to be."""
        entry, later_tries = claim.entry, self._file.later_tries
        if entry is None or not (self._remakes or later_tries):
            return None
        later = next_attempt_key(claim.key)
        if not (self._remakes or later in later_tries) or not self._has_failed(entry):
            return None
        known = self._file.find(later)
        if known is not None and known[1].body == entry.body:  # else someone named it so
            return later if self._remakes or known[1].state not in RESTARTABLE else None
        found = self._file.find(claim.key)
        is_old = found is not None and self._file.claims.is_old(found[0])
        return later if self._remakes and is_old else None

    def _has_failed(self, entry: Entry) -> bool:
        """Tell whether all of its tasks have ended, and one failed."""
        records = [self._task(task_id) for task_id in entry.task_ids]
        ended = [one.task for one in records if one is not None and one.task.done]
        return len(ended) == len(records) and any(not task.succeeded for task in ended)

    async def release(self, key: str, *, made: bool = True) -> None:
        """Let others have the key; of one that was not made, an equal body may try again."""
        if self._opened is not None:
            self._opened.claims.release(key, made=made)

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Write the intent; durable on return.

        Raises:
            JournalError: it cannot be written, or something could not be before; or the entry
                has changed since it was claimed: another run has it, or ids came for it.
        """
        file, now = self._file, time.time()
        file.writer.check()
        last = file.claims.intents.get(key)
        if last is None:  # it was never claimed, or its event loop had stopped and lost it
            entry = await self.find_entry(key)
            if entry is not None and entry.state not in RESTARTABLE:
                raise self._changed(key, entry)
            last = _last_intent(entry)
        try:
            await file.save(rows.intent_row(key, kind, body, now, last))
        except EntryChanged as error:
            raise self._changed(key, await self.find_entry(key)) from error
        file.claims.intents[key] = now

    def _changed(self, key: str, entry: Entry | None) -> JournalError:
        state = entry.state if entry is not None else "gone"
        return JournalError(
            f"{self.path}: {key} is {state} meanwhile, by another run or by ids that came for it. "
            "Nothing was sent; submit it again, and what is known of it is there"
        )

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Write the ids; durable on return."""
        await self._file.save(rows.state_row(key, State.SUBMITTED, "", task_ids))

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Write that the answer was lost, and ids known all the same; durable on return."""
        await self._file.save(rows.state_row(key, State.UNCERTAIN, reason, task_ids))

    async def mark_refused(self, key: str, reason: str) -> None:
        """Write that Keevx refused for good; durable on return."""
        await self._file.save(rows.state_row(key, State.REFUSED, reason))

    async def mark_planned(self, key: str) -> None:
        """Write that no task was made, and that it may be tried again; durable on return."""
        await self._file.save(rows.state_row(key, State.PLANNED))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Write what became of an uncertain create: its ids, or none of them.

        A create of several tasks may be settled again as more of its ids become known. A create
        that is under way, or that is being settled, is waited for. Ids that are known stay.

        Raises:
            JournalError: there is no uncertain create of that key: another settlement came
                first, say; or it has ids, and so cannot be settled as none.
        """
        await self._undisturbed(key, lambda entry: self._settle(key, task_ids, entry))

    async def _settle(self, key: str, task_ids: Sequence[str], entry: Entry | None) -> None:
        if entry is None or not _is_open(entry, task_ids):
            state = "not in it" if entry is None else entry.state
            raise JournalError(f"{self.path}: {key} is {state}; only an uncertain one is settled")
        if not task_ids:
            if entry.task_ids:
                raise JournalError(f"{self.path}: {key} {has_ids_reason(entry.task_ids)}")
            await self.mark_planned(key)
            return
        await self.mark_submitted(key, _union(entry.task_ids, task_ids))

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add ids that Keevx confirmed to an entry in any state; durable on return.

        They outweigh whatever was assumed: an entry that was planned, refused or uncertain is
        submitted once it has as many ids as it was to have, and uncertain until then. A create
        that is under way, or that is being settled, is waited for.

        Args:
            key: of the entry.
            task_ids: those that it has already are kept once.
            count: how many tasks the create was to make.

        Returns:
            The entry as it was before; None if there is none of that key.
        """
        return await self._undisturbed(key, lambda entry: self._add(key, task_ids, count, entry))

    async def _add(
        self, key: str, task_ids: Sequence[str], count: int, entry: Entry | None
    ) -> Entry | None:
        if entry is None or set(task_ids) <= set(entry.task_ids):
            return entry
        ids = _union(entry.task_ids, task_ids)
        if entry.state is State.SUBMITTED or len(ids) >= count:
            await self.mark_submitted(key, ids)
        else:
            await self.mark_uncertain(key, partial_reason(len(ids), count), ids)
        return entry

    async def _undisturbed(
        self, key: str, change: Callable[[Entry | None], Coroutine[Any, Any, T]]
    ) -> T:
        """Look at an entry and change it while nobody else may.

        It ends even where its caller is cancelled: the key is held until what is written can
        be read, or the next one to look would decide by what no longer holds.
        """

        async def whole() -> T:
            file = self._file
            await file.claims.hold(key)
            try:
                found = file.find(key)
                entry = found[1] if found else None
                if entry is not None and entry.state is State.SENDING:  # by a run that died
                    entry = entry._replace(state=State.UNCERTAIN, reason=DIED_WHILE_SENDING)
                return await change(entry)
            finally:
                file.claims.release(key, made=True)

        return await asyncio.shield(asyncio.ensure_future(whole()))

    async def mark_ended(self, task: Task) -> None:
        """Note a task's end; a later run asks again if the note is lost."""
        self._file.writer.put("tasks", rows.end_row(task))

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Write where a task's result was brought; durable on return."""
        known = self._task(task.task_id)
        at = known.at if known is not None and known.task == task else None
        await self._file.writer.write("tasks", rows.download_row(task, at, path, size, digest))

    async def find_entry(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        found = self._file.find(key)
        return found[1] if found else None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of an ended task."""
        return self._task(task_id)

    def _task(self, task_id: str) -> TaskRecord | None:
        row = self._file.fetch_one(TASK_BY_ID, task_id)
        return rows.record_of(row) if row else None

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that was given a task id."""
        return await asyncio.to_thread(self._file.find_owner, task_id)

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield the entries in one state, or all, oldest first."""
        for one in self._file.entries():
            if state in (None, one.state):
                yield one

    async def set_note(self, name: str, value: str) -> None:
        """Keep a small text for the next run."""
        self._file.writer.put("notes", [name, value])

    async def get_note(self, name: str) -> str | None:
        """Return a text that was kept."""
        row = self._file.fetch_one("SELECT value FROM notes WHERE name = ?", name)
        return row[0] if row else None


def is_resubmit(name: str, value: str) -> bool:
    """Tell whether a setting says so.

    Raises:
        ValueError: it says neither that nor the other.
    """
    if value not in ("report", "resubmit"):
        raise ValueError(f"{name} is {value!r}, not 'report' or 'resubmit'")
    return value == "resubmit"


def _union(known: Sequence[str], task_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*known, *task_ids]))


def _last_intent(entry: Entry | None) -> float:
    return rows.NEVER if entry is None or entry.at is None else entry.at


def _is_open(entry: Entry, task_ids: Sequence[str]) -> bool:
    """Tell whether ids may be written: its own are not known, or are among those."""
    if entry.state is State.SUBMITTED:
        return set(entry.task_ids) < set(task_ids)
    return entry.state is State.UNCERTAIN
