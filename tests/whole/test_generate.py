"""The whole way: submit, wait, download; one item's fate is its own, and no id is lost."""

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from keevx_async import (
    AuthenticationError,
    ConfigurationError,
    DownloadError,
    FanOut,
    ImageToVideo,
    Outcome,
    PollPolicy,
    SubmissionUncertain,
    TaskFailed,
    WaitTimeout,
)
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, awaited, keevx_of, some_requests, speaking
from tests.support.emulator import until
from tests.support.media import left_in


async def test_a_failed_sibling_is_reported_with_its_whole_request(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        request = a_request("p", generate_count=4)
        emulator.fail_prompts = {"p"}
        with pytest.raises(TaskFailed) as caught:
            await keevx.generate(request)
        assert [task.task_id for task in caught.value.tasks] == list(emulator.tasks)

        fan = keevx.generate_many([request], download=tmp_path)
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: emulator.creates["p"] == 2)
        third = list(emulator.tasks)[6]  # the tasks of the second create, but for one
        emulator.tasks |= {
            one: attrs.evolve(emulator.tasks[one], fails=one == third)
            for one in list(emulator.tasks)[4:]
        }
        (outcome,) = (await running).outcomes
    assert isinstance(outcome.error, TaskFailed)
    assert outcome.error.task.task_id == third
    assert outcome.error.tasks == outcome.tasks
    assert [task.succeeded for task in outcome.tasks] == [True, True, False, True]
    assert len(outcome.paths) == 3
    assert all(path.read_bytes() == emulator.video(path.stem) for path in outcome.paths)


@pytest.mark.smoke
async def test_many_from_prompts_to_whole_files(tmp_path: Path) -> None:
    requests = some_requests(20, generate_count=2)
    async with speaking(0.1, spread=1) as (emulator, keevx):
        emulator.faults.cut_downloads = 0.5
        fan = await keevx.generate_many(
            requests, concurrency=4, download=tmp_path / "new" / "folder"
        )
        fan.raise_for_errors()
    assert [outcome.request for outcome in fan.outcomes] == requests
    assert sorted(fan.task_ids) == sorted(emulator.tasks)
    for outcome in fan.outcomes:
        assert [path.stem for path in outcome.paths] == list(outcome.task_ids)
        assert [task.task_id for task in outcome.tasks] == list(outcome.task_ids)
        for path in outcome.paths:
            assert path.read_bytes() == emulator.video(path.stem)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 40  # and no leftovers


async def test_outcomes_come_as_they_end() -> None:
    async with speaking(3_600) as (emulator, keevx):

        def first_slow_then_quick() -> Iterator[ImageToVideo]:
            for request in some_requests(10):
                yield request
                emulator.seconds = 0

        fan, order = keevx.generate_many(first_slow_then_quick(), concurrency=1), list[int]()
        async for outcome in fan:
            order.append(outcome.index)
            if len(order) == 9:
                task_id = min(emulator.tasks, key=lambda one: emulator.tasks[one].created)
                emulator.tasks[task_id] = attrs.evolve(emulator.tasks[task_id], ready_at=0.0)
    assert sorted(order) == list(range(10))
    assert order[-1] == 0


async def test_one_that_goes_wrong_leaves_the_others_alone(tmp_path: Path) -> None:
    requests: list[Any] = some_requests(8)
    requests[7] = "no request"
    faults = Faults(
        drop_after_create={"prompt 1"},
        refuse={"prompt 2"},
        refuse_status=400,
        refuse_code=100001,
    )
    async with speaking(fail_prompts={"prompt 3"}, faults=faults) as (emulator, keevx):
        emulator.faults.expired = lambda url: (
            emulator.tasks[url.split("/")[-2]].prompt == "prompt 4"
        )
        fan = await keevx.generate_many(requests, download=tmp_path)
    kinds = [type(outcome.error).__name__ for outcome in fan.outcomes]
    assert kinds == [
        "NoneType",
        "SubmissionUncertain",
        "APIError",
        "TaskFailed",
        "GoneError",
        "NoneType",
        "NoneType",
        "InvalidRequest",
    ]
    assert isinstance(fan.errors[3], DownloadError)
    assert [len(outcome.task_ids) for outcome in fan.outcomes] == [1, 0, 0, 1, 1, 1, 1, 0]
    assert [len(outcome.paths) for outcome in fan.outcomes] == [1, 0, 0, 0, 0, 1, 1, 0]
    assert fan.outcomes[4].tasks[0].succeeded
    assert set(emulator.creates.values()) == {1}
    assert len(left_in(tmp_path)) == 3


async def test_a_wait_that_ends_too_early_keeps_the_ids() -> None:
    polling = PollPolicy(shortest=0.01, timeout=0.05)
    async with Emulator(5) as emulator, keevx_of(emulator, polling=polling) as keevx:
        with pytest.raises(WaitTimeout) as caught:
            await keevx.generate(a_request(generate_count=2))
        fan = await keevx.generate_many(some_requests(3))
    assert {type(error) for error in fan.errors} == {WaitTimeout}
    assert {*caught.value.pending, *fan.task_ids} == set(emulator.tasks)


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_a_generate_that_is_broken_off_logs_the_ids(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with speaking(5) as (emulator, keevx):
        running = asyncio.ensure_future(keevx.generate(a_request()))
        await until(lambda: bool(emulator.polls))
        if how == "cancelled":
            running.cancel()
        emulator.faults.poll_unauthorized = 1
        with pytest.raises((asyncio.CancelledError, AuthenticationError)):
            await running
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert next(iter(emulator.tasks)) in record.getMessage()


async def _some_of(fan: FanOut, seen: list[Outcome], most: int | None = None) -> None:
    async for outcome in fan:
        seen.append(outcome)
        if len(seen) == most:
            break


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("verb", ["submit_many", "generate_many"])
@pytest.mark.parametrize("way", ["await", "iterate", "break", "timeout", "close"])
async def test_no_id_is_lost_whenever_it_is_cancelled(
    way: str, verb: str, seed: int, tmp_path: Path
) -> None:
    moment = random.Random(seed).uniform(0, 0.15)
    faults = Faults(latency=(0, 0.02))
    seen: list[Outcome] = []
    async with speaking(0.03, spread=0.5, faults=faults, seed=seed) as (emulator, keevx):
        more = {"download": tmp_path} if verb == "generate_many" else {}
        fan = getattr(keevx, verb)(some_requests(60), concurrency=12, **more)
        if way == "await":
            running: asyncio.Task[Any] = asyncio.create_task(awaited(fan))
        elif way == "timeout":
            running = asyncio.create_task(asyncio.wait_for(awaited(fan), moment))
        else:
            running = asyncio.create_task(_some_of(fan, seen, 5 if way == "break" else None))
        await asyncio.sleep(moment)
        if way == "close":
            await keevx.close()
        elif way != "timeout":
            running.cancel()
        await asyncio.wait({running})
        await fan.aclose()
        ids = sorted(one for outcome in (*seen, *fan.outcomes) for one in outcome.task_ids)
        assert ids == sorted(emulator.tasks)
        assert set(emulator.creates.values()) <= {1}
        assert not any(isinstance(error, SubmissionUncertain) for error in fan.errors)
        for outcome in fan.outcomes:
            assert outcome.ok == (verb == "submit_many" or bool(outcome.paths))
    whole = [tmp_path / name for name in left_in(tmp_path) if name.endswith(".mp4")]
    assert all(path.read_bytes() == emulator.video(path.stem) for path in whole)
    await asyncio.sleep(0.02)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("first", range(0, 60, 20))
async def test_no_id_is_lost_at_any_step_of_the_loop(first: int) -> None:
    """Between two steps of the loop, one after the other: no moment is left out."""
    for step in range(first, first + 20):
        async with speaking(1) as (emulator, keevx):
            fan = keevx.generate_many(some_requests(6), concurrency=3)
            running = asyncio.ensure_future(awaited(fan))
            for _ in range(step * 2):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert sorted(fan.task_ids) == sorted(emulator.tasks), step
            assert {type(error) for error in fan.errors} <= {WaitTimeout}


async def test_an_iteration_that_another_task_closes_says_so() -> None:
    async with speaking(5) as (emulator, keevx):
        fan = keevx.generate_many(some_requests(5))
        seen: list[Outcome] = []
        running = asyncio.ensure_future(_some_of(fan, seen))
        await until(lambda: len(emulator.polls) == 5)
        await keevx.close()
        with pytest.raises(ConfigurationError, match="closed before all items had ended"):
            await running
        assert sorted(one.task_ids[0] for one in seen) == sorted(emulator.tasks)
        assert {type(one.error) for one in seen} == {WaitTimeout}
