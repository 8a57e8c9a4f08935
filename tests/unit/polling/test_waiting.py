"""One watcher, however many wait: a scripted Keevx, a clock that jumps, no real wait."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from keevx_async.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    KeevxError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    Violation,
    WaitTimeout,
)
from keevx_async.models.tasks import Task
from keevx_async.polling.poller import Poller
from keevx_async.settings import PollPolicy
from tests.support.simulated import hops, simulated
from tests.support.waiting import POLICY, URL, Server, clock, end_of, watcher

GONE = NotFoundError(404, 100003, "no such task")
PASSING = [
    ConnectionFailed("api.example", "dropped"),
    ResponseError(200, "no envelope"),
    RateLimitError(429),
    ServerError(500),
]


async def all_of(made: Poller, *task_ids: str, timeout: float | None = None) -> list[str]:
    return [task.task_id async for task in made.wait_many(task_ids, timeout)]


@simulated
async def test_it_waits_until_the_task_has_ended() -> None:
    server = Server(a=100.0)
    task = await end_of(watcher(server), "a", None)
    assert task == Task(task_id="a", status="SUCCEEDED", video_url=URL)
    assert 100.0 <= clock() <= 100.0 + POLICY.longest
    assert len(server.asked) > 3, "a long task is asked about more than once"


@simulated
async def test_the_bounds_of_the_policy_hold_between_questions() -> None:
    server = Server(a=200.0)
    server.takes = 0.5
    await end_of(watcher(server), "a", None)
    times = server.times("a")
    steps = [after - before for before, after in pairwise(times)]
    assert all(POLICY.shortest - 1e-6 <= step <= POLICY.longest + 0.5 + 1e-6 for step in steps)


@simulated
async def test_tasks_come_as_they_end() -> None:
    server = Server(a=300.0, b=100.0, c=200.0)
    assert await all_of(watcher(server), "a", "b", "c") == ["b", "c", "a"]


@simulated
async def test_failed_tasks_come_too() -> None:
    server = Server()
    server.script["a"] = ["PROCESSING", "FAILED"]
    task = await end_of(watcher(server), "a", None)
    assert (task.status, task.done, task.succeeded) == ("FAILED", True, False)


@simulated
async def test_waiting_for_nothing_ends_at_once() -> None:
    server = Server()
    assert await all_of(watcher(server)) == []
    assert server.asked == []


@simulated
async def test_an_id_given_twice_comes_once() -> None:
    assert await all_of(watcher(Server()), "a", "b", "a") in (["a", "b"], ["b", "a"])


@simulated
async def test_waits_for_one_task_share_its_questions() -> None:
    server = Server(a=100.0)
    made = watcher(server)
    waits = [end_of(made, "a", None) for _ in range(20)]
    tasks = asyncio.gather(*waits)
    await asyncio.sleep(30.0)
    assert await all_of(made, "a") == ["a"]
    assert [task.task_id for task in await tasks] == ["a"] * 20
    steps = [after - before for before, after in pairwise(server.times("a"))]
    assert min(steps) >= POLICY.shortest - 1e-6, "as if one waited"


@simulated
async def test_one_who_gives_up_leaves_the_others_waiting() -> None:
    made = watcher(Server(a=100.0))
    patient = asyncio.ensure_future(end_of(made, "a", None))
    with pytest.raises(WaitTimeout):
        await end_of(made, "a", 5.0)
    other = asyncio.ensure_future(end_of(made, "a", None))
    await hops(3)
    other.cancel()
    assert (await patient).succeeded
    assert other.cancelled()


@simulated
@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_a_passing_fault_does_not_end_a_wait(error: KeevxError) -> None:
    server = Server()
    server.script["a"] = [error] * 30
    assert (await end_of(watcher(server), "a", None)).succeeded
    assert len(server.asked) == 31


@simulated
async def test_an_unknown_status_is_not_the_end() -> None:
    server = Server()
    server.script["a"] = ["GENERATING", "succeeded", "QUEUED"]
    assert (await end_of(watcher(server), "a", None)).status == "SUCCEEDED"
    assert len(server.asked) == 4


@simulated
async def test_a_refused_key_ends_every_wait() -> None:
    error = AuthenticationError(401, 100002)
    server = Server(a=999.0, b=999.0, c=999.0)
    made = watcher(server)
    waits = [asyncio.ensure_future(end_of(made, one, None)) for one in "abc"]
    await asyncio.sleep(20.0)
    server.fault = lambda task_id: error if task_id == "c" else None  # as heard first
    ends = await asyncio.gather(*waits, return_exceptions=True)
    assert ends == [error] * 3
    asked = len(server.asked)
    await asyncio.sleep(100.0)
    assert len(server.asked) == asked, "nobody waits: nothing is asked"


@simulated
async def test_a_young_task_that_is_not_found_is_asked_about_again() -> None:
    server = Server()
    server.fault = lambda _: GONE if clock() < 5.0 else None
    assert (await end_of(watcher(server), "a", None)).succeeded
    assert server.times("a")[0] < 5.0 <= server.times("a")[-1]


@simulated
async def test_an_old_task_that_is_not_found_ends_its_wait_alone() -> None:
    server = Server(a=999.0, b=100.0)
    server.fault = lambda task_id: GONE if task_id == "a" else None
    made = watcher(server)
    other = asyncio.ensure_future(end_of(made, "b", None))
    with pytest.raises(NotFoundError):
        await end_of(made, "a", None)
    assert 5.0 <= clock() <= 40.0
    assert (await other).succeeded


@simulated
@pytest.mark.parametrize(
    "wrong",
    [
        InvalidRequest([Violation("task_id", "", "required", "'' is no task id")]),
        APIError(400, 100001, "bad id"),
        RuntimeError("a bug"),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
async def test_what_is_wrong_with_one_ends_its_wait_alone(wrong: Exception) -> None:
    server = Server(b=50.0)
    server.fault = lambda task_id: wrong if task_id == "" else None
    made = watcher(server)
    other = asyncio.ensure_future(end_of(made, "b", None))
    with pytest.raises(type(wrong)) as raised:
        await end_of(made, "", 10_000.0)
    assert raised.value is wrong
    assert clock() < 50.0, "at once, rather than by the timeout"
    assert (await other).succeeded


@simulated
async def test_who_waits_for_many_has_the_others_before_what_is_wrong_with_one() -> None:
    server = Server(b=50.0, d=70.0)
    wrong = {"a": RuntimeError("of a"), "c": RuntimeError("of c")}
    server.fault = wrong.get
    seen: list[str] = []

    async def see() -> None:
        async for task in watcher(server).wait_many("abcd", 10_000.0):
            seen.append(task.task_id)  # noqa: PERF401 - what was seen before the error counts

    with pytest.raises(RuntimeError) as raised:
        await see()
    assert seen == ["b", "d"]
    (note,) = raised.value.__notes__
    assert note in {f"could not wait for: {ids}" for ids in ("a, c", "c, a")}


@simulated
async def test_a_query_fault_is_reported_even_if_the_time_runs_out() -> None:
    server = Server(b=1e9)
    server.fault = lambda task_id: RuntimeError("of a") if task_id == "a" else None
    with pytest.raises(WaitTimeout) as raised:
        await all_of(watcher(server), "a", "b", timeout=60.0)
    assert str(raised.value.__cause__) == "of a"
    assert raised.value.pending == ("a", "b")


@simulated
@pytest.mark.parametrize("early", [False, True])
async def test_a_hint_makes_it_ask_soon(early: bool) -> None:
    """A callback came: a few seconds before somebody waits, or while they do."""
    server = Server(a=50.0 if early else 5_000.0, b=1e9)
    made = watcher(server, PollPolicy(shortest=1.0, longest=3_000.0))
    made.wake("b" if early else "stranger")
    if early:
        await asyncio.sleep(60.0)
        made.wake("a")
    wait = asyncio.ensure_future(end_of(made, "a", None))
    if not early:
        await asyncio.sleep(5_000.1)
        made.wake("a")
    hinted = clock()
    await wait
    assert clock() <= hinted + 1.0 + 1e-6
    assert {task_id for _, task_id in server.asked} == {"a"}


@simulated
async def test_a_wait_that_times_out_says_what_is_pending_and_what_is_done() -> None:
    made = watcher(Server(a=5.0, b=1e9, c=20.0, d=1e9))
    seen: list[Task] = []

    async def see() -> None:
        async for task in made.wait_many("abcd", 60.0):
            seen.append(task)  # noqa: PERF401 - what was seen before the timeout counts

    with pytest.raises(WaitTimeout) as raised:
        await see()
    assert clock() == pytest.approx(60.0)
    assert raised.value.pending == ("b", "d")
    assert raised.value.done == tuple(seen)
    assert [task.task_id for task in seen] == ["a", "c"]


@simulated
async def test_after_a_timeout_nothing_is_asked_and_waiting_again_works() -> None:
    server = Server(a=1_000.0)
    made = watcher(server)
    for _ in range(5):
        with pytest.raises(WaitTimeout):
            await end_of(made, "a", 30.0)
        asked = len(server.asked)
        await asyncio.sleep(60.0)
        assert len(server.asked) == asked
    assert (await end_of(made, "a", None)).succeeded
    assert 1_000.0 <= clock() <= 1_000.0 + POLICY.longest


@simulated
async def test_giving_up_and_waiting_again_never_asks_more_often() -> None:
    server = Server(a=100.0)
    made = watcher(server, PollPolicy(shortest=1.0, longest=1.0))
    for _ in range(50):
        with pytest.raises(WaitTimeout):
            await end_of(made, "a", 0.2)
    begun = clock()
    await end_of(made, "a", None)
    times = [when for when in server.times("a") if when > begun]
    steps = [after - before for before, after in pairwise(times)]
    assert min(steps) >= 1.0 - 1e-6


@simulated
async def test_a_slow_reader_gets_what_ended_in_time_even_after_the_deadline() -> None:
    made = watcher(Server(a=1.0, b=2.0))
    seen = []
    async for task in made.wait_many("ab", 30.0):
        seen.append(task.task_id)
        await asyncio.sleep(100.0)
    assert sorted(seen) == ["a", "b"]


@simulated
async def test_leaving_the_loop_early_stops_the_asking() -> None:
    server = Server(a=1.0, b=1e9)
    with watcher(server).wait_many("ab", None) as tasks:
        async for _ in tasks:
            break
    asked = len(server.asked)
    await asyncio.sleep(100.0)
    assert len(server.asked) <= asked + 1, "one question may have been under way"


@simulated
async def test_a_cancelled_wait_stops_the_asking() -> None:
    server = Server(a=1e9)
    wait = asyncio.ensure_future(end_of(watcher(server), "a", None))
    await asyncio.sleep(50.0)
    wait.cancel()
    await asyncio.wait({wait})
    assert wait.cancelled()
    asked = len(server.asked)
    await asyncio.sleep(100.0)
    assert len(server.asked) == asked


@simulated
async def test_no_more_questions_are_under_way_than_the_policy_says() -> None:
    server = Server()
    server.takes = 3.0
    names = [str(number) for number in range(100)]
    assert len(await all_of(watcher(server), *names)) == 100
    assert server.most == POLICY.concurrency


@simulated
async def test_a_thousand_tasks_all_come_and_are_not_asked_about_in_one_go() -> None:
    names = [str(number) for number in range(1_000)]
    server = Server(**{name: 50.0 + number % 37 for number, name in enumerate(names)})
    assert sorted(await all_of(watcher(server), *names)) == sorted(names)
    (_, at_once), *_ = Counter(when for when, _ in server.asked).most_common(1)
    assert at_once <= 20


@simulated
async def test_closing_ends_every_wait_and_question() -> None:
    server = Server(a=1e9, b=1e9)
    server.takes = 500.0
    made = watcher(server)
    waits: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(end_of(made, "a", None)),
        asyncio.ensure_future(all_of(made, "a", "b")),
    ]
    await asyncio.sleep(50.0)
    assert server.now == 2, "questions are under way"
    await made.close()
    ends = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(end) for end in ends] == [ConfigurationError] * 2
    assert server.now == 0
    assert clock() == 50.0
    await made.close()


@simulated
async def test_a_wait_of_no_time_times_out() -> None:
    with pytest.raises(WaitTimeout) as raised:
        await end_of(watcher(Server(a=1e9)), "a", 0.0)
    assert raised.value.pending == ("a",)
