"""The contract's one minute, the verbs that wait, and arguments that cannot be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    ImageToVideo,
    InvalidRequest,
    Keevx,
    NotFoundError,
    TaskFailed,
    WaitTimeout,
)
from keevx_async.testing import Emulator, Faults
from tests.support.client import POLLING, RETRY, a_request, keevx_of, some_requests, speaking
from tests.support.ports import refusing


@pytest.mark.smoke
async def test_the_contracts_one_minute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: Emulator
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEVX_API_KEY", "test-key")
    monkeypatch.setenv("KEEVX_BASE_URL", emulator.url)
    async with Keevx() as keevx:
        request = ImageToVideo(
            model="V",
            prompt="A golden retriever running in the grass",
            image_url="https://example.com/start.jpg",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=6,
        )
        submission = await keevx.submit(request)
        task = await keevx.wait(submission.task_ids[0])
        path = await keevx.download(task, "videos/")
        assert path.parent == Path("videos")
        assert path.read_bytes() == emulator.video(task.task_id)

        requests = (a_request(f"one of many {number}") for number in range(5))
        result = await keevx.submit_many(requests, concurrency=64)
        assert sorted(result.task_ids) == sorted(set(emulator.tasks) - {task.task_id})

        requests = (a_request(f"another of many {number}") for number in range(5))
        async for outcome in keevx.generate_many(requests, download="videos/"):
            assert outcome.ok
            (path,) = outcome.paths
            assert path.read_bytes() == emulator.video(outcome.task_ids[0])
    assert set(emulator.creates.values()) == {1}
    assert emulator.creates.total() == 11
    assert emulator.storage_authorizations == []


async def test_a_status_is_a_snapshot() -> None:
    async with speaking(0.3) as (_, keevx):
        (task_id,) = (await keevx.submit(a_request())).task_ids
        task = await keevx.status(task_id)
        assert (task.task_id, task.status) == (task_id, "PENDING")
        assert not task.done
        assert task.video_url is None
        task = await keevx.wait(task_id)
        assert (task.width, task.height, task.duration) == (1920, 1080, 6)
        assert task.succeeded
        assert task.video_url
        assert task.thumbnail_url


@pytest.mark.parametrize("fault", ["drop_polls", "poll_errors", "poll_html"])
async def test_queries_are_asked_again(fault: str) -> None:
    async with speaking(faults=Faults(not_found_for=0.02)) as (emulator, keevx):
        setattr(emulator.faults, fault, 0.4)
        (task_id,) = (await keevx.submit(a_request())).task_ids
        assert (await keevx.wait(task_id)).succeeded
        assert (await keevx.status(task_id)).succeeded


async def test_a_task_that_is_not_there() -> None:
    async with speaking() as (_, keevx):
        with pytest.raises(NotFoundError, match="task id"):
            await keevx.status("i2v-0")
        with pytest.raises(NotFoundError):
            await keevx.status("i2v-0/../../v1/image_to_video/i2v-0?x=1#y")
        for wrong in ("", None, 5):
            with pytest.raises(InvalidRequest, match="task_id: must"):
                await keevx.status(wrong)  # type: ignore[arg-type]


async def test_a_failed_task() -> None:
    async with speaking(fail_prompts={"bad"}) as (_, keevx):
        (task_id,) = (await keevx.submit(a_request("bad"))).task_ids
        with pytest.raises(TaskFailed, match=f"{task_id} failed: generation failed") as caught:
            await keevx.wait(task_id)
        assert caught.value.task.task_id == task_id
        assert [task.status async for task in keevx.wait_many([task_id])] == ["FAILED"]


async def test_a_wait_that_ends_too_early_can_be_taken_up_again() -> None:
    async with speaking(0.3) as (emulator, keevx):
        slow = (await keevx.submit(a_request("slow"))).task_ids
        emulator.seconds = 0.0
        quick = (await keevx.submit(a_request("quick"))).task_ids
        waiting = keevx.wait_many([*slow, *quick], timeout=0.1)
        assert (await anext(waiting)).task_id == quick[0]
        with pytest.raises(WaitTimeout, match="wait for the same ids again") as caught:
            await anext(waiting)
        assert caught.value.pending == slow
        assert [task.task_id for task in caught.value.done] == [*quick]
        with pytest.raises(TimeoutError):
            await keevx.wait(slow[0], timeout=0)
        assert (await keevx.wait(caught.value.pending[0], timeout=None)).succeeded


@pytest.mark.parametrize("alone", [a_request(), "text", b"bytes", a_request().to_dict()], ids=type)
@pytest.mark.parametrize("name", ["submit_many", "generate_many"])
def test_a_value_that_is_not_a_list_of_requests_is_refused_at_once(name: str, alone: Any) -> None:
    keevx = Keevx("test-key")
    with pytest.raises(
        ConfigurationError, match=rf"single {type(alone).__name__}\).* pass \[request]"
    ):
        getattr(keevx, name)(alone)


async def test_a_host_that_refuses() -> None:
    with refusing() as url:
        async with Keevx("test-key", base_url=url, retry=RETRY, polling=POLLING) as keevx:
            for verb in (keevx.submit(a_request()), keevx.status("i2v-0")):
                with pytest.raises(ConnectionFailed, match="Check the network") as caught:
                    await verb
                assert url.removeprefix("http://") in str(caught.value)
                assert "\n" not in str(caught.value)


async def test_a_refused_key(emulator: Emulator) -> None:
    emulator.api_key = "another-key"
    async with keevx_of(emulator) as keevx:
        for verb in (
            keevx.submit(a_request()),
            keevx.status("i2v-0"),
            keevx.upload(b"\xff\xd8\xff"),
        ):
            with pytest.raises(AuthenticationError, match="Check KEEVX_API_KEY"):
                await verb
    assert emulator.requests["POST /v1/image_to_video"] == 1


async def test_a_value_that_is_not_a_request_is_refused_before_anything_is_sent(
    emulator: Emulator,
) -> None:
    async with keevx_of(emulator) as keevx:
        for verb in (keevx.submit, keevx.generate):
            with pytest.raises(InvalidRequest, match="such as an ImageToVideo"):
                await verb({"model": "V"})  # type: ignore[arg-type, type-var]
    assert not emulator.requests


async def test_a_rate_is_a_ceiling() -> None:
    async with Emulator(0.01) as emulator, keevx_of(emulator, rate=50) as keevx:
        began = asyncio.get_running_loop().time()
        fan = await keevx.submit_many(some_requests(11))
        took = asyncio.get_running_loop().time() - began
        fan.raise_for_errors()
    assert took >= 10 / 50 - 0.02
