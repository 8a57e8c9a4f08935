"""The journal that many machines share: who has a key, and what outlives a death or a restart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError

from keevx_async import ConfigurationError, JournalError, Keevx, Task
from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import DIED_WHILE_SENDING, Claim, Entry, State
from keevx_async.journal.redis.connection import MAX_PAUSE, Connection
from keevx_async.journal.redis.encoding import Added, Planned
from keevx_async.journal.redis.journal import PAGE
from keevx_async.journal.redis.lease import Lease
from keevx_async.testing import Emulator
from tests.conftest import FakeClock
from tests.support.client import some_requests
from tests.support.fleet import RedisServer, dead
from tests.support.redis_journal import Counting, memory
from tests.support.simulated import simulated

__all__ = ["memory"]  # a fixture

KIND = "image_to_video"
BODY = b'{"prompt":"one"}'
OTHER = b'{"prompt":"two"}'


@pytest_asyncio.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(port=redis_server.port, retry=Retry(NoBackoff(), 0)) as client:
        yield client


async def add_one(
    journal: RedisJournal, kind: str, body: bytes, key: str | None, run: str
) -> Added:
    (added,) = await journal.add_many([Planned(kind, body, key)], run)
    return added


async def begun(journal: RedisJournal, key: str = "k", body: bytes = BODY) -> None:
    await journal.claim(KIND, body, key)
    await journal.mark_sending(key, KIND, body)


async def found(journal: RedisJournal, key: str = "k") -> Entry:
    entry = await journal.find(key)
    assert entry is not None
    return entry


async def test_what_another_works_on_is_waited_for(memory: Counting) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            await first.mark_submitted("k", ["i2v-1"])
            await first.release("k")

    first, second = RedisJournal(memory), RedisJournal(memory, sleep=sleep)
    async with first, second:
        await begun(first)
        assert (await found(second)).state is State.SENDING
        claim = await second.claim(KIND, BODY, "k")
        assert claim.entry is not None
        assert (claim.entry.state, claim.entry.task_ids) == (State.SUBMITTED, ("i2v-1",))
    assert pauses == [0.1, 0.2, 0.4, 0.5]


async def test_what_a_dead_worker_was_sending_is_uncertain(memory: Counting) -> None:
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await begun(first)
        await dead(first)
        assert (await found(second)).state is State.UNCERTAIN
        claim = await second.claim(KIND, BODY, "k")
        assert claim.entry is not None
        assert (claim.entry.state, claim.entry.reason) == (State.UNCERTAIN, DIED_WHILE_SENDING)


async def test_counts_call_uncertain_what_a_dead_worker_was_sending(memory: Counting) -> None:
    async def counts() -> tuple[int, int]:
        all_counts = await second.counts()
        return all_counts["sending"], all_counts["uncertain"]

    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await begun(first)
        await begun(second, "l", OTHER)
        assert await counts() == (2, 0)
        await dead(first)
        assert await counts() == (1, 1)
        await second.claim(KIND, BODY, "k")  # it is recorded so: it counts once
        assert await counts() == (1, 1)
        await second.release("k")
        await second.settle("k", ["i2v-1"])
        assert await counts() == (1, 0)


async def test_who_was_thought_dead_sends_nothing_more(memory: Counting) -> None:
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await first.claim(KIND, BODY, "k")
        await dead(first)
        await second.claim(KIND, BODY, "k")
        with pytest.raises(JournalError, match="another worker has taken k"):
            await first.mark_sending("k", KIND, BODY)
        assert await second.find("k") is None
        await second.mark_sending("k", KIND, BODY)
        for change in (
            first.mark_uncertain("k", "x"),
            first.mark_refused("k", "x"),
            first.mark_planned("k"),
        ):
            with pytest.raises(JournalError, match="another worker has taken k"):
                await change
        await first.release("k")
        assert (await found(first)).state is State.SENDING
        await second.mark_submitted("k", ["i2v-1"])
        with pytest.raises(JournalError, match="has been submitted in the meantime"):
            await second.mark_sending("k", KIND, BODY)
        await second.mark_planned("k")
        await second.mark_uncertain("k", "x", ["i2v-2"])
        entry = await found(second)
        assert (entry.state, entry.task_ids) == (State.SUBMITTED, ("i2v-1", "i2v-2"))


async def test_ids_of_who_was_thought_dead_are_kept(
    memory: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await begun(first)
        await dead(first)
        await begun(second)  # told to send again what is uncertain
        await first.mark_submitted("k", ["i2v-1"])
        assert (await found(second)).state is State.SUBMITTED
        assert "charged twice" not in caplog.text
        await second.mark_submitted("k", ["i2v-2"])
        assert (await found(second)).task_ids == ("i2v-1", "i2v-2")
        assert "k was charged twice" in caplog.text
        assert [await second.find_owner(f"i2v-{n}") for n in (1, 2, 3)] == ["k", "k", None]
        with pytest.raises(JournalError, match="has Redis lost data") as caught:
            await second.mark_submitted("never begun", ["i2v-3"])
        assert caught.value.task_ids == ("i2v-3",)


async def test_a_sign_of_life_is_given_with_the_intent(memory: Counting) -> None:
    """Who stalled, and finds that nobody took its key, has a whole lease to send in."""
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await first.claim(KIND, BODY, "k")
        await dead(first)
        await first.mark_sending("k", KIND, BODY)
        assert (await found(second)).state is State.SENDING
    assert [name async for name in memory.client.scan_iter("*alive*")] == []


async def test_one_key_stands_for_one_request(memory: Counting) -> None:
    async with RedisJournal(memory) as journal:
        await add_one(journal, KIND, BODY, "k", "run")
        for asking in (journal.claim(KIND, OTHER, "k"), add_one(journal, KIND, OTHER, "k", "run")):
            with pytest.raises(JournalError, match="belongs to another request") as caught:
                await asking
            assert BODY.decode() in str(caught.value)
            assert OTHER.decode() in str(caught.value)
        assert await journal.claim(KIND, BODY, "k") == Claim("k", await found(journal))
        for unfit in ("\0", "\ud800"):
            with pytest.raises(JournalError, match="cannot be stored"):
                await journal.claim(KIND, BODY, unfit)
            with pytest.raises(JournalError, match="cannot be stored"):
                await add_one(journal, KIND, BODY, unfit, "run")


async def test_a_claim_that_is_cancelled_leaves_the_key_to_others(memory: Counting) -> None:
    first = RedisJournal(memory)
    third = RedisJournal(memory)
    async with first, RedisJournal(memory, sleep=lambda _: asyncio.sleep(0)) as second, third:
        await first.claim(KIND, BODY, "k")
        waiting = asyncio.ensure_future(second.claim(KIND, BODY, "k"))
        behind = asyncio.ensure_future(second.claim(KIND, BODY, "k"))
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not behind.done()
        await first.release("k")
        assert await behind == Claim("k", None)
        await second.release("k")
        assert await third.claim(KIND, BODY, "k") == Claim("k", None)


async def test_the_same_input_fed_again_finds_what_it_added(memory: Counting) -> None:
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        equal = [Planned(KIND, BODY, None)] * 3
        added = await first.add_many([*equal, Planned(KIND, OTHER, None)], "monday")
        stem = added[0].key[:-2]
        keys = [f"{stem}-1", f"{stem}-2", f"{stem}-3", added[3].key]
        assert [one.key for one in added] == keys
        assert [one.entry for one in added] == [None] * 4
        assert (await second.claim(KIND, BODY, keys[1])).entry is not None
        await second.mark_sending(keys[1], KIND, BODY)
        await second.mark_submitted(keys[1], ["i2v-1"])
        again = await second.add_many([*equal, *equal], "tuesday")
        assert [one.key for one in again] == [f"{stem}-{n}" for n in range(1, 7)]
        assert [one.entry and one.entry.state for one in again] == [
            State.PLANNED, State.SUBMITTED, State.PLANNED, None, None, None,
        ]  # fmt: skip
        assert (await second.claim(KIND, BODY, None)).key == f"{stem}-1"
        assert (await add_one(second, KIND, BODY, "mine", "tuesday")).entry is None
        assert (await add_one(first, KIND, BODY, "mine", "monday")).entry is not None


async def test_a_lost_answer_changes_nothing(memory: Counting, clock: FakeClock) -> None:
    async with RedisJournal(memory, sleep=clock.sleep) as journal:

        async def lost(doing: Callable[[], Awaitable[Any]]) -> Any:
            memory.lose, before = 1, len(memory.ran)
            done = await doing()
            assert len(memory.ran) >= before + 2
            return done

        added = [await lost(lambda: add_one(journal, KIND, OTHER, None, "run")) for _ in range(2)]
        assert [one.key[-2:] for one in added] == ["-1", "-2"]
        await lost(lambda: add_one(journal, KIND, OTHER, "named", "run"))
        claims = [await lost(lambda: journal.claim(KIND, BODY, None)) for _ in range(2)]
        assert [one.key[-2:] for one in claims] == ["-1", "-2"]
        key, more = (one.key for one in claims)
        await lost(lambda: journal.mark_sending(key, KIND, BODY))
        await lost(lambda: journal.mark_submitted(key, ["i2v-1"]))
        await lost(lambda: journal.mark_sending(more, KIND, BODY))
        await lost(lambda: journal.mark_uncertain(more, "x"))
        await lost(lambda: journal.settle(more, []))
        await lost(
            lambda: journal.mark_ended(
                Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://v")
            )
        )
        await lost(lambda: journal.release(key))
        assert await journal.counts() == {
            "planned": 4, "sending": 0, "submitted": 1, "refused": 0, "uncertain": 0,
            "succeeded": 1, "failed": 0,
        }  # fmt: skip
        assert len([one async for one in journal.entries()]) == 5


async def test_what_became_of_many_takes_two_questions(memory: Counting) -> None:
    async with RedisJournal(memory) as journal:
        creates = [Planned(KIND, BODY, f"key {n}") for n in range(PAGE + 100)]
        await journal.add_many(creates, "run")
        assert [one.key async for one in journal.entries()] == [str(one.key) for one in creates]
        await begun(journal, "key 0")
        await journal.mark_submitted("key 0", ["i2v-0", "i2v 1"])
        task = Task(task_id="i2v 1", status="SUCCEEDED", duration=6.5)
        await journal.mark_downloaded(task, Path("/1.mp4"), 7, "digest")
        await journal.mark_ended(task)
        memory.ran.clear()
        ends = await journal.find_records([*(f"key {n}" for n in range(99)), "unheard of"])
        assert len(memory.ran) == 2
        assert list(ends) == [f"key {n}" for n in range(99)]
        assert ends["key 1"].records == ()
        none, record = ends["key 0"].records
        assert none is None
        assert record is not None
        assert (record.task, record.path, record.size) == (task, Path("/1.mp4"), 7)
        assert await journal.find_records([]) == {}


async def test_a_lost_answer_costs_no_entry_of_an_earlier_run(memory: Counting) -> None:
    clock = FakeClock()
    async with RedisJournal(memory) as journal:
        key = (await journal.claim(KIND, BODY, None)).key
        await journal.mark_sending(key, KIND, BODY)
        await journal.mark_submitted(key, ["i2v-1"])
    async with RedisJournal(memory, sleep=clock.sleep) as journal:
        memory.lose = 1
        claim = await journal.claim(KIND, BODY, None)
        assert claim.key == key
        assert claim.entry is not None
        assert claim.entry.task_ids == ("i2v-1",)


async def test_only_a_holder_writes_what_is_no_id(memory: Counting) -> None:
    async with RedisJournal(memory) as journal:
        await begun(journal)
        await journal.release("k")
        with pytest.raises(JournalError, match="another worker has taken k"):
            await journal.mark_refused("k", "no good")
        with pytest.raises(JournalError, match="has Redis lost data"):
            await journal.mark_refused("unheard of", "no good")
        await journal.add_ids("k", ["i2v-1"], 2)
        assert (await found(journal)).task_ids == ("i2v-1",)


async def test_many_equals_are_not_counted_through_for_each(memory: Counting) -> None:
    async with RedisJournal(memory) as journal:
        for number, first in ((1, 1), (2, 1), (3, 3), (4, 4)):
            added = await add_one(journal, KIND, BODY, None, "run")
            assert added.key.endswith(f"-{number}")
            assert memory.words[-1] == str(first)


async def test_notes_are_kept(memory: Counting) -> None:
    async with RedisJournal(memory) as journal:
        await journal.set_note("durations", "[1]")
        await journal.set_note("durations", "[2]")
        assert await journal.get_note("durations") == "[2]"
        assert await journal.get_note("colour") is None


async def test_journals_of_other_names_are_apart(memory: Counting) -> None:
    async with RedisJournal(memory) as ours, RedisJournal(memory, "theirs") as theirs:
        await begun(ours)
        assert await theirs.claim(KIND, OTHER, "k") == Claim("k", None)


async def test_it_opens_and_closes(memory: Counting) -> None:
    journal = RedisJournal(memory)
    assert repr(journal) == "<RedisJournal keevx>"
    await journal.release("k")
    with pytest.raises(JournalError, match="is not open"):
        await journal.find("k")
    journal.attach()
    async with journal:
        await journal.detach()
        await begun(journal)
    async with journal:
        assert (await found(journal)).state is State.UNCERTAIN, "it is another run"


def test_what_it_is_given_is_checked() -> None:
    client: Any = object()
    for name in ("", "a{b}"):
        with pytest.raises(ConfigurationError, match="without braces"):
            RedisJournal(client, name)
    with pytest.raises(ValueError, match="on_uncertain must be 'report' or 'resubmit'"):
        RedisJournal(client, on_uncertain="retry")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="without decode_responses"):
        RedisJournal.from_url("redis://localhost?decode_responses=true")


class Broken:
    """A client whose server says no, or nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.at: list[float] = []

    async def evalsha(self, sha: str, numkeys: int, /, *words: Any) -> Any:
        self.at.append(asyncio.get_running_loop().time())
        raise self.error

    async def script_load(self, script: str, /) -> Any: ...

    def pipeline(self) -> Any: ...


@pytest.mark.parametrize(
    "error", [AuthenticationError("no such password"), ResponseError("WRONGTYPE of a key")]
)
@simulated
async def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    client = Broken(error)
    async with RedisJournal(client) as journal:
        with pytest.raises(JournalError, match="the intent of k could not be written"):
            await journal.mark_sending("k", KIND, BODY)
    assert len(client.at) == 1


@simulated
async def test_a_redis_that_is_away_is_waited_for_in_growing_pauses() -> None:
    client = Broken(ConnectionError("gone"))
    async with RedisJournal(client, reconnect_timeout=10.0) as journal:
        with pytest.raises(JournalError, match="the intent of k could not be written: gone"):
            await journal.mark_sending("k", KIND, BODY)
    pauses = [later - at for at, later in zip(client.at, client.at[1:], strict=False)]
    assert pauses[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert max(pauses) == pytest.approx(MAX_PAUSE)
    assert 7.0 < client.at[-1] - client.at[0] <= 10.0


@simulated
async def test_a_key_that_could_not_be_let_go_is_free_in_this_process() -> None:
    client = Broken(ConnectionError("gone"))
    holding = Lease(Connection(client, "keevx", 1.0, asyncio.sleep), 10.0, "w", "j", asyncio.sleep)
    await holding.claims.hold("k")
    await holding.release("k", made=True)
    await holding.claims.hold("k")
    await holding.close()


@simulated
async def test_signs_of_life_go_on_until_the_end() -> None:
    client = Broken(ConnectionError("gone"))
    holding = Lease(Connection(client, "keevx", 0.0, asyncio.sleep), 9.0, "w", "j", asyncio.sleep)
    loop = asyncio.get_running_loop()
    began = loop.time()
    holding.start_heartbeat()
    holding.start_heartbeat()
    await asyncio.sleep(10.0)
    assert [at - began for at in client.at] == pytest.approx([3.0, 6.0, 9.0]), "errors and all"
    await holding.close()
    await asyncio.sleep(10.0)
    assert len(client.at) == 4


@pytest.mark.fleet
async def test_a_restart_of_redis_loses_no_id(redis_server: RedisServer, client: Redis) -> None:
    async def sleep(_: float) -> None:
        await asyncio.to_thread(redis_server.start)

    async with RedisJournal(client, sleep=sleep) as journal:
        await begun(journal)
        redis_server.stop()
        await journal.mark_submitted("k", ["i2v-1"])
        redis_server.stop()
        await journal.mark_ended(Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://v"))
        assert (await found(journal)).task_ids == ("i2v-1",)
        assert (await journal.counts())["succeeded"] == 1
        await journal.release("k")


@pytest.mark.fleet
async def test_scripts_that_the_server_has_forgotten(
    redis_server: RedisServer, client: Redis
) -> None:
    async with RedisJournal(client) as journal:
        await journal.add_many([Planned(KIND, BODY, None)] * 3, "run")
        redis_server.ask("SCRIPT", "FLUSH")
        added = await journal.add_many([Planned(KIND, BODY, None)] * 3, "run")
        assert [one.key[-2:] for one in added] == ["-4", "-5", "-6"]


@pytest.mark.fleet
async def test_it_may_own_its_client(redis_server: RedisServer) -> None:
    journal = RedisJournal.from_url(redis_server.url, "mine", reconnect_timeout=1.0)
    for _ in range(2):
        async with journal:
            await begun(journal)
            ttl = redis_server.ask("PTTL", f"{{mine}}:alive:{journal._lease.holder}")
            assert isinstance(ttl, int)
            assert 5_000 < ttl <= 10_000
    assert redis_server.ask("KEYS", "*alive*") == []


@pytest.mark.fleet
async def test_two_clients_with_one_journal_make_each_create_once(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    requests = some_requests(30)

    async def submit() -> list[str]:
        journal = RedisJournal.from_url(redis_server.url)
        async with Keevx("test-key", base_url=emulator.url, journal=journal) as keevx:
            fan = await keevx.submit_many(requests, key=lambda one: one.to_dict()["prompt"])
            fan.raise_for_errors()
            return list(fan.task_ids)

    first, second = await asyncio.gather(submit(), submit())
    assert sorted(first) == sorted(second) == sorted(emulator.tasks)
    assert set(emulator.creates.values()) == {1}
    assert sorted(await submit()) == sorted(first)


@pytest.mark.fleet
async def test_a_run_again_waits_and_downloads_where_it_stood(
    redis_server: RedisServer, emulator: Emulator, tmp_path: Path
) -> None:
    paths: list[set[Path]] = []
    for _ in range(2):
        journal = RedisJournal.from_url(redis_server.url)
        async with Keevx("test-key", base_url=emulator.url, journal=journal) as keevx:
            fan = await keevx.generate_many(some_requests(5), download=tmp_path)
            fan.raise_for_errors()
            paths.append({path for one in fan.outcomes for path in one.paths})
    assert len(paths[0]) == 5
    assert paths[1] == paths[0]
    assert set(emulator.creates.values()) == {1}
    assert len(emulator.creates) == 5


@simulated
async def test_a_claim_that_fails_holds_nothing_back() -> None:
    client = Broken(ConnectionError("gone"))
    async with RedisJournal(client, reconnect_timeout=1.0) as journal:
        for _ in range(2):
            for key in ("k", None):
                with pytest.raises(JournalError, match="could not be claimed: gone"):
                    await journal.claim(KIND, BODY, key)
                await asyncio.sleep(2.0)
