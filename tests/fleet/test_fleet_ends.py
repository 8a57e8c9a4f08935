"""A fleet obeys the same rules: what ends a task, its last status, clocks that are wrong."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp.test_utils import BaseTestServer, TestServer

from keevx_async import PollPolicy, TaskFailed, WaitTimeout
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings
from keevx_async.journal.protocol import Entry, State
from keevx_async.polling.durations import Durations
from keevx_async.polling.fleet_schedule import PollIntervals
from tests.support.crashing import request
from tests.support.ends import Api
from tests.support.waiting import URL

POLLING = PollPolicy(shortest=0.01, longest=0.05)


async def work(docket: KeevxDocket, server: BaseTestServer, polling: PollPolicy = POLLING) -> None:
    url = str(server.make_url("")).rstrip("/")
    settings = WorkerSettings(api_key="k", base_url=url, polling=polling)
    async with KeevxWorker(docket, settings) as worker:
        await worker.run_until_finished()


async def test_a_result_that_never_comes_is_given_up_and_asked_about_when_added_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keevx_async.docket.client.RESULT_GRACE", 0.1)
    api = Api()
    async with TestServer(api.app) as server, KeevxDocket("ends", "memory://ends-1") as docket:
        key = await docket.add(request(0), key="k")
        await work(docket, server)
        with pytest.raises(TaskFailed, match="reports no result"):
            await docket.get_result(key)
        counts = await docket.progress()
        assert (counts["succeeded"], counts["failed"]) == (0, 0), "it is no end"
        api.data["video_url"] = URL
        await docket.add(request(0), key="k")
        await work(docket, server)
        (task,) = await docket.get_result(key)
        assert task.video_url == URL
        assert (await docket.progress())["succeeded"] == 1


async def test_a_wait_that_times_out_names_the_last_status() -> None:
    api = Api()
    api.data = {"status": "QUEUED"}
    async with TestServer(api.app) as server, KeevxDocket("ends", "memory://ends-2") as docket:
        key = await docket.add(request(0))
        working = asyncio.ensure_future(work(docket, server))
        while api.polls < 3:  # noqa: ASYNC110 - the server's book rings no bell
            await asyncio.sleep(0.01)
        with pytest.raises(WaitTimeout) as late:
            await docket.get_result(key, timeout=0.1)
        assert late.value.statuses == {"i2v-1": "QUEUED"}
        api.data = {"status": "CANCELED"}
        await working
        with pytest.raises(TaskFailed, match="CANCELED"):
            await docket.get_result(key)


def test_an_age_below_zero_makes_no_wait_longer() -> None:
    waits = PollIntervals(PollPolicy(), Durations(), uniform=lambda: 0.5)
    assert waits.next("", -7200.0) == waits.next("", 0.0)


async def test_a_create_from_the_future_is_as_old_as_it_has_been_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docket: Any = KeevxDocket("ends", "memory://ends-3")
    now = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ahead = Entry("k", "image_to_video", State.SUBMITTED, "{}", time.time() + 7200.0)
    assert docket._age(ahead) == 0.0
    now[0] += 1900.0
    assert docket._age(ahead) == 1900.0
    assert docket._age(ahead._replace(key="l", at=time.time() - 60.0)) >= 60.0
