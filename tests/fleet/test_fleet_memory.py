"""A fleet within one process: Docket's own in-memory backend, the Emulator as Keevx."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from inspect import signature
from itertools import count
from typing import Any, NoReturn

import pytest
from docket import Disposition
from redis.exceptions import OutOfMemoryError

from keevx_async import (
    APIError,
    ImageToVideo,
    InvalidRequest,
    JournalError,
    PollPolicy,
    RetryPolicy,
    SubmissionUncertain,
    Task,
    TaskFailed,
    WaitTimeout,
)
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings, create
from keevx_async.docket import completion as lookout
from keevx_async.docket.client import set_rate
from keevx_async.errors import AuthenticationError, ConfigurationError
from keevx_async.testing import Emulator, Faults
from tests.support.crashing import request

AGAIN = signature(create).parameters["retry"].default
NUMBERS = count()


def settings_of(emulator: Emulator, **more: Any) -> WorkerSettings:
    hurry: dict[str, Any] = {
        "polling": PollPolicy(shortest=0.02, longest=0.2),
        "retry": RetryPolicy(first_delay=0.02),
    }
    return WorkerSettings(api_key="test-key", base_url=emulator.url, **(hurry | more))


@asynccontextmanager
async def a_docket(**more: Any) -> AsyncIterator[KeevxDocket]:
    async with KeevxDocket("films", f"memory://{next(NUMBERS)}", **more) as docket:
        yield docket


async def work(docket: KeevxDocket, emulator: Emulator, **more: Any) -> None:
    """Have one worker do all that there is."""
    async with KeevxWorker(docket, settings_of(emulator, **more)) as worker:
        await worker.run_until_finished()


async def test_what_is_added_is_made_once_and_waited_for(emulator: Emulator) -> None:
    async with a_docket() as docket:
        keys = [await docket.add(request(number)) for number in range(3)]
        assert await docket.add_many(request(number) for number in range(3, 12)) == 9
        await work(docket, emulator)
        tasks = await docket.get_result(keys[0])
        assert [task.task_id for task in tasks] == [
            one for one, made in emulator.tasks.items() if made.prompt == "prompt 0"
        ]
        counts = await docket.progress()
        assert (counts["submitted"], counts["succeeded"]) == (12, 12)
        assert set(emulator.creates.values()) == {1}


async def test_the_same_program_run_again_adds_nothing_twice(emulator: Emulator) -> None:
    url = f"memory://{next(NUMBERS)}"
    for again in (False, True):
        async with KeevxDocket("films", url) as docket:
            twins = [await docket.add(request(0)), await docket.add(request(0))]
            assert len(set(twins)) == 2
            await docket.add(request(1), key="mine")
            if not again:
                await docket.add(request(1), key="mine")
            await work(docket, emulator)
            assert emulator.creates == {"prompt 0": 2, "prompt 1": 1}
            with pytest.raises(JournalError, match="belongs to another request"):
                await docket.add(request(2), key="mine")


async def test_what_a_create_came_to_is_what_get_result_raises(emulator: Emulator) -> None:
    emulator.faults = Faults(
        drop_after_create={"prompt 0"},
        refuse={"prompt 1"},
        refuse_status=400,
        refuse_code=400,
        once=False,
    )
    emulator.fail_prompts = {"prompt 2"}
    async with a_docket() as docket:
        lost, refused, failed = [await docket.add(request(number)) for number in range(3)]
        await work(docket, emulator)
        with pytest.raises(SubmissionUncertain) as uncertain:
            await docket.get_result(lost)
        assert (uncertain.value.key, uncertain.value.request) == (lost, request(0))
        with pytest.raises(APIError, match="Parameter error"):
            await docket.get_result(refused)
        with pytest.raises(TaskFailed) as bad:
            await docket.get_result(failed)
        assert len(bad.value.tasks) == 1
        assert emulator.creates["prompt 0"] == 1


async def test_an_uncertain_create_is_settled_by_its_ids(emulator: Emulator) -> None:
    emulator.faults = Faults(drop_after_create={"prompt 0"})
    async with a_docket() as docket:
        key = await docket.add(request(0))
        await work(docket, emulator)
        (task_id,) = emulator.tasks
        await docket.settle(key, [task_id])
        await work(docket, emulator)
        (task,) = await docket.get_result(key)
        assert (task.task_id, task.succeeded) == (task_id, True)
        with pytest.raises(JournalError, match="only an uncertain create can be settled"):
            await docket.settle(key, [])
        assert emulator.creates["prompt 0"] == 1


async def test_what_a_worker_writes_during_the_check_is_what_get_result_returns(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.faults = Faults(drop_after_create={"prompt 0"})
    async with a_docket() as docket:
        key = await docket.add(request(0))
        await work(docket, emulator)
        (task_id,) = emulator.tasks
        find, written = docket.creates.get_execution, asyncio.Event()

        async def find_after_the_worker(name: str) -> Any:
            if not written.is_set():  # its record was read, and said uncertain
                written.set()
                await docket.journal.settle(key, [task_id])
                await docket.journal.mark_ended(
                    Task(task_id=task_id, status="SUCCEEDED", video_url="https://example.com/0")
                )
            return await find(name)

        monkeypatch.setattr(docket.creates, "get_execution", find_after_the_worker)
        (task,) = await docket.get_result(key)
        assert (written.is_set(), task.task_id, task.succeeded) == (True, task_id, True)


async def test_what_is_settled_as_its_worker_ends_is_made(emulator: Emulator) -> None:
    emulator.faults = Faults(drop_after_create={"prompt 0"})
    async with a_docket() as docket:
        key = await docket.add(request(0))

        async def settle_at_once() -> None:
            while (await docket.journal.find(key)).state != "uncertain":  # type: ignore[union-attr] # noqa: ASYNC110
                await asyncio.sleep(0)
            await docket.settle(key, [])

        await asyncio.gather(settle_at_once(), work(docket, emulator))
        await work(docket, emulator)
        assert await docket.get_result(key, timeout=5)


async def test_what_was_refused_may_be_added_again(emulator: Emulator) -> None:
    emulator.faults = Faults(refuse={"prompt 0"}, refuse_status=400, refuse_code=400)
    async with a_docket() as docket:
        await docket.add(request(0), key="mine")
        await work(docket, emulator)
        with pytest.raises(APIError):
            await docket.get_result("mine")
        await docket.add(request(0), key="mine")
        waiting = asyncio.ensure_future(docket.get_result("mine"))
        await asyncio.sleep(0.3)
        assert not waiting.done(), "told of what was, though a worker is yet to make it"
        await work(docket, emulator)
        (task,) = await waiting
        assert task.succeeded


async def test_what_is_added_again_is_not_told_of_the_old_refusal(emulator: Emulator) -> None:
    emulator.faults = Faults(refuse={"prompt 0"}, refuse_status=400, refuse_code=400)
    async with a_docket() as docket:
        await docket.add(request(0), key="mine")
        await work(docket, emulator)
        await docket.add(request(0), key="mine")
        waiting = asyncio.ensure_future(docket.get_result("mine", timeout=20))
        await asyncio.sleep(0.2)
        await work(docket, emulator)
        (task,) = await waiting
        assert task.succeeded


async def test_what_redis_did_not_take_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_docket() as docket:
        real = docket.creates.add_many

        async def full(calls: Any) -> Any:
            done = await real(calls)
            for one in done:
                one.disposition = Disposition.FAILED
                one.schedule_exception = OutOfMemoryError("OOM")
            return done

        monkeypatch.setattr(docket.creates, "add_many", full)
        with pytest.raises(JournalError, match="2 of 2 creates were not queued: OOM"):
            await docket.add_many(request(number) for number in range(2))


async def test_a_wait_ends_in_time_and_the_job_goes_on(emulator: Emulator) -> None:
    async with a_docket() as docket:
        key = await docket.add(request(0))
        with pytest.raises(WaitTimeout):
            await docket.get_result(key, timeout=0.05)
        await work(docket, emulator)
        assert await docket.get_result(key)


async def test_what_is_waited_for_longest_keeps_no_other_result_back(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "WINDOW", 3)
    async with a_docket() as docket:
        keys = [await docket.add(request(number)) for number in range(4)]
        await work(docket, emulator)
        for number in range(4, 8):
            with pytest.raises(WaitTimeout):
                await docket.get_result(await docket.add(request(number)), timeout=0.01)
        assert await docket.get_result(keys[0], timeout=5)


async def test_nobody_waits_for_ever_when_redis_stays_away() -> None:
    async with a_docket() as docket:
        key = await docket.add(request(0))

        async def find_records(_: object) -> NoReturn:
            raise JournalError("Redis stayed away")

        docket.journal.find_records = find_records  # type: ignore[assignment,method-assign]
        with pytest.raises(JournalError, match="stayed away"):
            await asyncio.wait_for(docket.get_result(key), 5)


async def test_a_key_that_was_never_added_has_no_result() -> None:
    async with a_docket() as docket:
        with pytest.raises(JournalError, match="'typo' is not a key of fleet 'films'; add"):
            await asyncio.wait_for(docket.get_result("typo"), 5)


async def test_a_wait_ends_with_its_docket() -> None:
    async with a_docket() as docket:
        waiting = asyncio.ensure_future(docket.get_result(await docket.add(request(0))))
        await asyncio.sleep(0.2)
    with pytest.raises(ConfigurationError, match="closed"):
        await asyncio.wait_for(waiting, 5)


async def test_a_worker_that_is_to_stop_waits_for_no_task() -> None:
    async with Emulator(seconds=30) as emulator, a_docket() as docket:
        key = await docket.add(request(0))
        async with KeevxWorker(docket, settings_of(emulator)) as worker:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(worker.run_until_finished(), 1.5)
        entry = await docket.journal.find(key)
        assert entry is not None
        assert entry.state == "submitted"


async def test_a_worker_that_is_to_stop_begins_no_more_creates(emulator: Emulator) -> None:
    async with a_docket() as docket:
        await docket.add_many(request(number) for number in range(30))
        async with KeevxWorker(docket, settings_of(emulator, rate=5.0)) as worker:
            working = asyncio.ensure_future(worker.run_forever())
            while not emulator.creates:  # noqa: ASYNC110 - the emulator rings no bell
                await asyncio.sleep(0.01)
            working.cancel()
            before = emulator.creates.total()
            await asyncio.wait({working}, timeout=3)
            assert working.cancelled()
            assert emulator.creates.total() <= before + 1  # what was in flight
        await work(docket, emulator, rate=500.0)  # others continue, with what it had taken
        assert (await docket.progress())["succeeded"] == 30
        assert set(emulator.creates.values()) == {1}


async def test_what_another_machine_could_not_make_is_not_added() -> None:
    async with a_docket() as docket:
        local = ImageToVideo.from_dict(request(0).to_dict() | {"image_url": "file:/tmp/start.png"})
        with pytest.raises(InvalidRequest, match=r"start\.png: workers may be on other machines"):
            await docket.add(local)
        with pytest.raises(InvalidRequest, match="must be a request"):
            await docket.add("a prompt")  # type: ignore[arg-type]
        assert not any((await docket.progress()).values())


async def test_a_wrong_key_is_told_before_any_work_is_taken() -> None:
    async with Emulator(seconds=0.05, api_key="another") as emulator, a_docket() as docket:
        await docket.add(request(0))
        with pytest.raises(AuthenticationError):
            await work(docket, emulator)
        assert not emulator.creates
        assert "test-key" not in repr(settings_of(emulator))


async def test_what_may_yet_be_made_is_tried_again(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AGAIN, "delay", timedelta(seconds=0.1))
    emulator.faults = Faults(refuse={"prompt 0"}, refuse_status=500, refuse_code=530003)
    async with a_docket() as docket:
        key = await docket.add(request(0))
        await work(docket, emulator, retry=RetryPolicy(attempts=1))
        assert await docket.get_result(key, timeout=5)


async def test_a_worker_whose_key_is_revoked_stops_and_no_job_is_lost(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AGAIN, "delay", timedelta(seconds=0.1))
    emulator.faults = Faults(refuse={"prompt 0"}, refuse_status=401, refuse_code=100002)
    async with a_docket() as docket:
        keys = [await docket.add(request(number)) for number in range(20)]
        with pytest.raises(AuthenticationError):
            await work(docket, emulator, concurrency=1)
        assert emulator.creates.total() < 20, "it went on with a key that Keevx does not take"
        await work(docket, emulator)
        assert [len(await docket.get_result(key, timeout=5)) for key in keys] == [1] * 20
        assert set(emulator.creates.values()) == {1}


async def test_what_was_given_up_is_asked_about_again_when_it_is_added_again() -> None:
    short = PollPolicy(shortest=0.02, longest=0.1, timeout=0.3)
    async with Emulator(seconds=1.0) as emulator, a_docket(polling=short) as docket:
        key = await docket.add(request(0))
        await work(docket, emulator, polling=short)
        with pytest.raises(WaitTimeout) as late:
            await docket.get_result(key)
        assert late.value.pending == tuple(emulator.tasks)
        await asyncio.sleep(0.8)
        assert await docket.add(request(0), key=key) == key
        await work(docket, emulator, polling=short)
        (task,) = await docket.get_result(key)
        assert (task.succeeded, emulator.creates) == (True, {"prompt 0": 1})


async def test_a_worker_that_sets_no_rate_keeps_the_fleets() -> None:
    async with a_docket() as docket:
        assert await set_rate(docket.journal, None) == ""
        assert await set_rate(docket.journal, 5.0) == "5.0"
        assert await set_rate(docket.journal, None) == "5.0"
        assert await set_rate(docket.journal, 7) == "7.0"


async def test_a_429_to_one_worker_holds_the_others(emulator: Emulator) -> None:
    emulator.faults = Faults(rate=20, burst=1, retry_after=0.5)
    async with a_docket() as docket:
        await docket.add_many(request(number) for number in range(12))
        await asyncio.gather(*(work(docket, emulator) for _ in range(2)))
        assert (await docket.progress())["succeeded"] == 12
        assert set(emulator.creates.values()) == {1}
        # Held apart from each other, two workers would each run into it again.
        assert emulator.refused.total() <= 12


async def test_two_fleets_in_one_program_each_make_their_own(emulator: Emulator) -> None:
    async with Emulator(seconds=0.05) as other, a_docket() as one, KeevxDocket("ads") as two:
        await one.add(request(1))
        await two.add(request(2))
        async with (
            KeevxWorker(one, settings_of(emulator)) as films,
            KeevxWorker(two, settings_of(other)) as ads,
        ):
            await asyncio.gather(films.run_until_finished(), ads.run_until_finished())
        assert (emulator.creates, other.creates) == ({"prompt 1": 1}, {"prompt 2": 1})
