"""The journal against a plain dict: whatever is done to it, in whatever order, crashes included.

The machine knows nothing of SQLite. Another form of the journal passes it by giving it the three
things it asks for: ``create``, ``crash`` and ``reopen``.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from attrs import define, field
from docket import Docket
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from keevx_async import Journal, JournalError
from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import Entry, JournalProtocol, State, TaskRecord
from keevx_async.journal.redis.connection import Client
from keevx_async.models.tasks import Task
from tests.support.fleet import RedisServer, dead
from tests.support.thorough import THOROUGH

T = TypeVar("T")
KIND = "image_to_video"
NAMES = st.sampled_from(["mine", "yours", "a=b", "ключ 🗝", "'; DROP TABLE entries; --"])
BODIES = st.sampled_from([b"{}", b'{"prompt":"one"}', '{"prompt":"zwölf %s\u2028"}'.encode()])
IDS = st.lists(
    st.sampled_from([f"i2v-{n}" for n in range(4)] + ["i2v 5", "i2v%206", "ï2v"]),
    min_size=1,
    max_size=3,
    unique=True,
)
REASONS = st.sampled_from(["", "HTTP 500", "it's gone\n\ud800"])
TASKS = st.builds(
    Task,
    task_id=st.sampled_from(["i2v-0", "i2v-1", "i2v-2"]),
    status=st.sampled_from(["SUCCEEDED", "FAILED"]),
    video_url=st.sampled_from([None, "https://example.com/0.mp4"]),
    error_message=st.sampled_from(["", "no good \ud800 \0"]),
    duration=st.sampled_from([None, 6, 6.5]),
)


@define
class Known:
    """What the model knows of an entry."""

    body: bytes
    state: State
    reason: str = ""
    ids: tuple[str, ...] = ()
    old: bool = field(default=False)  # of an earlier run, and not found by number in this one


@define
class Ended:
    """What the model knows of a task; unsure from a note to the next thing that is durable."""

    task: Task
    path: Path | None = None
    sure: bool = False


class JournalMachine(RuleBasedStateMachine):
    """Does all that may be done to a journal."""

    journal: JournalProtocol
    shared: ClassVar[bool] = False
    """Whether several workers write it: an end stays, whatever a slower one reports later, and a
    create that nobody holds any more counts as uncertain."""

    def create(self) -> JournalProtocol:
        """Return a new journal, open."""
        raise NotImplementedError

    def reopen(self) -> JournalProtocol:
        """Close it in order and return it, open again."""
        raise NotImplementedError

    def crash(self) -> JournalProtocol:
        """Lose whatever is not durable, and return what is left, open."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.known: dict[str, Known] = {}
        self.tasks: dict[str, list[Ended]] = {}
        self.held: dict[str, bytes] = {}
        self.left: set[str] = set()  # keys that were given up, or whose holder died
        self.repeats: dict[bytes, int] = {}
        self.stems: dict[bytes, str] = {}

    @initialize()
    def begins(self) -> None:
        self.journal = self.create()

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        done = self.loop.run_until_complete(what)
        for ended in self.tasks.values():  # written in order: what was noted before is durable
            del ended[:-1]
            ended[-1].sure = True
        return done

    def find(self, key: str) -> Entry | None:
        return self.loop.run_until_complete(self.journal.find(key))

    def record(self, task_id: str) -> TaskRecord | None:
        return self.loop.run_until_complete(self.journal.find_task(task_id))

    def entries(self, state: State | None = None) -> list[Entry]:
        async def all_of() -> list[Entry]:
            return [entry async for entry in self.journal.entries(state)]

        return self.loop.run_until_complete(all_of())

    def seen(self, key: str) -> Known | None:
        """An entry as a reader sees it."""
        known = self.known.get(key)
        is_held = key in self.held and not (self.shared and key in self.left)
        if known is None or known.state is not State.SENDING or is_held:
            return known
        return Known(known.body, State.UNCERTAIN, "the program ended before the response arrived")

    def same(self, entry: Entry | None, known: Known | None) -> None:
        if known is None or entry is None:
            assert entry is None
            assert known is None
            return
        assert (entry.kind, entry.body.encode()) == (KIND, known.body)
        reason = known.reason.replace("\ud800", "?")
        assert (entry.state, entry.reason, entry.task_ids) == (known.state, reason, known.ids)
        assert entry.at > 1e9

    @precondition(lambda self: len(self.held) < 5)
    @rule(key=NAMES, body=BODIES)
    def claim_by_name(self, key: str, body: bytes) -> None:
        if key in self.held:
            return
        known, claiming = self.seen(key), self.journal.claim(KIND, body, key)
        if known is not None and known.body != body:
            with pytest.raises(JournalError, match="belongs to another request") as caught:
                self.loop.run_until_complete(claiming)
            assert known.body.decode() in str(caught.value)
            assert body.decode() in str(caught.value)
            return
        claim = self.loop.run_until_complete(claiming)
        assert claim.key == key
        self.same(claim.entry, known)
        self.held[key] = body

    @precondition(lambda self: len(self.held) < 5)
    @rule(body=BODIES)
    def claim_by_number(self, body: bytes) -> None:
        claim = self.loop.run_until_complete(self.journal.claim(KIND, body, None))
        stem, _, number = claim.key.rpartition("-")
        assert self.stems.setdefault(body, stem) == stem
        assert list(self.stems.values()).count(stem) == 1
        expected = self.repeats.get(body, 0) + 1
        while not self.is_free(f"{stem}-{expected}"):
            expected += 1
        assert int(number) == expected
        if expected > 1:
            self.repeats[body] = expected
        self.same(claim.entry, self.seen(claim.key))
        if claim.key in self.known:
            self.known[claim.key].old = False
        self.held[claim.key] = body

    def is_free(self, key: str) -> bool:
        known = self.known.get(key)
        unmade = known is None or known.state in (State.PLANNED, State.REFUSED)
        return key not in self.held and (unmade or (known is not None and known.old))

    def a_key(self, data: st.DataObject, *states: State | None) -> str | None:
        """One of the keys that are held, in one of these states on disk."""
        fit = [key for key in self.held if self.state(key) in states]
        return data.draw(st.sampled_from(sorted(fit))) if fit else None

    def state(self, key: str) -> State | None:
        return self.known[key].state if key in self.known else None

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        key = self.a_key(data, None, State.PLANNED, State.REFUSED, State.UNCERTAIN)
        if key is not None and not (key in self.known and self.known[key].ids):  # that was made
            self.do(self.journal.mark_sending(key, KIND, self.held[key]))
            self.known[key] = Known(self.held[key], State.SENDING)
            self.left.discard(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), ids=IDS)
    def submitted(self, data: st.DataObject, ids: list[str]) -> None:
        if (key := self.a_key(data, State.SENDING)) is not None:
            self.do(self.journal.mark_submitted(key, ids))
            self.known[key] = Known(self.held[key], State.SUBMITTED, "", tuple(ids))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reason=REASONS, how=st.sampled_from(["refused", "uncertain"]))
    def failed(self, data: st.DataObject, reason: str, how: str) -> None:
        if (key := self.a_key(data, State.SENDING)) is not None:
            self.do(getattr(self.journal, f"mark_{how}")(key, reason))
            self.known[key] = Known(self.held[key], State(how), reason)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        if (key := self.a_key(data, State.SENDING)) is not None:
            self.do(self.journal.mark_planned(key))
            self.known[key] = Known(self.held[key], State.PLANNED)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        made = self.state(key) is State.SUBMITTED
        self.loop.run_until_complete(self.journal.release(key, made=made))
        body = self.held.pop(key)
        self.left.add(key)
        stem, _, number = key.rpartition("-")
        if not made and stem == self.stems.get(body) and body in self.repeats:
            self.repeats[body] = min(self.repeats[body], int(number) - 1)

    @rule(data=st.data(), ids=st.one_of(IDS, st.just([])))
    def settle(self, data: st.DataObject, ids: list[str]) -> None:
        free = self.known.keys() - self.held.keys()  # a create under way would be waited for
        key = data.draw(st.sampled_from([*sorted(free), "unheard of"]))
        known = self.seen(key)
        more = known is not None and known.state is State.SUBMITTED and set(known.ids) < set(ids)
        if known is None or (known.state is not State.UNCERTAIN and not more):
            with pytest.raises(JournalError, match="only an uncertain create can be settled"):
                self.do(self.journal.settle(key, ids))
            return
        if known.ids and not ids:
            with pytest.raises(JournalError, match="cannot be settled as none"):
                self.do(self.journal.settle(key, ids))
            return
        self.do(self.journal.settle(key, ids))
        state = State.SUBMITTED if ids else State.PLANNED
        union = tuple(dict.fromkeys([*known.ids, *ids]))
        self.known[key] = Known(known.body, state, "", union, self.known[key].old)

    @rule(data=st.data(), ids=IDS, count=st.integers(1, 4))
    def add_ids(self, data: st.DataObject, ids: list[str], count: int) -> None:
        free = self.known.keys() - self.held.keys()
        key = data.draw(st.sampled_from([*sorted(free), "unheard of"]))
        known = self.seen(key)
        adding = self.journal.add_ids(key, ids, count)
        if known is None or set(ids) <= set(known.ids):
            self.same(self.loop.run_until_complete(adding), known)  # nothing is written
            return
        self.same(self.do(adding), known)
        union = tuple(dict.fromkeys([*known.ids, *ids]))
        whole = known.state is State.SUBMITTED or len(union) >= count
        state = State.SUBMITTED if whole else State.UNCERTAIN
        reason = "" if whole else f"callbacks reported {len(union)} of its {count} tasks"
        self.known[key] = Known(known.body, state, reason, union, self.known[key].old)

    @rule(task=TASKS)
    def ended(self, task: Task) -> None:
        before = self.tasks.setdefault(task.task_id, [])
        path = before[-1].path if before else None
        self.loop.run_until_complete(self.journal.mark_ended(task))
        before.append(Ended(self.kept(before, task), path))

    def kept(self, before: list[Ended], task: Task) -> Task:
        """What a journal keeps of a task, whose last record is that of ``before``."""
        stays = self.shared and before and before[-1].task.done and not task.done
        return before[-1].task if stays else task

    @rule(task=TASKS, path=st.sampled_from([Path("/videos/one.mp4"), Path("/zwölf/🐕 2.mp4")]))
    def downloaded(self, task: Task, path: Path) -> None:
        before = self.tasks.setdefault(task.task_id, [])
        before.append(Ended(self.kept(before, task), path))
        self.do(self.journal.mark_downloaded(task, path, 7, "digest"))
        record = self.record(task.task_id)
        assert record is not None
        assert (record.size, record.digest) == (7, "digest")

    @rule(in_order=st.booleans())
    def run_again(self, in_order: bool) -> None:
        self.journal = self.reopen() if in_order else self.crash()
        self.left.update(self.held)
        self.held.clear()
        self.repeats.clear()
        for known in self.known.values():
            known.old = True
        for task_id, ended in list(self.tasks.items()):
            record = self.record(task_id)
            might = [one for one in ended if record and one.task == record.task]
            if in_order:
                might = [one for one in might if one is ended[-1]]
            if record is None:
                assert not in_order
                assert not any(one.sure for one in ended)
                del self.tasks[task_id]
            else:
                self.tasks[task_id] = [Ended(record.task, might[-1].path, sure=True)]

    @invariant()
    def it_knows_what_the_model_knows(self) -> None:
        if not hasattr(self, "journal"):
            return
        for key in self.known:
            self.same(self.find(key), self.seen(key))
        assert self.find("unheard of") is None
        order = [entry.key for entry in self.entries()]
        assert order == list(self.known)
        for state in State:
            those = [entry.key for entry in self.entries(state)]
            assert those == [
                key for key in self.known if (seen := self.seen(key)) and seen.state is state
            ]

    @invariant()
    def it_knows_the_tasks(self) -> None:
        for task_id, ended in self.tasks.items():
            record = self.record(task_id)
            if record is None:
                assert not any(one.sure for one in ended)
            else:
                assert (record.task, record.path) in [(one.task, one.path) for one in ended]

    @rule(task_id=st.sampled_from(["i2v-0", "i2v 5", "i2v%206", "i2v-", "i2v"]))
    def owner(self, task_id: str) -> None:
        owner = self.loop.run_until_complete(self.journal.find_owner(task_id))
        owners = {key for key, known in self.known.items() if task_id in known.ids}
        assert owner in owners or (owner is None and not owners)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class SqliteMachine(JournalMachine):
    """One file. A crash is what a copy taken at that moment holds."""

    def create(self) -> JournalProtocol:
        self.folder = Path(tempfile.mkdtemp())
        self.number = 0
        return self.open()

    def open(self) -> Journal:
        journal = Journal(self.folder / f"{self.number}.db")
        journal.attach()
        return journal

    def reopen(self) -> JournalProtocol:
        self.loop.run_until_complete(self.journal.detach())
        return self.open()

    def crash(self) -> JournalProtocol:
        before, self.number = self.number, self.number + 1
        for end in ("-lock", "", "-wal"):  # the witness first: it must not know of more
            shutil.copy(self.folder / f"{before}.db{end}", self.folder / f"{self.number}.db{end}")
        self.loop.run_until_complete(self.journal.detach())
        return self.open()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.loop.run_until_complete(self.journal.detach())
            shutil.rmtree(self.folder)
        super().teardown()


class SharedMachine(JournalMachine):
    """What both servers have in common. A crash is a holder of whom nothing more is heard."""

    shared = True
    redis: Client
    journal: RedisJournal

    def open(self) -> RedisJournal:
        journal = RedisJournal(self.redis)
        journal.attach()
        return journal

    def reopen(self) -> JournalProtocol:
        self.loop.run_until_complete(self.journal.detach())
        return self.open()

    def crash(self) -> JournalProtocol:
        self.loop.run_until_complete(dead(self.journal))
        return self.open()

    @invariant()
    def it_counts(self) -> None:
        if not hasattr(self, "journal"):
            return
        expected = Counter(
            "uncertain"
            if self.shared and known.state is State.SENDING and key in self.left
            else known.state.value
            for key, known in self.known.items()
        )
        expected.update(
            "succeeded" if ended[-1].task.succeeded else "failed"
            for ended in self.tasks.values()
            if ended[-1].task.done  # SUCCEEDED without a result is not an end
        )
        counted = self.loop.run_until_complete(self.journal.counts())
        assert {name: number for name, number in counted.items() if number} == expected

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.loop.run_until_complete(self.leave())
        super().teardown()

    async def leave(self) -> None:
        await self.journal.detach()


class RedisMachine(SharedMachine):
    """A real server, emptied for each example."""

    server: ClassVar[RedisServer]

    def create(self) -> JournalProtocol:
        self.server.ask("FLUSHALL")
        self.redis = self.client = Redis(port=self.server.port)
        return self.open()

    async def leave(self) -> None:
        await super().leave()
        await self.client.aclose()


class MemoryMachine(SharedMachine):
    """Docket's ``memory://``."""

    def create(self) -> JournalProtocol:
        self.redis = self.loop.run_until_complete(in_memory())
        return self.open()


async def in_memory() -> Client:
    async with Docket(name="a", url=f"memory://{uuid4()}") as docket, docket.redis() as client:
        return client


MANY = settings(max_examples=200, stateful_step_count=60)
FEW = settings(max_examples=20, stateful_step_count=25)  # other ones in each run
FEWER = settings(FEW, max_examples=10)  # these share their rules, and each step takes longer


def test_the_journal_in_sqlite() -> None:
    run_state_machine_as_test(SqliteMachine, settings=MANY if THOROUGH else FEW)


def test_the_journal_in_memory() -> None:
    run_state_machine_as_test(MemoryMachine, settings=MANY if THOROUGH else FEWER)


@pytest.mark.fleet
def test_the_journal_in_redis(redis_server: RedisServer) -> None:
    RedisMachine.server = redis_server
    run_state_machine_as_test(RedisMachine, settings=MANY if THOROUGH else FEWER)
