"""The journal that many machines share: in Redis, or Valkey."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, NamedTuple, Self

import redis.asyncio

from ...errors import ConfigurationError, JournalError
from ...models.tasks import Task
from ..encoding import is_storable, join_ids, storable
from ..protocol import Claim, Entry, State, has_ids_reason
from ..sqlite import is_resubmit
from . import encoding as values
from . import scripts
from .connection import Client, Connection, Sleep
from .lease import LEASE, Lease
from .reading import RedisReader

log = logging.getLogger("keevx_async")

CONNECTIONS = 1000
"""redis-py's own 100 break a worker that does 200 jobs at a time."""


class Planned(NamedTuple):
    """A create to be added.

    Attributes:
        kind: of job.
        body: the canonical JSON of its request.
        key: what it is known by; None has it numbered among its equals.
    """

    kind: str
    body: bytes
    key: str | None


class Added(NamedTuple):
    """A create that was added, and what the journal knew of it before."""

    key: str
    entry: Entry | None


class RedisJournal(RedisReader):
    """The durable record of what was submitted, in Redis or Valkey, for workers on many machines.

    Each create is worked on by one worker at a time, and each step of it is one atomic script. A
    worker that dies lets go of what it held within seconds; what it was sending then reads as
    uncertain. What is durable is durable as the server's append-only file promises: ``appendonly
    yes`` and ``appendfsync always``, or a power cut may lose the last second's ids.

    While Redis is away everything waits for it; nothing is sent without its intent written.

    Args:
        redis: an asyncio client, which stays its owner's to close: ``redis.asyncio.Redis``, or
            what ``docket.redis()`` yields. Answers must come as bytes.
        name: what the journal's keys begin with.
        on_uncertain: ``"report"`` leaves a create whose answer was lost alone, ``"resubmit"``
            sends it again, though it may have been paid.
        reconnect_timeout: seconds to wait for a Redis that is away.
        lease: seconds after which a worker that is not heard of counts as dead.
        sleep: waits for the given seconds; tests pass their own.

    Raises:
        ConfigurationError: the name or the client will not do.
    """

    def __init__(
        self,
        redis: Client,
        name: str = "keevx",
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        reconnect_timeout: float = 60.0,
        lease: float = LEASE,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        server = Connection(_raw(redis), _checked(name), reconnect_timeout, sleep)
        super().__init__(server, name, lease)
        self.resubmits: bool = is_resubmit("on_uncertain", on_uncertain)
        self._sleep = sleep
        self._added: dict[tuple[str, str], int] = {}

    @classmethod
    def from_url(
        cls,
        url: str,
        name: str = "keevx",
        *,
        on_uncertain: Literal["report", "resubmit"] = "report",
        reconnect_timeout: float = 60.0,
    ) -> Self:
        """Return a journal with a client of its own, closed with it.

        Args:
            url: such as ``redis://host:6379/0``; its query may hold redis-py's settings.
            name: what the journal's keys begin with.
            on_uncertain: as for the class.
            reconnect_timeout: seconds to wait for a Redis that is away.
        """
        client = redis.asyncio.Redis.from_url(url, max_connections=CONNECTIONS)  # pyright: ignore[reportUnknownMemberType] - redis-py leaves its keywords untyped
        journal = cls(client, name, on_uncertain=on_uncertain, reconnect_timeout=reconnect_timeout)
        journal._aclose = client.aclose
        return journal

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Take a key: the one given, or the first free one among those of equal bodies.

        A key that another worker holds is waited for.

        Raises:
            JournalError: the key stands for another request, or Redis stayed away.
        """
        holding = self._holding
        if key is None:
            return await self._number(holding, kind, body)
        _check_key(key)
        await holding.claims.hold(key)
        pause = 0.1
        try:
            while (claim := await self._take(holding, kind, body, key)) is None:
                await self._sleep(pause)
                pause = min(2 * pause, 0.5)
        except BaseException:
            holding.release(key, made=True)
            raise
        return claim

    async def _number(self, holding: Lease, kind: str, body: bytes) -> Claim:
        async def take(key: str) -> Claim | None:
            try:
                return await self._take(holding, kind, body, key, numbered=True)
            except BaseException:
                holding.release(key, made=True)
                raise

        return await holding.claims.number_held(values.stem_of(kind, body), take)

    async def _take(
        self, holding: Lease, kind: str, body: bytes, key: str, *, numbered: bool = False
    ) -> Claim | None:
        """Take a key that nobody alive holds; for a number, one that this run has not made."""
        holding.start_heartbeat()
        what = f"{key} could not be claimed"
        token = token_hex(scripts.TOKEN // 2)
        words = (holding.ttl, key, token, kind, body.decode(), int(numbered))
        verdict, *rest = await self._run(what, scripts.CLAIM, *words)
        if verdict == b"yours":
            return Claim(key, values.entry_of(key, rest[0], held=False))
        if verdict == b"other" and not numbered:
            raise self._other(key, rest[0], body)
        return None

    async def release(self, key: str, *, made: bool = True) -> None:
        """Let others have the key; of one that was not made, an equal body may try again."""
        if self._open is not None:
            await asyncio.shield(self._open.release(key, made=made))

    async def mark_sending(self, key: str, kind: str, body: bytes) -> None:
        """Write the intent; durable on return.

        Raises:
            JournalError: it cannot be written, or another worker has taken the key.
        """
        what = f"the intent of {key} could not be written"
        ttl = self._holding.ttl
        words = (ttl, key, kind, body.decode(), f"{time.time():.3f}")
        self._agree(key, await self._run(what, scripts.BEGIN, *words))

    async def mark_submitted(self, key: str, task_ids: Sequence[str]) -> None:
        """Write the ids; durable on return. Ids that it has already are kept.

        Raises:
            JournalError: they cannot be written; it carries them.
        """
        what = f"the ids of {key} could not be written"
        try:
            answer = await self._run(what, scripts.SUBMITTED, key, join_ids(task_ids))
            self._agree(key, answer)
        except JournalError as error:
            raise JournalError(error.message, task_ids) from error
        if others := values.split(answer[1].decode()):
            log.warning("%s was paid twice: it has %s, and now %s", key, others, task_ids)

    async def mark_uncertain(
        self, key: str, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        """Write that the answer was lost, and ids known all the same; durable on return."""
        await self._change(key, State.UNCERTAIN, reason, task_ids)

    async def mark_refused(self, key: str, reason: str) -> None:
        """Write that Keevx refused for good; durable on return."""
        await self._change(key, State.REFUSED, reason)

    async def mark_planned(self, key: str) -> None:
        """Write that no task was made, and that it may be tried again; durable on return."""
        await self._change(key, State.PLANNED, "")

    async def _change(
        self, key: str, state: State, reason: str, task_ids: Sequence[str] | None = None
    ) -> None:
        words = (key, state.value, storable(reason), join_ids(task_ids or ()))
        what = f"that {key} is {state} could not be written"
        self._agree(key, await self._run(what, scripts.CHANGE, *words))

    async def settle(self, key: str, task_ids: Sequence[str]) -> None:
        """Write what became of an uncertain create: its ids, or none of them.

        A create of several tasks may be settled again as more of its ids become known. Ids that
        are known stay.

        Raises:
            JournalError: there is no uncertain create of that key: another settlement came
                first, say; or it has ids, and so cannot be settled as none.
        """
        token, ids = token_hex(scripts.TOKEN), join_ids(task_ids)
        what = f"what became of {key} could not be written"
        verdict, *rest = await self._run(what, scripts.SETTLE, key, token, ids)
        if verdict == b"made":
            raise JournalError(f"{self!r}: {key} {has_ids_reason(values.split(rest[0].decode()))}")
        if verdict != b"ok":
            state = rest[0].decode() or "not in it"
            raise JournalError(f"{self!r}: {key} is {state}; only an uncertain one is settled")

    async def add_ids(self, key: str, task_ids: Sequence[str], count: int) -> Entry | None:
        """Add ids that Keevx confirmed to an entry in any state; durable on return.

        They outweigh whatever was assumed: an entry that was planned, refused or uncertain is
        submitted once it has as many ids as it was to have, and uncertain until then. One that
        a worker is sending right now keeps them beside what its answer brings.

        Args:
            key: of the entry.
            task_ids: those that it has already are kept once.
            count: how many tasks the create was to make.

        Returns:
            The entry as it was before; None if there is none of that key.
        """
        what = f"ids of {key} could not be written"
        found = await self._run(what, scripts.ADD_IDS, key, count, join_ids(task_ids))
        return values.entry_of(key, found[1], held=bool(found[0])) if found else None

    async def mark_ended(self, task: Task) -> None:
        """Write a task's end; durable on return."""
        what = f"the end of {task.task_id} could not be written"
        await self._run(what, scripts.END, *values.end_of(task), "")

    async def mark_abandoned(self, task: Task) -> None:
        """Write that a task is without its result and is not asked about any more; durable.

        It counts as neither succeeded nor failed. Adding its create again has it asked about.
        """
        what = f"that {task.task_id} was given up could not be written"
        await self._run(what, scripts.END, *values.end_of(task), "")

    async def mark_downloaded(self, task: Task, path: Path, size: int, digest: str) -> None:
        """Write where a task's result was brought; durable on return."""
        known = await self.find_task(task.task_id)
        at = known.at if known is not None and known.task == task else None
        what = f"where {task.task_id} was brought could not be written"
        file = values.file_of(path, size, digest)
        await self._run(what, scripts.END, *values.end_of(task, at), file)

    async def set_note(self, name: str, value: str) -> None:
        """Keep a small text for the next run."""
        await self._run(f"the note {name} could not be written", scripts.NOTE, name, value)

    async def add(self, kind: str, body: bytes, key: str | None, run: str) -> Added:
        """Write that a create is to be made, as it is put in a queue; returned is what was known.

        Of one known only what was refused changes: it is to be made again.

        Args:
            kind: of job.
            body: the canonical JSON of its request.
            key: what it is known by; None has it numbered among its equals.
            run: names the feeding of one input: what an earlier one added is found again by its
                number, and within one each of several equal bodies is a create of its own.

        Raises:
            JournalError: the key stands for another request, or Redis stayed away.
        """
        (added,) = await self.add_many([Planned(kind, body, key)], run)
        return added

    async def add_many(self, creates: Sequence[Planned], run: str) -> list[Added]:
        """Do what add() does for each, in one round trip.

        Raises:
            JournalError: one of the keys stands for another request; the others are added.
        """
        each = [self._to_add(one, run) for one in creates]
        answers = await self._server.run_many(
            f"{len(each)} creates could not be added", scripts.ADD, self._holding.holder, each
        )
        return [self._as_added(*one, run) for one in zip(creates, answers, strict=True)]

    def _to_add(self, create: Planned, run: str) -> tuple[str | float, ...]:
        kind, body, key = create
        if key is not None:
            _check_key(key)
        stem, token = values.stem_of(kind, body), token_hex(scripts.TOKEN // 2)
        first = self._added.get((run, stem), 0) + 1
        return token, kind, body.decode(), f"{time.time():.3f}", run, key or "", stem, first

    def _as_added(self, create: Planned, answer: list[Any], run: str) -> Added:
        verdict, word, *rest = answer
        if verdict == b"other":
            raise self._other(create.key or "", word, create.body)
        key = word.decode()
        stem, _, number = key.rpartition("-")
        if create.key is None and number != "1":  # else each of n equals would count up to n
            self._added[run, stem] = int(number)
        return Added(key, values.entry_of(key, rest[1], held=bool(rest[0])) if rest else None)

    def _other(self, key: str, there: bytes, body: bytes) -> JournalError:
        return JournalError(
            f"key {key!r} stands for another request; in {self!r}: {there.decode()}; "
            f"given now: {body.decode()}. Give this one a key of its own"
        )

    def _agree(self, key: str, answer: Sequence[bytes]) -> None:
        """Raise JournalError if a script did not do what it was asked for."""
        if answer[0] in _REFUSALS:
            raise JournalError(f"{self!r}: {_REFUSALS[answer[0]].format(key)}")


_REFUSALS = {
    b"taken": "another worker has taken {}, or it was never claimed; claim it again",
    b"submitted": "{} has been submitted meanwhile; claim it again, and its ids are there",
    b"made": "{} has ids meanwhile, so it was made; claim it again, and they are there",
    b"missing": "{} is not in it: has Redis lost what it had?",
}


def _check_key(key: str) -> None:
    if not is_storable(key):
        raise JournalError(f"key {key!r} holds characters that cannot be kept; name another")


def _checked(name: str) -> str:
    if not name or set(name) & set("{}"):
        raise ConfigurationError(f"the journal's name is {name!r}; give it one without braces")
    return name


def _raw(client: Client) -> Client:
    """Return a client if its answers are bytes."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None and pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError("make the Redis client without decode_responses=True")
    return client
