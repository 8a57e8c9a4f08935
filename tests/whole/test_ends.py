"""What ends a task, and what does not: terminal words, unknown words, a result that is missing."""

import asyncio
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from keevx_async import (
    Journal,
    Keevx,
    NotFoundError,
    PollPolicy,
    RetryPolicy,
    Task,
    TaskFailed,
    WaitTimeout,
)
from keevx_async.client.jobs import raise_for_failed
from keevx_async.models.tasks import FAILED_STATUSES
from keevx_async.polling.poller import NEW_TASK_GRACE, RESULT_GRACE, RESULT_PAUSE, Poller
from keevx_async.polling.schedule import Schedule
from tests.support.client import a_request
from tests.support.ends import Api
from tests.support.simulated import simulated
from tests.support.waiting import URL, Server, clock, end_of, watcher

TERMINAL = ["FAILED", "CANCELLED", "CANCELED", "EXPIRED", "REJECTED", "ABORTED", "ERROR"]
RARE = PollPolicy(shortest=5.0, longest=900.0)


class Bare(Server):
    """Says SUCCEEDED from ``ends`` on, and gives the result only from ``results`` on."""

    results: float = 1e9

    async def ask(self, task_id: str) -> Task:
        task = await super().ask(task_id)
        has = clock() >= self.results
        return Task(task_id=task_id, status=task.status, video_url=task.video_url if has else None)


@pytest.mark.parametrize("status", TERMINAL)
def test_a_terminal_word_ends_a_task(status: str) -> None:
    task = Task(task_id="a", status=status)
    assert (task.done, task.succeeded) == (True, False)
    with pytest.raises(TaskFailed, match=status if status != "FAILED" else "no reason"):
        raise_for_failed((task,))


def test_users_may_add_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(task_id="a", status="WITHDRAWN")
    assert not task.done
    monkeypatch.setattr("keevx_async.models.tasks.FAILED_STATUSES", FAILED_STATUSES | {"WITHDRAWN"})
    assert task.done


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"video_url": URL}, True),
        ({"image_url": URL}, True),
        ({}, False),
        ({"thumbnail_url": URL}, False),
        ({"caption_url": URL}, False),
    ],
)
def test_succeeded_without_its_main_result_is_not_an_end(fields: Any, ended: bool) -> None:
    task = Task(task_id="a", status="SUCCEEDED", **fields)
    assert (task.done, task.succeeded, task.lacks_result) == (ended, ended, not ended)


@simulated
@pytest.mark.parametrize("policy", [PollPolicy(), RARE], ids=["polls", "callbacks"])
async def test_a_result_that_comes_late_is_waited_for(policy: PollPolicy) -> None:
    server = Bare(a=100.0)
    server.results = 150.0
    task = await end_of(Poller(server.ask, policy), "a", None)
    assert task.video_url == URL
    first = next(when for when in server.times("a") if when >= 100.0)
    assert clock() <= max(150.0, first) + RESULT_PAUSE + 1.0


@simulated
async def test_a_result_that_never_comes_is_given_up_after_minutes() -> None:
    server = Bare(a=100.0)
    task = await end_of(watcher(server), "a", None)
    assert not task.done
    assert 100.0 + RESULT_GRACE <= clock() <= 100.0 + RESULT_GRACE + 60.0
    with pytest.raises(TaskFailed, match=r"a is SUCCEEDED, but Keevx reports no result"):
        raise_for_failed((task,))


@simulated
async def test_a_wait_that_times_out_names_each_tasks_last_status() -> None:
    server = Server(a=999.0, b=999.0, d=1.0)
    server.script["b"] = ["QUEUED"] * 99
    made = watcher(server)
    with pytest.raises(WaitTimeout) as late:
        [one async for one in made.wait_many(["a", "b", "d"], 30.0)]
    assert late.value.statuses == {"a": "PROCESSING", "b": "QUEUED"}
    assert "a (PROCESSING), b (QUEUED)" in str(late.value)
    twin = pickle.loads(pickle.dumps(late.value))  # noqa: S301 - our own bytes
    assert (twin.pending, twin.statuses) == (("a", "b"), late.value.statuses)


@simulated
@pytest.mark.parametrize(
    ("age", "found_at"), [(0.0, NEW_TASK_GRACE - 20.0), (NEW_TASK_GRACE - 10.0, 5.0)]
)
async def test_a_task_that_was_just_created_may_not_be_found_yet(
    age: float, found_at: float
) -> None:
    server = Server()
    server.fault = lambda _: NotFoundError(404) if clock() < found_at else None
    made = watcher(server)
    made.register("a", a_request(), age)
    assert (await end_of(made, "a", None)).succeeded


@simulated
async def test_a_task_that_is_not_found_for_long_ends_its_wait() -> None:
    server = Server()
    server.fault = lambda _: NotFoundError(404)
    made = watcher(server)
    made.register("a", a_request(), 0.0)
    with pytest.raises(NotFoundError):
        await end_of(made, "a", None)
    assert NEW_TASK_GRACE <= clock() <= NEW_TASK_GRACE + 40.0


@simulated
async def test_a_clock_that_was_ahead_makes_no_wait_longer() -> None:
    server = Server(a=5.0)
    made = watcher(server)
    made.register("a", a_request(), age=-7200.0)
    assert (await end_of(made, "a", None)).succeeded
    assert clock() < 60.0


def test_a_bound_on_the_next_poll_holds_within_the_policy() -> None:
    schedule = Schedule(RARE)
    schedule.add("a", "", 0.0, 0.0)
    assert schedule.due(1e6, 1) == ["a"]
    schedule.plan("a", 1e6, within=10.0)
    assert 1e6 + 5.0 <= (schedule.next_at() or 0.0) <= 1e6 + 10.0


# The whole way, on a real socket.


POLLING = PollPolicy(shortest=0.01, longest=0.02)


async def test_a_journal_records_no_end_without_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keevx_async.polling.poller.RESULT_GRACE", 0.1)
    api = Api()
    async with TestServer(api.app) as server:
        url = str(server.make_url("")).rstrip("/")
        settings: Any = {"base_url": url, "polling": POLLING, "journal": tmp_path / "run.db"}
        async with Keevx("k", **settings) as keevx:
            fan = await keevx.generate_many([a_request()])
            assert isinstance(fan.errors[0], TaskFailed)
            assert not (await keevx.status("i2v-1")).done
        async with Journal(tmp_path / "run.db") as journal:
            assert await journal.find_task("i2v-1") is None
        api.data["video_url"] = URL
        async with Keevx("k", **settings) as keevx:
            (task,) = (await keevx.generate_many([a_request()])).outcomes[0].tasks
            assert task.video_url == URL


async def test_an_end_without_a_recorded_result_is_queried_again(tmp_path: Path) -> None:
    api = Api()
    api.data["video_url"] = URL
    async with TestServer(api.app) as server, Journal(tmp_path / "run.db") as journal:
        await journal.mark_ended(Task(task_id="i2v-1", status="SUCCEEDED"))
        url = str(server.make_url("")).rstrip("/")
        async with Keevx("k", base_url=url, polling=POLLING, journal=journal) as keevx:
            assert (await keevx.wait("i2v-1")).video_url == URL


async def test_an_unknown_word_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    api = Api()
    api.data = {"status": "QUEUED"}
    async with TestServer(api.app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with Keevx("k", base_url=url, polling=POLLING) as keevx:
            with caplog.at_level(logging.WARNING), pytest.raises(WaitTimeout, match="QUEUED"):
                await keevx.wait("i2v-1", timeout=0.3)
            assert api.polls > 2
            assert [one.getMessage().count("'QUEUED'") for one in caplog.records] == [1]


async def test_what_is_uncertain_is_held_open_no_longer_for_a_clock_that_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keevx_async import SubmissionUncertain
    from keevx_async.testing import Emulator, Faults
    from tests.support.callbacks import a_receiver

    faults = Faults(drop_after_create=1.0, callbacks="drop")
    async with Emulator(30.0, faults=faults) as emulator:
        settings: Any = {
            "base_url": emulator.url,
            "journal": tmp_path / "run.db",
            "callbacks": a_receiver("http://127.0.0.1:9/keevx"),
            "polling": PollPolicy(timeout=0.2),
            "retry": RetryPolicy(attempts=1),
        }
        now = time.time
        async with Keevx("k", **settings) as keevx:
            with monkeypatch.context() as ahead:
                ahead.setattr(time, "time", lambda: now() + 7200.0)
                with pytest.raises(SubmissionUncertain):
                    await keevx.submit(a_request(), key="k")
            async with asyncio.timeout(60):
                fan = await keevx.generate_many([a_request()], key=lambda _: "k")
            assert isinstance(fan.errors[0], SubmissionUncertain)
        assert emulator.creates.total() == 1
