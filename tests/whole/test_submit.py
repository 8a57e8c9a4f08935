"""Creates over real sockets: at most one is paid for, whatever happens to its answer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from keevx_async import (
    FanOut,
    ImageToVideo,
    InvalidRequest,
    Journal,
    Keevx,
    RetryPolicy,
    SubmissionUncertain,
)
from keevx_async.events import Retrying
from keevx_async.testing import Emulator, Faults
from tests.support.client import RETRY, a_request, keevx_of, some_requests, speaking
from tests.support.emulator import stop_clock_until_refused, until
from tests.support.ports import free_port

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
LOSSES = [
    "drop_before_create",
    "drop_after_create",
    "error_after_create",
    "silent_after_create",
    "garbage_after_create",
    "half_answer",
]
CREATE = "POST /v1/image_to_video"


def lost(fault: str, which: Any = 1) -> Faults:
    faults = Faults(once=False)
    setattr(faults, fault, which)
    return faults


def timeout_for(fault: str, timeout: float) -> dict[str, float]:
    """Return a client's timeout for a silent server; others answer, however busy the machine."""
    return {"timeout": timeout} if fault.startswith("silent") else {}


async def test_a_create_is_answered_with_its_ids() -> None:
    async with speaking() as (emulator, keevx):
        request = a_request(generate_count=3)
        submission = await keevx.submit(request, key="mine")
        assert submission.request is request
        assert submission.key == "mine"
        assert submission.task_ids == tuple(emulator.tasks)
        assert len(submission.task_ids) == 3
        equal = [(await keevx.submit(request)).key for _ in range(2)]
        assert len(set(equal)) == 2


@pytest.mark.parametrize("fault", LOSSES)
async def test_a_create_whose_answer_is_lost_is_uncertain_and_not_sent_again(fault: str) -> None:
    settings = timeout_for(fault, 1.0)
    async with Emulator(faults=lost(fault)) as emulator, keevx_of(emulator, **settings) as keevx:
        request = a_request("one")
        with pytest.raises(SubmissionUncertain, match="may have been charged") as caught:
            await keevx.submit(request, key="mine")
        assert caught.value.request is request
        assert caught.value.key == "mine"
        with pytest.raises(SubmissionUncertain):
            await keevx.generate(a_request("other"))
    assert emulator.creates.total() == (0 if fault == "drop_before_create" else 2)
    assert emulator.requests[CREATE] == 2


@pytest.mark.smoke
@pytest.mark.parametrize("verb", ["submit_many", "generate_many"])
@pytest.mark.parametrize("fault", LOSSES)
async def test_many_creates_whose_answers_are_lost(fault: str, verb: str) -> None:
    requests = some_requests(40)
    settings = timeout_for(fault, 2.0)
    async with Emulator(faults=lost(fault)) as emulator, keevx_of(emulator, **settings) as keevx:
        fan = await getattr(keevx, verb)(requests, concurrency=40)
    assert [outcome.request for outcome in fan.outcomes] == requests
    assert {type(error) for error in fan.errors} == {SubmissionUncertain}
    assert [error.key for error in fan.errors] == [outcome.key for outcome in fan.outcomes]
    assert len(fan.errors) == 40
    assert fan.task_ids == []
    assert emulator.requests[CREATE] == 40
    assert set(emulator.creates.values()) <= {1}
    assert len(emulator.creates) == (0 if fault == "drop_before_create" else 40)
    with pytest.raises(ExceptionGroup, match="40 of 40"):
        fan.raise_for_errors()


@pytest.mark.parametrize("retry_after", [None, 0.05, 0, "date"])
async def test_too_many_requests_hold_every_create(retry_after: Any) -> None:
    faults = Faults(rate=60, burst=6, retry_after=retry_after)
    policy = RetryPolicy(attempts=60, first_delay=0.01, max_delay=0.05, deadline=20)
    async with Emulator(0, faults=faults) as emulator, keevx_of(emulator, retry=policy) as keevx:
        stop_clock_until_refused(emulator)
        fan = await keevx.submit_many(some_requests(20), concurrency=8)
    fan.raise_for_errors()
    assert len(set(fan.task_ids)) == 20
    assert set(emulator.creates.values()) == {1}
    assert emulator.refused["rate"] > 0


async def test_a_connection_that_was_never_made_is_tried_again() -> None:
    port, failed = free_port(), asyncio.Event()
    settings: dict[str, Any] = {
        "retry": evolve(RETRY, attempts=10_000, deadline=120, fuse=0),  # until somebody listens
        "on_event": lambda event: failed.set() if isinstance(event, Retrying) else None,
    }
    async with Keevx("test-key", base_url=f"http://127.0.0.1:{port}", **settings) as keevx:
        submitting = asyncio.ensure_future(keevx.submit_many(some_requests(5)))
        await failed.wait()
        async with Emulator(0, port=port) as emulator:
            fan = await submitting
    fan.raise_for_errors()
    assert set(emulator.creates.values()) == {1}
    assert len(fan.task_ids) == 5


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 200])
async def test_the_main_jobs_figures(status: int) -> None:
    faults = Faults(refuse=0.2, refuse_status=status, drop_polls=0.2)
    async with speaking(0.05, spread=0.5, faults=faults) as (emulator, keevx):
        submitted = await keevx.submit_many(some_requests(500), concurrency=32)
        ended = [task.task_id async for task in keevx.wait_many(submitted.task_ids)]
        submitted.raise_for_errors()
    assert len(submitted.task_ids) == 500
    assert sorted(ended) == sorted(submitted.task_ids) == sorted(emulator.tasks)
    assert len(set(ended)) == 500
    assert len(emulator.creates) == 500
    assert set(emulator.creates.values()) == {1}
    assert 70 < emulator.refused["fault"] < 130
    assert emulator.strikes["drop_polls"] > 50


async def test_the_outcomes_are_in_the_inputs_order_with_the_callers_keys() -> None:
    requests = some_requests(30)
    async with speaking(faults=Faults(latency=(0, 0.02))) as (_, keevx):
        fan = await keevx.submit_many(requests, key=lambda request: request.prompt.upper())
    assert [outcome.index for outcome in fan.outcomes] == list(range(30))
    assert [outcome.key for outcome in fan.outcomes] == [one.prompt.upper() for one in requests]
    assert fan.task_ids == [one for outcome in fan.outcomes for one in outcome.task_ids]
    assert all(outcome.ok for outcome in fan.outcomes)


async def test_a_bad_item_leaves_the_others_alone() -> None:
    def keyed(request: ImageToVideo) -> str:
        if request.prompt == "prompt 2":
            raise KeyError("no key for this one")
        return request.prompt

    items: list[Any] = some_requests(5)
    items[1] = {"prompt": "a dict is no request"}
    items[3] = None
    async with speaking() as (emulator, keevx):
        fan = await keevx.submit_many(items, key=keyed)
    assert [outcome.ok for outcome in fan.outcomes] == [True, False, False, False, True]
    assert [type(error) for error in fan.errors] == [InvalidRequest, KeyError, InvalidRequest]
    assert emulator.creates == {"prompt 0": 1, "prompt 4": 1}


async def test_local_files_are_uploaded_and_their_urls_sent(tmp_path: Path) -> None:
    start, other = tmp_path / "start.png", tmp_path / "other.png"
    start.write_bytes(PNG)
    other.write_bytes(PNG + b"other")
    request = a_request(
        image_url=start, reference_images=[other, "https://example.com/r.jpg", start]
    )
    async with speaking() as (emulator, keevx):
        submission = await keevx.submit(request)
        assert submission.request is request
    (task,) = emulator.tasks.values()
    sent = task.body
    first, second = sent["image_url"], sent["reference_images"][0]
    assert emulator.content(first) == PNG
    assert emulator.content(second) == PNG + b"other"
    assert sent["reference_images"] == [second, "https://example.com/r.jpg", first]
    assert emulator.requests["POST upload"] == 2


@pytest.mark.parametrize("verb", ["submit", "submit_many"])
async def test_a_second_cancellation_ends_the_grace(verb: str) -> None:
    policy, faults = RetryPolicy(grace=600), Faults(silent_after_create=1)
    async with Emulator(faults=faults) as emulator, keevx_of(emulator, retry=policy) as keevx:
        given = a_request() if verb == "submit" else [a_request()]
        work = getattr(keevx, verb)(given)
        task = asyncio.ensure_future(work)
        await until(lambda: emulator.requests[CREATE] == 1)
        task.cancel()
        assert (await asyncio.wait({task}, timeout=0.05))[0] == set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(120):  # far below the grace
                await task
        if isinstance(work, FanOut):
            assert [type(error) for error in work.errors] == [SubmissionUncertain]
        assert emulator.requests[CREATE] == 1


async def test_another_create_is_sent_while_ids_are_being_written(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create that has been answered is not in flight, but it is not handed out yet either."""
    on_disk, mark_submitted = asyncio.Event(), Journal.mark_submitted

    async def slowly(self: Journal, key: str, task_ids: Sequence[str]) -> None:
        await on_disk.wait()
        await mark_submitted(self, key, task_ids)

    monkeypatch.setattr(Journal, "mark_submitted", slowly)
    async with keevx_of(emulator, journal=tmp_path / "run.db", max_connections=1) as keevx:
        calls = [asyncio.ensure_future(keevx.submit(each)) for each in some_requests(3)]
        await until(lambda: emulator.creates.total() == 3)
        assert not any(call.done() for call in calls)
        on_disk.set()
        made = {task_id for call in calls for task_id in (await call).task_ids}
    assert made == set(emulator.tasks)
