"""The journal in Redis or Valkey, which many machines share."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Literal, Self

import redis.asyncio

from ...errors import JournalError
from ...models.tasks import Task
from ...models.usage import Usage, UsageLimit
from ..encoding import join_ids, split_ids, storable
from ..protocol import Claim, Entry, OverLimit, State, TaskRecord, has_ids_reason, is_resubmit
from . import encoding, scripts
from .adding import Adder
from .connection import Client, Connection, Sleep
from .credentials import login_of
from .encoding import Added, CreateRecord, Planned
from .lease import LEASE
from .session import Session
from .unwritten import Unwritten

log = logging.getLogger("keevx_async.journal")

CONNECTIONS = 1000
"""Maximum number of connections. redis-py's default of 100 breaks a worker that runs 200 jobs."""
PAGE = 500
"""The number of keys read per round trip when all keys are read."""
UNREADABLE = "it could not be read"


class RedisJournal(Session):
    """The durable record of submitted creates in Redis or Valkey, for workers on many machines.

    Only one worker at a time works on a create, and each step is one atomic script. A worker that
    dies loses its claims within seconds; creates that it was sending then read as uncertain.
    Durability depends on the server's append-only file: set ``appendonly yes`` and ``appendfsync
    always``, or a power cut may lose the last second's ids.

    While Redis is unavailable, every call waits for it, and no create is sent before its intent is
    recorded.

    Args:
        redis: an asyncio client, which the caller closes: a ``redis.asyncio.Redis``, or the client
            that ``docket.redis()`` yields. It must return bytes.
        name: the journal's name, with which its keys start.
        on_uncertain: what to do with a create whose response was lost. ``"report"`` reports it
            again; ``"resubmit"`` sends it again, although it may have been charged.
        reconnect_timeout: maximum seconds to wait for an unavailable Redis.
        lease: seconds without a heartbeat after which a worker counts as dead.
        holder_name: this process's name, as shown to processes that wait for its claims; by default
            the host name and process id.
        unwritten: a folder on this machine for ids that Redis did not accept, which
            ``write_left_ids`` writes later; None to only log the ids.
        adopt: whether to hand the journal over to the client that opens it, for example after its
            API key was rotated.
        sleep: waits for the given number of seconds.

    Raises:
        ConfigurationError: the name is empty or contains braces, or the client decodes responses.
    """

    def __init__(
        self,
        redis: Client,
        name: str = "keevx",
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        reconnect_timeout: float = 60.0,
        lease: float = LEASE,
        holder_name: str = "",
        unwritten: Path | None = None,
        adopt: bool = False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.resubmits: bool = is_resubmit("on_uncertain", on_uncertain)
        super().__init__(
            Connection(redis, name, reconnect_timeout, sleep),
            name,
            duration=lease,
            holder_name=holder_name or f"{socket.gethostname()}#{os.getpid()}",
            adopts=adopt,
            sleep=sleep,
        )
        self._adder = Adder(self.connection, self)
        self._unwritten = Unwritten(name, unwritten)
        self._limit: tuple[str | int, ...] = ()

    @classmethod
    def from_url(
        cls,
        url: str,
        name: str = "keevx",
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        reconnect_timeout: float = 60.0,
        adopt: bool = False,
    ) -> Self:
        """Return a journal with its own client, which is closed with the journal.

        Args:
            url: the server's URL, such as ``redis://host:6379/0``; its query may contain settings
                for redis-py. If the URL has no password, KEEVX_REDIS_PASSWORD is used.
            name: the journal's name, with which its keys start.
            on_uncertain: see the class.
            reconnect_timeout: maximum seconds to wait for an unavailable Redis.
            adopt: see the class.
        """
        login = login_of(url)
        client = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - redis-py leaves its keywords untyped
            login.url, max_connections=CONNECTIONS, credential_provider=login.provider
        )
        journal = cls(
            client,
            name,
            on_uncertain=on_uncertain,
            reconnect_timeout=reconnect_timeout,
            adopt=adopt,
        )
        journal._aclose = client.aclose
        return journal

    async def detach(self) -> None:
        """Stop using the journal. The last user to do so releases all claims and closes it."""
        self._unwritten.flush()
        await super().detach()

    def recall(
        self, kind: str, encode: Callable[[], bytes | None], key: str | None = None
    ) -> Entry | None:
        """Return None, because reading an entry requires waiting."""
        return None

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a key, so that no other worker submits the same create in the meantime.

        Args:
            kind: the kind of job; empty to claim an existing key without checking its request.
            body: the request's canonical JSON.
            key: the key to claim, waiting while another worker has it. None claims the body's first
                free key, so the n-th of several equal requests finds the n-th entry again.

        Raises:
            JournalError: the key belongs to another request, or Redis stayed unavailable.
        """
        # Before the claim, not within it, because a claim waits for other workers after an outage.
        await self.check_owner()
        return await self._lease.claim(kind, body, key)

    async def release(self, key: str, *, made: bool = True) -> None:
        """Give up a claim, even if cancelled. Releasing it again has no effect.

        Args:
            key: the claimed key.
            made: whether the create was made; if not, the next equal body gets the same key.
        """
        if self._opened is not None:
            await asyncio.shield(self._opened.release(key, made=made))

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Record the intent to send a create. Durable on return.

        This extends the lease, so the response has the full duration of the lease to arrive.

        Raises:
            JournalError: the intent cannot be written, or another worker has claimed the key.
            OverLimit: the create does not fit in the limit; nothing was recorded.
        """
        purpose = f"the intent of {key} could not be written"
        now, fence = f"{time.time():.3f}", self._lease.next_attempt(key)
        values = (self._lease.terms, key, *fence, kind, body.decode(), now, *self._limit)
        answer = await self._run(purpose, scripts.BEGIN, *values)
        if answer[0] == b"over":
            raise OverLimit(encoding.usage_of(answer[1]))
        self._check(key, answer)

    def limit_usage(self, limit: UsageLimit | None) -> bool:
        """Enforce a usage limit from now on. Usage is counted in Redis, for all workers together.

        Returns:
            True, because the journal itself counts usage.
        """
        self._limit = encoding.limit_of(limit)
        return True

    async def usage(self) -> Usage:
        """Return the number of results in each group, including those of uncertain creates."""
        return encoding.usage_of(await self._run(UNREADABLE, scripts.USAGE))

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Record a create's task ids, regardless of its current holder. Durable on return.

        Ids are only ever added, never removed. If the create already had other ids, it was charged
        twice, which is logged.

        Raises:
            JournalError: the ids cannot be written; the error's ``task_ids`` contains them.
        """
        purpose = f"the ids of {key} could not be written"
        try:
            answer = await self.connection.run(
                purpose,
                scripts.SUBMIT,
                self._lease.holder,
                key,
                join_ids(task_ids),
                on_failure=lambda: self._unwritten.add(key, task_ids),
            )
            self._check(key, answer)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        if answer[0] == b"freed":
            self._lease.released_keys.add(key)
        self._unwritten.written(key)
        if others := split_ids(answer[1].decode()):
            what = "%s was charged twice: it has %s, and now %s"
            log.warning(what, key, others, task_ids, extra={"key": key})

    async def write_left_ids(self) -> None:
        """Write the ids that earlier workers on this machine could not write before they ended.

        Raises:
            JournalError: Redis stayed unavailable.
        """
        # Ids are only ever added, so it is safe if other workers write the same ids.
        for path, ids in self._unwritten.left_by_others():
            for key, task_ids in ids.items():
                await self.mark_submitted(key, task_ids)
            log.warning("wrote the ids that an earlier worker could not write: %s", ", ".join(ids))
            with suppress(OSError):
                path.unlink(missing_ok=True)

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Record that the response to a create was lost. Durable on return.

        Any known ids are kept; a submitted create stays submitted.
        """
        await self._change(key, State.UNCERTAIN, reason, task_ids)

    async def mark_refused(self, key: str, reason: str) -> None:
        """Record that Keevx refused a create for good. Durable on return.

        Nothing was charged; the next worker that claims the key may send the create again.
        """
        await self._change(key, State.REFUSED, reason)

    async def mark_planned(self, key: str) -> None:
        """Record that a create made no task and may be sent again. Durable on return.

        A submitted create stays submitted.
        """
        await self._change(key, State.PLANNED, "")

    async def _change(
        self, key: str, state: State, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        purpose = f"the state of {key}, {state}, could not be written"
        fence, ids = self._lease.fence(key), join_ids(task_ids or ())
        values = (key, *fence, state.value, storable(reason), ids)
        self._check(key, await self._run(purpose, scripts.CHANGE, *values))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Record the outcome of an uncertain create. Durable on return.

        A create with several tasks may be settled again as more of its ids become known; ids are
        never removed.

        Args:
            key: the create's key.
            task_ids: the create's task ids; empty if it was not made and may be sent again.

        Raises:
            JournalError: the create is not uncertain (it may have been settled in the meantime), or
                it has ids but none were passed.
        """
        token, ids = token_hex(scripts.TOKEN), join_ids(task_ids)
        purpose = f"the settlement of {key} could not be written"
        verdict, *rest = await self._run(purpose, scripts.SETTLE, key, token, ids)
        if verdict == b"made":
            raise JournalError(f"{self!r}: {key} {has_ids_reason(split_ids(rest[0].decode()))}")
        if verdict != b"ok":
            state = rest[0].decode() or "not in it"
            raise JournalError(
                f"{self!r}: {key} is {state}; only an uncertain create can be settled"
            )

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add task ids that Keevx confirmed, regardless of the entry's state. Durable on return.

        Ids override any assumed state: a planned, refused or uncertain entry becomes submitted once
        it has all of its ids, and is uncertain until then. If a worker is sending the create, the
        create keeps these ids in addition to the ids in the response.

        Args:
            key: the create's key.
            task_ids: the ids to add; ids that the create already has are ignored.
            count: the number of tasks that the create requested.

        Returns:
            The entry as it was before this call; None if the key had no entry.
        """
        purpose = f"ids of {key} could not be written"
        before = await self._run(purpose, scripts.ADD_IDS, key, count, join_ids(task_ids))
        return encoding.entry_of(key, before[1], held=bool(before[0])) if before else None

    async def mark_ended(self, task: Task) -> None:
        """Record that a task has ended or was abandoned without a result. Durable on return.

        An abandoned task counts as neither succeeded nor failed. A second call replaces the first
        record but keeps the path of the task's result.
        """
        purpose = f"the end of {task.task_id} could not be written"
        await self._run(purpose, scripts.END_TASK, *encoding.end_of(task), "")

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Record the file to which a task's result was downloaded. Durable on return.

        Args:
            task: the finished task.
            path: the file's path, which is stored as an absolute path.
            size: the file's size in bytes.
            digest: the file's SHA-256 in hexadecimal.
        """
        record = await self.find_task(task.task_id)
        at = record.at if record is not None and record.task == task else None
        purpose = f"the download path of {task.task_id} could not be written"
        file = encoding.file_of(path, size, digest)
        await self._run(purpose, scripts.END_TASK, *encoding.end_of(task, at), file)

    async def add_many(self, creates: Sequence[Planned], run: str) -> list[Added]:
        """Record planned creates in one round trip. Durable on return.

        Existing creates are left unchanged, except that a refused create is planned again.

        Args:
            creates: the creates to record.
            run: the id of one input. Within an input, equal bodies are separate creates; across
                inputs, the n-th of several equal bodies finds the n-th create again.

        Returns:
            The added creates, in the same order.

        Raises:
            JournalError: a key belongs to another request (the other creates are added), or Redis
                stayed unavailable.
        """
        return await self._adder.add_many(self._lease.holder, creates, run)

    def _check(self, key: str, answer: Sequence[bytes]) -> None:
        """Raise JournalError if a script's reply is a refusal."""
        if answer[0] in scripts.REFUSALS:
            raise JournalError(f"{self!r}: {scripts.REFUSALS[answer[0]].format(key)}")

    async def find(self, key: str) -> Entry | None:
        """Return a key's entry, or None if it has no entry.

        A ``sending`` entry that no live worker holds reads as ``uncertain``.
        """
        return (await self._find([key]))[0]

    async def _find(self, keys: Sequence[str]) -> list[Entry | None]:
        answers = await self._run(UNREADABLE, scripts.FIND, *keys)
        pairs = zip(keys, answers, strict=True)
        return [encoding.entry_of(key, fields, held=bool(held)) for key, (held, fields) in pairs]

    async def find_task(self, task_id: str) -> TaskRecord | None:
        """Return a task's record, or None if the task's end has not been recorded."""
        return (await self._find_tasks([task_id]))[0]

    async def _find_tasks(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        names = (join_ids([task_id]) for task_id in task_ids)
        answers = await self._run(UNREADABLE, scripts.FIND_TASKS, *names)
        pairs = zip(task_ids, answers, strict=True)
        return [encoding.record_of(task_id, *answer) for task_id, answer in pairs]

    async def find_records(self, keys: Sequence[str]) -> dict[str, CreateRecord]:
        """Return creates with their tasks' records, in two round trips.

        Args:
            keys: the creates' keys, at most a thousand. The result omits keys that are not in the
                journal.
        """
        entries = [entry for entry in await self._find(keys) if entry is not None]
        task_ids = [task_id for entry in entries for task_id in entry.task_ids]
        records = dict(zip(task_ids, await self._find_tasks(task_ids), strict=True))
        return {
            entry.key: CreateRecord(entry, tuple(records[task_id] for task_id in entry.task_ids))
            for entry in entries
        }

    async def find_owner(self, task_id: str) -> str | None:
        """Return the key of the create to which a task belongs, or None if no entry has its id."""
        answer = await self._run(UNREADABLE, scripts.FIND_OWNER, join_ids([task_id]))
        return answer.decode() if answer else None

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Iterate over the entries in one state, or over all entries, oldest first.

        Entries are read a page at a time; the journal may be used during the iteration.
        """
        first = 0
        while keys := await self._run(UNREADABLE, scripts.FIND_KEYS, first, first + PAGE - 1):
            first += len(keys)
            for entry in await self._find([key.decode() for key in keys]):
                if entry is not None and state in (None, entry.state):
                    yield entry

    async def records(self) -> AsyncIterator[tuple[Entry, tuple[TaskRecord | None, ...]]]:
        """Iterate over all creates, oldest first, each with its tasks' records.

        Creates are read a page at a time, in three round trips per page.
        """
        first = 0
        while keys := await self._run(UNREADABLE, scripts.FIND_KEYS, first, first + PAGE - 1):
            first += len(keys)
            for record in (await self.find_records([key.decode() for key in keys])).values():
                yield record.entry, record.records

    async def counts(self) -> dict[str, int]:
        """Return the number of creates in each state, and of tasks that succeeded and failed.

        Creates that a dead worker was sending count as ``uncertain`` once its lease has expired.
        """
        return encoding.counts_of(await self._run(UNREADABLE, scripts.COUNTS))

    async def set_note(self, name: str, value: str) -> None:
        """Store a text for later runs, replacing any text of the same name. Durable on return."""
        await self._run(f"the note {name} could not be written", scripts.SET_NOTE, name, value)

    async def get_note(self, name: str) -> str | None:
        """Return the text that ``set_note`` stored under a name, or None if there is none."""
        run, holder = self.connection.run, self._lease.holder
        answer = await run(UNREADABLE, scripts.GET_NOTE, holder, name)
        return answer.decode() if answer else None
