"""The journal in a SQLite file, which is read on the event loop and written by one thread."""

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
from .writer import NOTE, EntryChanged

T = TypeVar("T")

TASK_BY_ID = f"SELECT {encoding.TASK} FROM tasks WHERE task_id = ?"  # noqa: S608 - our own names

_URL = re.compile(r"(sqlite|file):|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


class Journal(JournalFile):
    """The durable record of submitted creates, in one SQLite file.

    A create's intent is on disk before its first byte is sent, and its ids are on disk before the
    caller gets them. Pass the journal to ``Keevx(journal=…)``, which opens it. It belongs to its
    first client's host and account; a client for another host or account is refused before anything
    is sent.

    ``async with Journal(path) as journal:`` opens the journal for reading, even while a run is
    writing. No lock is taken until something is changed, for example by ``settle``. A copy made
    without its log (``-wal``) is read-only: anything recorded in the log would be paid for again.

    The file is written with ``synchronous=FULL``: a power cut loses no acknowledged intent, unless
    the disk ignores syncs. Only one process at a time may write to the file. Within a process, all
    clients of the same file share it, and each counts as a separate run: the n-th of several equal
    requests is made only once.

    Args:
        path: the file's path; the file is created if necessary. While it is open, ``-wal``,
            ``-shm`` and ``-lock`` files exist next to it. If the program is killed, keep these with
            the file. ``":memory:"`` keeps the journal in memory until it is closed.
        on_uncertain: what to do with a create whose response was lost in an earlier run.
            ``"report"`` reports it again; ``"resubmit"`` sends it again, although it may have been
            charged.
        adopt: whether to hand the journal over to the client that opens it, for example after its
            API key was rotated.
        on_failed: what to do with an earlier run's create if one of its tasks failed. ``"report"``
            reports it again; ``"resubmit"`` makes, and pays for, all of its videos again in a new
            create with the key ``KEY~2``, once all of the first create's tasks have ended. A
            function is called with the first failed task, which is also the task in ``TaskFailed``;
            if it returns true, the create is resubmitted. See ``models.failures``.

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

    def recall(
        self, kind: str, encode: Callable[[], bytes | None], key: str | None = None
    ) -> Entry | None:
        """Return the submitted entry that ``claim`` would find, without waiting."""
        opened = self._opened
        if opened is None or not opened.is_read_ahead or self.retries or opened.later_attempts:
            return None
        find, claims = self._file.recall, self._own_claims
        if key is not None:
            return claims.recall_named(key, kind, encode, find)
        body = encode()
        return None if body is None else claims.recall(stem_of(kind, body), find)

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other caller submits the same create in the meantime.

        If a failed create was resubmitted, this claims the key of its last attempt.

        Args:
            kind: the kind of job.
            body: the request's canonical JSON.
            key: the key to claim, waiting while another caller has it. None claims the body's first
                free key, so the n-th of several equal requests finds the n-th entry again.

        Raises:
            JournalError: the key belongs to another request, or cannot be stored.
        """
        file, claims = self._file, self._own_claims
        claim: Claim | str
        if key is None:
            stem = stem_of(kind, body)
            while isinstance(claim := claims.number(stem, file.find_to_claim), str):
                await claims.wait_until_free(claim)
        else:
            claim = await self._claim_named(kind, body, key)
        # Follow the attempts to the first that has not failed or that should be made now.
        while (later := self._later_attempt(file, claim)) is not None:
            claims.release(claim.key, made=True)
            claim = await self._claim_named(kind, body, later)
        file.holds.intents[claim.key] = encoding.last_intent(claim.entry)
        return claim

    async def _claim_named(self, kind: str, body: bytes, key: str) -> Claim:
        file, claims = self._file, self._own_claims
        encoding.check_key(key)
        entry = await claims.take(key, file.find_to_claim)
        if entry is not None and (entry.kind, entry.body) != (kind, body.decode()):
            claims.release(key, made=True)
            raise encoding.other_request_error(self.path, key, entry.body, body)
        return Claim(key, entry)

    def _later_attempt(self, file: Database, claim: Claim) -> str | None:
        """Return the key of a failed create's next attempt, or None if there is no next attempt."""
        entry, retries = claim.entry, self.retries
        if entry is None or not (retries or file.later_attempts):
            return None
        later = next_attempt_key(claim.key)
        if not (retries or later in file.later_attempts):
            return None
        # A create has a later attempt only if all of its tasks have ended and one has failed.
        records = [self._task(task_id) for task_id in entry.task_ids]
        ended = [record.task for record in records if record is not None and record.task.done]
        failed = next((task for task in ended if not task.succeeded), None)
        if len(ended) < len(records) or failed is None:
            return None
        resubmits = retries is not None and retries(failed)
        # 1. A later attempt exists: it is followed, unless it never started and should not start
        #    now.
        existing = file.find(later)
        if existing is not None and existing[1].body == entry.body:  # else only the key matches
            return later if resubmits or existing[1].state not in RESTARTABLE else None
        # 2. None exists: an entry of an earlier run is resubmitted. An entry of this run is not,
        #    because a program with its own retries would pay again and again.
        row_and_entry = file.find(claim.key)
        is_old = row_and_entry is not None and self._own_claims.is_old(row_and_entry[0])
        if not (resubmits and is_old):
            return None
        file.later_attempts.add(later)  # for this process's other clients
        return later

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim. Releasing it again has no effect.

        Args:
            key: the claimed key.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        opened, claims = self._opened, self._claims
        if opened is None or claims is None:
            return
        # Another client in this process may find the entry next, or may have written it.
        if claims.is_shared and (row_and_entry := opened.find(key)) is not None:
            row, entry = row_and_entry
            claims.meet(row, is_met=made or entry.state not in RESTARTABLE)
        claims.release(key, made=made)

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record the intent to send a create. Durable on return.

        Raises:
            JournalError: the intent cannot be written, an earlier write failed, or the entry has
                changed since it was claimed, because another run has it or ids arrived for it.
        """
        # The row contains the time of the last intent that the claim saw. The writer refuses the
        # row if the entry has a different intent by now. So if two runs share a file despite its
        # lock, only one of them sends the create.
        file, now = self._file, time.time()
        file.writer.check()
        last = file.holds.intents.get(key)
        if last is None:  # it was never claimed, or its event loop had stopped and lost it
            entry = await self.find(key)
            if entry is not None and entry.state not in RESTARTABLE:
                raise self._changed(key, entry)
            last = encoding.last_intent(entry)
        try:
            await file.save(encoding.intent_row(key, kind, body, now, last))
        except EntryChanged as error:
            raise self._changed(key, await self.find(key)) from error
        file.holds.intents[key] = now

    def _changed(self, key: str, entry: Entry | None) -> JournalError:
        state = entry.state if entry is not None else "gone"
        return JournalError(
            f"{self.path}: {key} has become {state}: it was changed by another run, or by ids "
            "that arrived for it. Nothing was sent; submit it again to get its current state"
        )

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Return False: the client counts usage, because no other process writes the journal."""
        return False

    async def usage(self) -> Usage:
        """Return the number of results in each group, including those of uncertain creates.

        A create counts as the number of results it requested or the number of its ids, whichever is
        greater. This reads all entries, in a thread and in bounded memory.
        """
        return await asyncio.to_thread(self._queries.usage)

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record a create's task ids. Durable on return; if cancelled, the ids are still written.

        Ids are only ever added, never removed.
        """
        await self._file.save(encoding.state_row(key, State.SUBMITTED, "", task_ids))

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record that the response to a create was lost. Durable on return.

        Any known ids are kept; a submitted create stays submitted.
        """
        await self._file.save(encoding.state_row(key, State.UNCERTAIN, reason, task_ids or ()))

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record that Keevx refused a create for good. Durable on return.

        Nothing was charged; the next caller that claims the key may send the create again.
        """
        await self._file.save(encoding.state_row(key, State.REFUSED, reason))

    async def mark_planned(self, key: str) -> None:
        """Record that a create made no task and may be sent again. Durable on return.

        A submitted create stays submitted.
        """
        await self._file.save(encoding.state_row(key, State.PLANNED))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the outcome of an uncertain create. Durable on return; still written if cancelled.

        A create with several tasks may be settled again as more of its ids become known; ids are
        never removed. If the create is in flight or being settled, this waits for that to finish.

        Args:
            key: the create's key.
            task_ids: the create's task ids; empty if it was not made and may be sent again.

        Raises:
            JournalError: the create is not uncertain (it may have been settled in the meantime), or
                it has ids but none were passed.
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
        """Add task ids that Keevx confirmed, regardless of the entry's state. Durable on return.

        Ids override any assumed state: a planned, refused or uncertain entry becomes submitted once
        it has all of its ids, and is uncertain until then. If the create is in flight or being
        settled, this waits for that to finish. If cancelled, the ids are still written.

        Args:
            key: the create's key.
            task_ids: the ids to add; ids that the create already has are ignored.
            count: the number of tasks that the create requested.

        Returns:
            The entry as it was before this call; None if the key had no entry.
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
        """Read an entry and change it while no other caller can change it.

        This completes even if cancelled. The key is held until the change can be read, because the
        next caller would otherwise act on outdated data.
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
        """Record that a task has ended, without waiting for the disk.

        If the record is lost, a later run queries Keevx again. A read-only journal records nothing.
        """
        if self.lost is not None:
            return
        self._file.writer.put(encoding.end_row(task))

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record the file to which a task's result was downloaded. Durable on return.

        Args:
            task: the finished task.
            path: the file's path, which is stored as an absolute path.
            size: the file's size in bytes.
            digest: the file's SHA-256 in hexadecimal.
        """
        # An unchanged snapshot keeps its time, because its URLs expire relative to it.
        record = self._task(task.task_id)
        at = record.at if record is not None and record.task == task else None
        row = encoding.download_row(task, at, path, size, digest)
        await self._file.writer.write(row)

    async def find(self, key: str) -> Entry | None:
        """Return a key's entry, or None if it has no entry.

        A ``sending`` entry whose holder is no longer alive is returned as ``uncertain``.
        """
        row_and_entry = self._queries.find(key)
        return row_and_entry[1] if row_and_entry else None

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return a task's record, or None if the task's end has not been recorded."""
        return self._task(task_id)

    def _task(self, task_id: str) -> TaskRecord | None:
        row = self._queries.select(TASK_BY_ID, task_id)
        return encoding.record_of(row) if row else None

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create to which a task belongs, or None if no entry has its id.

        This reads all entries, in a thread.
        """
        return await asyncio.to_thread(self._queries.find_owner, task_id)

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all entries, oldest first.

        Entries are read as needed; the journal may be used during the iteration.
        """
        for entry in self._queries.entries():
            if state in (None, entry.state):
                yield entry

    async def set_aside(self, keys: Sequence[str]) -> None:
        """Set submitted creates aside, so that their keys can be used to send new creates.

        The entries are kept with their ids, under their keys followed by ``@`` and the time. Either
        all or none are set aside. Durable on return.

        Args:
            keys: the entries' keys; an entry that is not submitted is left unchanged.

        Raises:
            JournalError: the journal cannot be written.
        """
        self._file.set_aside(keys, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))

    async def set_note(self, name: str, value: str) -> None:
        """Store a short text for later runs, without waiting for the disk.

        This replaces any previous text with the same name.
        """
        self._file.writer.put([NOTE, name, encoding.storable(value)])

    async def get_note(self, name: str) -> str | None:
        """Return the text that ``set_note`` stored under a name, or None if there is none."""
        row = self._queries.select("SELECT value FROM notes WHERE name = ?", name)
        return row[0] if row else None


def _union(ids: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*ids, *more]))
