"""The journal in one SQLite file: read on the event loop, written by one thread."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..errors import ConfigurationError, JournalError
from ..models.tasks import Task
from ..models.usage import Usage, UsageLimit
from . import encoding
from .claims import RESTARTABLE
from .database import Database
from .opening import JournalFile
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
    stem_of,
)
from .writer import EntryChanged

T = TypeVar("T")

TASK_BY_ID = f"SELECT {encoding.TASK} FROM tasks WHERE task_id = ?"  # noqa: S608 - our own names

_URL = re.compile(r"(sqlite|file):|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


class Journal(JournalFile):
    """The durable record of what was submitted, in one SQLite file.

    The intent is on disk before the first byte of a create is sent, and the ids are before the
    caller gets them. Pass it to ``Keevx(journal=…)``, which opens it. It belongs to the host and
    the account of its first client; another is refused before anything is sent.

    ``async with Journal(path) as journal:`` reads it, also while a run writes it: that takes no
    lock before something is changed, as by ``settle``. A copy that was made without its log
    (``-wal``) can only be read: what the log held would be paid for again.

    It is written with ``synchronous=FULL``: a power cut loses no acknowledged intent, provided
    that the disk does what it promises. One process at a time may write it. Within a process,
    all clients that name the same file share it, and each counts as a run of its own: the n-th of
    equal requests is made once.

    Args:
        path: the file, created if need be. While it is open, a ``-wal``, a ``-shm`` and a
            ``-lock`` file stand beside it, and belong to it if the program was killed.
            ``":memory:"`` keeps it in memory until it is closed.
        on_uncertain: what to do with a create whose answer was lost in an earlier run.
            ``"report"`` reports it again; ``"resubmit"`` sends it again, though it may have been
            paid for.
        adopt: hand the journal over to the client that opens it, as after its API key was
            rotated.
        on_failed: what to do with an earlier run's create if one of its tasks failed.
            ``"report"`` reports it again; ``"resubmit"`` makes and pays for a new one, with all
            of its videos, under the key ``KEY~2``, once every task of the first has ended. A
            function resubmits only those for whose first failed task, which is the one that
            ``TaskFailed`` names, it returns true; see ``models.failures``.

    Raises:
        ConfigurationError: the path is a URL, such as ``sqlite:///run.db``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        on_failed: Literal["report", "resubmit"] | Callable[[Task], bool] = "report",
        adopt: bool = False,
    ) -> None:
        if (url := _URL.match(str(path))) is not None:
            raise ConfigurationError(
                f"the journal is a URL ({url[0]}…); it must be the path of a file, such as run.db, "
                "or ':memory:'; for Redis use RedisJournal.from_url(…)"
            )
        super().__init__(Path(path), adopts=adopt)
        self.resubmits: bool = is_resubmit("on_uncertain", on_uncertain)
        self.retries: Callable[[Task], bool] | None = (
            on_failed
            if callable(on_failed)
            else (lambda _: True)
            if is_resubmit("on_failed", on_failed)
            else None
        )

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    def recall(self, kind: str, encode: Callable[[], bytes]) -> Entry | None:
        """Return the submitted entry that ``claim`` would meet, met and released; or None.

        Args:
            kind: of job.
            encode: returns the canonical JSON of the request; not called if no entries are at hand.
        """
        opened = self._opened
        if opened is None or not opened.is_read_ahead or self.retries or opened.later_attempts:
            return None
        return self._own_claims.recall(stem_of(kind, encode()), self._file.recall)

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
        file, claims = self._file, self._own_claims
        claim: Claim | str
        if key is None:
            stem = stem_of(kind, body)
            while isinstance(claim := claims.number(stem, file.find), str):
                await claims.wait_until_free(claim)
        else:
            claim = await self._claim_named(kind, body, key)
        # From attempt to attempt, until the one that has not failed, or is to be made now.
        while (later := self._later_attempt(file, claim)) is not None:
            claims.release(claim.key, made=True)
            claim = await self._claim_named(kind, body, later)
        file.holds.intents[claim.key] = _last_intent(claim.entry)
        return claim

    async def _claim_named(self, kind: str, body: bytes, key: str) -> Claim:
        file, claims = self._file, self._own_claims
        encoding.check_key(key)
        entry = await claims.take(key, file.find)
        if entry is not None and (entry.kind, entry.body) != (kind, body.decode()):
            claims.release(key, made=True)
            raise encoding.other_request_error(self.path, key, entry.body, body)
        return Claim(key, entry)

    def _later_attempt(self, file: Database, claim: Claim) -> str | None:
        """Return the key under which a failed create was resubmitted, or is to be now."""
        entry, retries = claim.entry, self.retries
        if entry is None or not (retries or file.later_attempts):
            return None
        later = next_attempt_key(claim.key)
        if not (retries or later in file.later_attempts):
            return None
        # Only a create of which all tasks have ended, and one failed, has a later attempt.
        records = [self._task(task_id) for task_id in entry.task_ids]
        ended = [record.task for record in records if record is not None and record.task.done]
        failed = next((task for task in ended if not task.succeeded), None)
        if len(ended) < len(records) or failed is None:
            return None
        resubmits = retries is not None and retries(failed)
        # 1. There is one: it is followed, unless it never began and is not to begin now.
        existing = file.find(later)
        if existing is not None and existing[1].body == entry.body:  # else it only has that name
            return later if resubmits or existing[1].state not in RESTARTABLE else None
        # 2. There is none: an entry of an earlier run is resubmitted. One of this run is not, or
        #    a program that retries on its own would pay again and again.
        row_and_entry = file.find(claim.key)
        is_old = row_and_entry is not None and self._own_claims.is_old(row_and_entry[0])
        if not (resubmits and is_old):
            return None
        file.later_attempts.add(later)  # for the other clients of this process
        return later

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim; releasing twice is harmless.

        Args:
            key: the key claimed.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        opened, claims = self._opened, self._claims
        if opened is None or claims is None:
            return
        # Another client of this process may meet the entry next, or may have written it.
        if claims.is_shared and (row_and_entry := opened.find(key)) is not None:
            row, entry = row_and_entry
            claims.meet(row, is_met=made or entry.state not in RESTARTABLE)
        claims.release(key, made=made)

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
        last = file.holds.intents.get(key)
        if last is None:  # it was never claimed, or its event loop had stopped and lost it
            entry = await self.find(key)
            if entry is not None and entry.state not in RESTARTABLE:
                raise self._changed(key, entry)
            last = _last_intent(entry)
        try:
            await file.save(encoding.intent_row(key, kind, body, now, last))
        except EntryChanged as error:
            raise self._changed(key, await self.find(key)) from error
        file.holds.intents[key] = now

    def _changed(self, key: str, entry: Entry | None) -> JournalError:
        state = entry.state if entry is not None else "gone"
        return JournalError(
            f"{self.path}: {key} has become {state}: another run, or ids that arrived for it, "
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
        return await asyncio.to_thread(self._queries.usage)

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the task ids of a create. Durable on return, and also if cancelled.

        Ids are only ever added, never removed.
        """
        await self._file.save(encoding.state_row(key, State.SUBMITTED, "", task_ids))

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record that the answer to a create was lost. Durable on return.

        Any ids that are known are still kept; a submitted create stays submitted.
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
            file, claims = self._file, self._own_claims
            await claims.hold(key)
            try:
                row_and_entry = file.find(key)
                entry = row_and_entry[1] if row_and_entry else None
                if entry is not None and entry.state is State.SENDING:  # by a run that died
                    entry = entry._replace(state=State.UNCERTAIN, reason=DIED_WHILE_SENDING)
                return await change(entry)
            finally:
                claims.release(key, made=True)

        return await asyncio.shield(asyncio.ensure_future(hold_and_change()))

    async def mark_ended(self, task: Task) -> None:
        """Record the end of a task, without waiting for the disk.

        If the record is lost, a later run asks Keevx again. A journal that can only be read goes
        without it.
        """
        if self.lost is not None:
            return
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
        row_and_entry = self._queries.find(key)
        return row_and_entry[1] if row_and_entry else None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task.

        None as long as no end of it is recorded.
        """
        return self._task(task_id)

    def _task(self, task_id: str) -> TaskRecord | None:
        row = self._queries.select(TASK_BY_ID, task_id)
        return encoding.record_of(row) if row else None

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create that a task belongs to.

        None if no entry has the id. Reads all entries, in a thread.
        """
        return await asyncio.to_thread(self._queries.find_owner, task_id)

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all, oldest first.

        They are read as they are needed; the journal may be used meanwhile.
        """
        for entry in self._queries.entries():
            if state in (None, entry.state):
                yield entry

    async def set_aside(self, keys: Sequence[str]) -> None:
        """Have submitted creates made again: what is submitted next under their keys is sent.

        Their entries stay, with their ids, each under its key with ``@`` and the time behind it.
        All or none are set aside; durable on return.

        Args:
            keys: of the entries; one that is not submitted stays as it is.

        Raises:
            JournalError: it cannot be written.
        """
        self._file.set_aside(keys, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))

    async def set_note(self, name: str, value: str) -> None:
        """Store a small text for later runs, without waiting for the disk.

        It replaces the one before.
        """
        self._file.writer.put("notes", [name, value])

    async def get_note(self, name: str) -> str | None:
        """Return a text stored by ``set_note``.

        None if there is none of that name.
        """
        row = self._queries.select("SELECT value FROM notes WHERE name = ?", name)
        return row[0] if row else None


def _union(ids: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*ids, *more]))


def _last_intent(entry: Entry | None) -> float:
    return encoding.NEVER if entry is None or entry.at is None else entry.at
