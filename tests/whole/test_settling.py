"""Callbacks and a client, the whole way: uncertain creates find their ids, none is paid twice."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    Journal,
    JournalError,
    Keevx,
    NotFoundError,
    PollPolicy,
    SubmissionUncertain,
    WaitTimeout,
)
from keevx_async.client.runtime import (
    LONGEST_FACTOR,
    POLLS_WITH_CALLBACKS,
    SHORTEST_FACTOR,
    with_callbacks,
)
from keevx_async.journal.protocol import Entry, State
from keevx_async.submission.reconciler import MAX_REPORTED_IDS
from keevx_async.testing import Emulator, Faults
from tests.conftest import at_once
from tests.support.callbacks import a_receiver, in_aiohttp, posted
from tests.support.client import a_request, awaited, keevx_of, some_requests
from tests.support.journal import entry_of
from tests.support.settling import (
    HINTED,
    KIND,
    PATIENT,
    Script,
    called_back,
    once_each,
    polls_per_task,
    until,
)

IMPATIENT = PollPolicy(shortest=0.01, longest=0.5, timeout=0.4)


async def uncertain_in(journal: Journal) -> list[Entry]:
    return [one async for one in journal.entries(State.UNCERTAIN)]


@pytest.fixture(params=[True, False], ids=["journal", "no journal"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal | None:
    return Journal(tmp_path / "run.db") if request.param else None


LOSSES = ["drop_after_create", "error_after_create", "garbage_after_create", "half_answer"]


# Each loss with each way of calling back, and each of both with and without a journal.
LOST = [
    pytest.param(loss, callbacks, (row + column) % 2 == 0)
    for row, loss in enumerate(LOSSES)
    for column, callbacks in enumerate([None, "twice", "delay"])
]


@pytest.mark.parametrize(("loss", "callbacks", "journal"), LOST, indirect=["journal"])
async def test_forty_lost_answers_and_none_lost_or_paid_twice(
    tmp_path: Path, loss: str, callbacks: Any, journal: Journal | None
) -> None:
    faults = Faults(callbacks=callbacks)
    setattr(faults, loss, 1.0)
    async with called_back(faults=faults, journal=journal, polling=HINTED) as (emulator, keevx, _):
        fan = await keevx.generate_many(some_requests(40), download=tmp_path)
        fan.raise_for_errors()
        once_each(emulator, fan, 40)
        assert all(len(outcome.paths) == 1 for outcome in fan.outcomes)
        assert polls_per_task(emulator) == 1.0, "the confirmation is the poll"
    if journal is not None:
        async with journal:
            assert Counter([one.state async for one in journal.entries()]) == {State.SUBMITTED: 40}


@pytest.mark.parametrize("callbacks", [None, "twice", "delay"])
async def test_polls_per_task_with_callbacks(callbacks: Any) -> None:
    async with called_back(0.5, faults=Faults(callbacks=callbacks), polling=PollPolicy()) as (
        emulator,
        keevx,
        _,
    ):
        emulator.spread = 0.35
        fan = await keevx.generate_many(some_requests(100))
        fan.raise_for_errors()
        once_each(emulator, fan, 100)
        assert polls_per_task(emulator) <= 1.5


async def test_polls_find_a_task_without_a_callback() -> None:
    async with called_back(0.1, faults=Faults(callbacks="drop")) as (emulator, keevx, _):
        fan = await keevx.generate_many(some_requests(5))
        fan.raise_for_errors()
        once_each(emulator, fan, 5)


async def test_a_callback_that_comes_while_the_create_is_unanswered(
    journal: Journal | None,
) -> None:
    faults = Faults(silent_after_create=1.0)
    settings: Any = {"faults": faults, "journal": journal, "timeout": 0.5}
    async with called_back(0.05, **settings) as (emulator, keevx, _):
        fan = await keevx.generate_many(some_requests(8))
        fan.raise_for_errors()
        once_each(emulator, fan, 8)
        assert emulator.callbacks["delivered"] == 8
        assert (await keevx.generate(a_request("alone")))[0].task_id in emulator.tasks


async def test_a_callback_that_overtakes_a_slow_answer_costs_one_poll() -> None:
    async with called_back(0.05, faults=Faults(latency=0.3)) as (emulator, keevx, _):
        fan = await keevx.generate_many(some_requests(8))
        fan.raise_for_errors()
        once_each(emulator, fan, 8)
        assert polls_per_task(emulator) == 1.0


@pytest.mark.parametrize("callbacks", [None, "twice"])
async def test_each_video_of_a_create_brings_its_own_id(
    callbacks: Any, journal: Journal | None
) -> None:
    faults = Faults(drop_after_create=1.0, callbacks=callbacks)
    async with called_back(faults=faults, journal=journal) as (emulator, keevx, _):
        emulator.spread = 0.8
        fan = await keevx.generate_many(some_requests(10, generate_count=4))
        fan.raise_for_errors()
        once_each(emulator, fan, 10)
        assert all(len(outcome.tasks) == 4 for outcome in fan.outcomes)
        assert len(await keevx.generate(a_request("alone", generate_count=3))) == 3


async def test_submit_many_returns_uncertain_at_once_and_the_journal_is_filled_in_later(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "run.db")
    faults = Faults(drop_after_create=1.0)
    async with called_back(0.4, faults=faults, journal=journal) as (emulator, keevx, _):
        fan = await keevx.submit_many(some_requests(20))
        assert all(isinstance(one, SubmissionUncertain) for one in fan.errors)
        assert len(fan.errors) == 20
        assert emulator.callbacks.total() == 0
        await until(lambda: not at_once(uncertain_in(journal)))
        entries = [one async for one in journal.entries()]
        for entry in entries:
            (task_id,) = entry.task_ids
            assert emulator.tasks[task_id].prompt == json.loads(entry.body)["prompt"]
        await keevx.close()
        async with keevx_of(emulator, journal=journal) as second:
            again = await second.submit_many(some_requests(20))
            again.raise_for_errors()
            once_each(emulator, again, 20)


async def test_a_later_run_takes_the_callbacks_of_an_earlier_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db")
    async with Emulator(0.6, faults=Faults(drop_after_create=1.0)) as emulator:
        async with in_aiohttp() as receiver:
            settings = {"callbacks": receiver, "journal": journal, "polling": PATIENT}
            async with keevx_of(emulator, **settings) as keevx:
                assert len((await keevx.submit_many(some_requests(5))).errors) == 5
            async with keevx_of(emulator, **settings):  # not a verb is called
                await until(lambda: emulator.callbacks.total() == 5)
                assert not [one async for one in journal.entries(State.UNCERTAIN)]
            async with keevx_of(emulator, **settings) as keevx:
                fan = await keevx.generate_many(some_requests(5))
                fan.raise_for_errors()
        once_each(emulator, fan, 5)


async def test_an_uncertain_item_of_an_earlier_run_is_held_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db")
    faults = Faults(drop_after_create=1.0)
    async with called_back(0.5, faults=faults, journal=journal) as (emulator, keevx, receiver):
        assert len((await keevx.submit_many(some_requests(5))).errors) == 5
        await keevx.close()
        async with keevx_of(
            emulator, callbacks=receiver, journal=journal, polling=PATIENT
        ) as second:
            fan = await second.generate_many(some_requests(5))
            fan.raise_for_errors()
            once_each(emulator, fan, 5)


async def test_a_wait_for_callbacks_has_its_deadline(journal: Journal | None) -> None:
    """One of two videos is told of: it is kept, and the create stays uncertain."""
    faults = Faults(drop_after_create=1.0)
    settings: Any = {"journal": journal, "polling": IMPATIENT}
    async with called_back(0.1, faults=faults, **settings) as (emulator, keevx, receiver):
        fan = keevx.generate_many([a_request(generate_count=2)], key=lambda _: "k")
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: len(emulator.tasks) == 2)
        first, second = emulator.tasks
        announcer: Any = emulator._announcer
        announcer._timers.pop(second).cancel()
        (outcome,) = (await running).outcomes
        assert isinstance(outcome.error, SubmissionUncertain)
        assert outcome.task_ids == (first,)
        emulator.faults.callbacks = "drop"
        with pytest.raises(SubmissionUncertain):
            await keevx.generate(a_request("nothing comes"))
        if journal is None:
            return
        entry = await entry_of(journal)
        assert (entry.state, entry.task_ids) == (State.UNCERTAIN, (first,))
        assert "1 of its 2 tasks" in entry.reason
        url = receiver.url_for("k")
        assert await posted(url, json={"data": {"task_id": second}}) == 204
        entry = await entry_of(journal)
        assert (entry.state, entry.task_ids) == (State.SUBMITTED, (first, second))
        assert emulator.creates[outcome.request.prompt] == 1


async def test_a_cancelled_wait_for_callbacks_is_reported_as_uncertain() -> None:
    faults = Faults(drop_after_create=1.0)
    async with called_back(30, faults=faults) as (emulator, keevx, _):
        fan = keevx.generate_many(some_requests(3))
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: len(emulator.tasks) == 3)
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [type(one) for one in fan.errors] == [SubmissionUncertain] * 3


async def test_a_wait_cut_short_after_the_callback_is_reported_with_its_ids() -> None:
    faults = Faults(drop_after_create=1.0, drop_polls=0.0)
    async with called_back(30, faults=faults) as (emulator, keevx, receiver):
        fan = keevx.generate_many(some_requests(1), key=lambda _: "k")
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: len(emulator.tasks) == 1)
        (task_id,) = emulator.tasks
        await asyncio.sleep(0.05)
        assert await posted(receiver.url_for("k"), json={"data": {"task_id": task_id}}) == 204
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        (outcome,) = fan.outcomes
        assert isinstance(outcome.error, WaitTimeout)
        assert outcome.error.pending == outcome.task_ids == (task_id,)


async def test_a_callback_url_of_ones_own_has_no_place_beside_a_receiver() -> None:
    async with called_back() as (emulator, keevx, _):
        with pytest.raises(InvalidRequest, match="must not be set when callbacks="):
            await keevx.submit(a_request(callback_url="https://you.example/mine"))
        assert not emulator.tasks


async def test_a_key_too_long_for_an_url_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "run.db")
    async with called_back(journal=journal) as (emulator, keevx, _):
        with pytest.raises(InvalidRequest, match="must be 1 to 512 bytes of text"):
            await keevx.submit(a_request(), key="k" * 513)
        assert (await keevx.submit(a_request(), key="k" * 512)).task_ids
        assert len(emulator.tasks) == 1
        assert len([one async for one in journal.entries()]) == 1


async def test_one_key_for_two_requests_is_refused_without_a_journal() -> None:
    async with called_back(0.3, faults=Faults(drop_after_create=1.0)) as (emulator, keevx, _):
        fan = await keevx.generate_many(some_requests(2), key=lambda _: "k")
        first, second = fan.outcomes
        assert first.ok
        assert isinstance(second.error, JournalError)
        assert "'k' belongs to another request" in second.error.message
        assert len(emulator.tasks) == 1


def test_a_client_that_outlives_its_loop_takes_callbacks_on_the_new_one() -> None:
    receiver = a_receiver()
    sinks: list[Any] = receiver._sinks
    keevx = Keevx("k", base_url="http://127.0.0.1:9", callbacks=receiver)

    async def enter() -> None:
        keevx._components()
        assert len(sinks) == 1

    asyncio.run(enter())
    asyncio.run(enter())
    asyncio.run(keevx.close())
    assert sinks == []


def test_seldom_is_rarer_and_keeps_what_the_user_chose() -> None:
    policy = with_callbacks(PollPolicy(longest=10.0, timeout=7.0, shortest=0.5))
    assert policy == PollPolicy(
        longest=10.0 * LONGEST_FACTOR,
        timeout=7.0,
        shortest=0.5 * SHORTEST_FACTOR,
        polls_per_task=POLLS_WITH_CALLBACKS,
    )
    assert with_callbacks(PollPolicy(polls_per_task=1.0)).polls_per_task == 1.0


# Settlements alone: a scripted Keevx, no socket.


def scripted(test: Callable[[Script], Any]) -> Callable[[], None]:
    def run() -> None:
        async def whole() -> None:
            script = Script()
            await test(script)
            await script.settlements.close()

        asyncio.run(whole())

    run.__name__ = test.__name__  # not wraps(): pytest would look for a fixture
    return run


@scripted
async def test_a_create_that_is_no_longer_under_way_is_not_remembered(script: Script) -> None:
    async with script.settlements.expecting("k", 1, KIND):
        await script.tell("k", "t")
        script.settlements.claim_ids("k", ["t"])
    with pytest.raises(APIError):
        async with script.settlements.expecting("k", 1, KIND):
            raise APIError(400)
    assert script.settlements.statistics()[:2] == (0, 0)
    await script.tell("k", "t")
    assert script.settlements.statistics()[:2] == (0, 0)
    assert script.asked == []
    assert script.woken == ["t", "t"]


@scripted
async def test_memory_is_bounded(script: Script) -> None:
    settlements = script.settlements
    for number in range(12_000):
        await script.lose(f"k{number}")
        settlements.claim_ids(f"s{number}", [f"i{number}"])
    assert settlements.statistics()[:3] == (0, 10_000, 10_000)
    script.known = {"t"}
    waiting = asyncio.create_task(settlements.wait("k2000", 1, KIND))
    await asyncio.sleep(0)
    for number in range(12_000, 24_000):
        await script.lose(f"k{number}")
    await script.tell("k2000", "t")
    assert await waiting == ("t",), "who is waited for is not forgotten"


async def test_ended_tasks_are_handed_out_once_and_few_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keevx_async.submission.reconciler.MAX_REMEMBERED", 3)
    script = Script()
    for number in range(5):
        script.known.add(f"t{number}")
        await script.lose(f"k{number}")
        await script.tell(f"k{number}", f"t{number}")
    kept = [script.settlements.end_of(f"t{number}") for number in range(5)]
    assert [task is not None for task in kept] == [False, False, True, True, True]
    assert script.settlements.end_of("t4") is None
    await script.settlements.close()


@scripted
async def test_an_id_has_one_owner(script: Script) -> None:
    script.known = {"theirs", "shared"}
    script.settlements.claim_ids("other", ["theirs"])
    await script.lose("one")
    await script.lose("two")
    await script.tell("one", "theirs")
    await asyncio.gather(script.tell("one", "shared"), script.tell("two", "shared"))
    assert await script.settlements.ids_so_far("one") == ("shared",)
    assert await script.settlements.ids_so_far("two") == ()


@scripted
async def test_questions_are_bounded(script: Script) -> None:
    await script.lose("k", 4)
    for number in range(50):
        await script.tell("k", f"t{number}")
    assert len(set(script.asked)) == 4 * MAX_REPORTED_IDS
    assert await script.settlements.ids_so_far("k") == ()


@scripted
async def test_a_task_too_new_to_be_found_is_asked_about_again(script: Script) -> None:
    await script.lose("k")
    script.known = {"t"}
    script.answers = {"t": [NotFoundError(404), NotFoundError(404)]}
    await script.tell("k", "t")
    assert script.slept == [0.5, 1.5]
    assert await script.settlements.ids_so_far("k") == ("t",)
    await script.tell("k", "nobodys")
    assert script.asked.count("nobodys") == 4


@scripted
async def test_a_failed_query_denies_no_id(script: Script) -> None:
    await script.lose("k")
    script.known = {"t"}
    for error in (AuthenticationError(401), ConnectionFailed("host", "down"), APIError(408)):
        script.answers = {"t": [error]}
        with pytest.raises(type(error)):
            await script.tell("k", "t")
        assert await script.settlements.ids_so_far("k") == ()
    await script.tell("k", "t")  # posted again
    assert await script.settlements.ids_so_far("k") == ("t",)
    script.answers = {"bad": [APIError(400, 100001, "no such form of id")]}
    await script.tell("k", "bad")
    assert await script.settlements.ids_so_far("k") == ("t",)


@scripted
async def test_a_callback_cut_in_the_middle_may_come_again(script: Script) -> None:
    await script.lose("k")
    script.known = {"t"}
    script.gate.clear()
    telling = asyncio.create_task(script.tell("k", "t"))
    await asyncio.sleep(0)
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    script.gate.set()
    await script.tell("k", "t")
    assert await script.settlements.ids_so_far("k") == ("t",)


@scripted
async def test_closing_ends_what_has_begun(script: Script) -> None:
    script.known = {"t"}
    async with script.settlements.expecting("k", 1, KIND):
        await script.tell("k", "t")
        script.settlements.mark_lost("k")
    await script.settlements.close()
    assert await script.settlements.ids_so_far("k") == ("t",)
    await script.tell("k", "t")
    assert script.asked == ["t"], "it is detached"


async def test_closing_waits_for_a_silent_keevx_no_longer_than_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keevx_async.submission.reconciler.GRACE", 0.01)
    script = Script()
    script.gate.clear()
    async with script.settlements.expecting("k", 1, KIND):
        await script.tell("k", "t")
        script.settlements.mark_lost("k")
    async with asyncio.timeout(60):
        await script.settlements.close()
    assert script.settlements.statistics().checks == 0


@scripted
async def test_a_failure_after_the_answer_to_the_callback_is_logged(script: Script) -> None:
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("keevx_async").addHandler(handler)
    script.answers = {"t": [ConnectionFailed("host", "down")]}
    async with script.settlements.expecting("k", 1, KIND):
        await script.tell("k", "t")
        script.settlements.mark_lost("k")
    await script.settlements.close()
    logging.getLogger("keevx_async").removeHandler(handler)
    assert "host" in logged[0]


@scripted
async def test_two_waiters_for_the_same_create_both_get_its_ids(script: Script) -> None:
    script.known = {"t", "u"}
    waiting = [asyncio.create_task(script.settlements.wait("k", 2, KIND)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.gather(*(script.tell("k", one) for one in "tutu"))
    assert [sorted(one) for one in await asyncio.gather(*waiting)] == [["t", "u"]] * 2


async def test_it_is_served_on_its_clients_loop() -> None:
    script = Script()

    def elsewhere() -> None:
        asyncio.run(script.tell("k", "t"))

    with pytest.raises(ConfigurationError, match="their client's event loop"):
        await asyncio.to_thread(elsewhere)
    await script.settlements.close()


async def test_what_a_person_settled_meanwhile_stands_beside_what_a_callback_proves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Journal(tmp_path / "run.db") as journal:
        script = Script(journal)
        script.known = {"t", "mine"}
        await journal.mark_sending("k", "image_to_video", b"{}")
        await journal.mark_uncertain("k", "dropped")
        await script.lose("k")
        await journal.settle("k", ["mine"])
        await script.tell("k", "t")
        entry = await entry_of(journal)
        assert (entry.state, entry.task_ids) == (State.SUBMITTED, ("mine", "t"))
        assert "k was charged twice: it has mine, and now t" in caplog.text
        await script.settlements.close()


async def test_ids_are_on_disk_before_anyone_gets_them(tmp_path: Path) -> None:
    async with Journal(tmp_path / "run.db") as journal:
        script = Script(journal)
        script.known = {"t"}
        await journal.mark_sending("k", "image_to_video", b"{}")
        await journal.mark_uncertain("k", "dropped")
        waiting = asyncio.create_task(script.settlements.wait("k", 1, KIND))
        await asyncio.sleep(0)

        async def full(key: str, task_ids: Any, count: int) -> None:
            raise JournalError("the disk is full")

        add_ids, journal.add_ids = journal.add_ids, full  # type: ignore[method-assign, method-assign]
        with pytest.raises(JournalError, match="full"):
            await script.tell("k", "t")
        assert not waiting.done()
        journal.add_ids = add_ids  # type: ignore[method-assign]
        await script.tell("k", "t")
        assert await waiting == ("t",)
        await script.settlements.close()


async def test_an_earlier_create_is_heard_of_when_making_it_again_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db", on_uncertain="resubmit")
    async with journal:
        script = Script(journal)
        script.known = {"t"}
        await journal.mark_sending("k", "image_to_video", b"{}")
        await journal.mark_uncertain("k", "dropped")
        async with script.settlements.expecting("k", 1, KIND):  # refused: undone
            await script.tell("k", "t")
        await script.settlements.close()
        entry = await entry_of(journal)
        assert entry.task_ids == ("t",)


class Far(Journal):
    """A journal that takes a while to be read, as the one in Redis."""

    async def find(self, key: str) -> Entry | None:
        found = await super().find(key)
        await asyncio.sleep(0)
        return found


async def test_callbacks_that_come_together_for_an_earlier_run_all_count(tmp_path: Path) -> None:
    async with Far(tmp_path / "run.db") as journal:
        body = b'{"generate_count":3}'
        await journal.claim(KIND.name, body, "k")
        await journal.mark_sending("k", KIND.name, body)
        await journal.mark_uncertain("k", "dropped")
        await journal.release("k")
        script = Script(journal)
        script.known = {"a", "b", "c"}
        waiting = asyncio.ensure_future(script.settlements.wait("k", 3, KIND))
        await asyncio.gather(*(script.tell("k", one) for one in sorted(script.known)))
        assert sorted(await asyncio.wait_for(waiting, 60)) == ["a", "b", "c"]
        entry = await entry_of(journal)
        assert (entry.state, sorted(entry.task_ids)) == (State.SUBMITTED, ["a", "b", "c"])
        await script.settlements.close()


async def test_an_id_in_callbacks_of_two_creates_belongs_to_one_of_them(tmp_path: Path) -> None:
    async with Far(tmp_path / "run.db") as journal:
        for key in ("k", "l"):
            await journal.mark_sending(key, KIND.name, b"{}")
            await journal.mark_uncertain(key, "dropped")
        script = Script(journal)
        script.known = {"t"}
        await asyncio.gather(script.tell("k", "t"), script.tell("l", "t"))
        assert len(await uncertain_in(journal)) == 1
        await script.settlements.close()
