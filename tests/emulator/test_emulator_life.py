"""The emulator starts, stops and starts again, and leaves nothing behind."""

import asyncio
import gc
import warnings
from typing import Any

import aiohttp
import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.emulator import BODY, Caller, calling, listening, until


def others() -> set[asyncio.Task[Any]]:
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


def test_an_emulator_that_is_not_started_has_no_url() -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        _ = Emulator().url


async def test_start_and_stop_may_be_called_twice() -> None:
    emulator = Emulator()
    await emulator.stop()
    await emulator.start()
    url = emulator.url
    await emulator.start()
    assert emulator.url == url
    await emulator.stop()
    await emulator.stop()
    assert emulator.url == url
    assert not others()


async def test_a_stopped_emulator_comes_back_where_it_was_with_its_books() -> None:
    async with calling() as caller:
        (task_id,) = await caller.create()
        url, storage = caller.emulator.url, caller.emulator.storage_url
        await caller.emulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await caller.post()
        await caller.emulator.start()
        assert (caller.emulator.url, caller.emulator.storage_url) == (url, storage)
        assert (await caller.ended(task_id))["status"] == "SUCCEEDED"


def test_an_emulator_may_be_used_by_a_second_loop() -> None:
    emulator = Emulator(0)

    async def once() -> str:
        async with emulator, aiohttp.ClientSession() as session:
            session.headers["Authorization"] = "Bearer key"
            caller = Caller(emulator, session)
            (task_id,) = await caller.create()
            return str((await caller.ended(task_id))["status"])

    assert [asyncio.run(once()), asyncio.run(once())] == ["SUCCEEDED", "SUCCEEDED"]
    assert emulator.creates == {BODY["prompt"]: 2}


async def test_a_port_that_is_taken_is_told_and_nothing_is_left_open() -> None:
    async with Emulator() as first:
        port = int(first.url.rpartition(":")[2])
        second = Emulator(port=port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        assert not await _accepts(second)
    assert not others()


async def _accepts(emulator: Emulator) -> bool:
    try:
        return bool(emulator.storage_url)
    except RuntimeError:
        return False


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::1"])  # noqa: S104 - for a moment
async def test_the_url_is_one_that_can_be_called(host: str) -> None:
    try:
        async with calling(host=host) as caller:
            await caller.create()
            assert "0.0.0.0" not in caller.emulator.url  # noqa: S104
    except OSError:
        if host != "::1":
            raise
        pytest.skip("no IPv6 here")


async def test_stopping_ends_silent_and_slow_answers_and_callbacks_at_once() -> None:
    loop = asyncio.get_running_loop()
    faults = Faults(silent_after_create={"silent"})
    async with listening() as (url, heard), calling(60, faults=faults) as caller:
        kept = others()
        await caller.create(callback_url=url)
        silent = asyncio.create_task(caller.post(prompt="silent"))
        await until(lambda: caller.emulator.creates["silent"] == 1)
        caller.emulator.faults.latency = 60
        slow = asyncio.create_task(caller.post(prompt="slow"))
        await until(lambda: caller.emulator.creates["slow"] == 1)
        before = loop.time()
        await caller.emulator.stop()
        assert loop.time() - before < 0.5
        answers = await asyncio.gather(silent, slow, return_exceptions=True)
        assert isinstance(answers[0], aiohttp.ServerDisconnectedError)
        assert heard.empty()
        await asyncio.sleep(0)
        assert others() <= kept


async def test_stopping_in_the_middle_of_a_download_leaves_nothing() -> None:
    async with calling(0, video_bytes=50_000_000) as caller:
        (task_id,) = await caller.create()
        url = (await caller.ended(task_id))["video_url"]
        async with caller.session.get(url) as response:
            await response.content.readexactly(1000)
            await caller.emulator.stop()
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        await asyncio.sleep(0)
        assert not others()


async def test_a_callback_on_its_way_is_given_up_at_the_end() -> None:
    faults = Faults(callbacks="delay", callback_delay=60)
    async with listening() as (url, heard), calling(0, faults=faults) as caller:
        await caller.create(callback_url=url)
        await asyncio.sleep(0.01)
        await caller.emulator.stop()
        assert heard.empty()
        assert not caller.emulator.callbacks


def test_nothing_is_left_for_the_collector() -> None:
    async def once() -> None:
        async with calling(0) as caller:
            await caller.create()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(once(), debug=True)
        gc.collect()


async def test_lists_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.testing.state._MAX_RECORDED", 2)
    async with calling() as caller:
        for _ in range(4):
            await caller.post(prompt="")
            async with caller.session.get(caller.emulator.storage_url + "/none"):
                pass
        emulator = caller.emulator
        assert len(emulator.invalid) == 2
        assert len(emulator.storage_headers) == 2
        assert emulator.refused["invalid"] == emulator.requests["GET storage"] == 4


async def test_uploads_are_kept_only_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.testing.state._MAX_KEPT_BYTES", 10)
    async with calling() as caller:
        _, answer = await caller.upload(b"\xff\xd8\xff" + bytes(100))
        assert caller.emulator.uploads[answer["result"]["url"]].size == 103
        async with caller.session.get(answer["result"]["url"]) as response:
            assert response.status == 404
