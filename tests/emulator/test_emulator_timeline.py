"""A scripted timeline: the statuses of a prompt's tasks, one for each query that is answered."""

import pytest

from keevx_async import PollPolicy, TaskFailed
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of
from tests.support.emulator import BODY, Caller, calling, listening

PROMPT = str(BODY["prompt"])
QUICK = PollPolicy(shortest=0.001, longest=0.002)


async def statuses(caller: Caller, task_id: str, queries: int) -> list[str]:
    return [(await caller.query(task_id))[1]["data"]["status"] for _ in range(queries)]


async def test_each_query_moves_a_task_on_and_the_last_status_stays() -> None:
    async with calling(timelines={PROMPT: ["PENDING", "RETOUCHING", "SUCCEEDED"]}) as caller:
        first, second = await caller.create(generate_count=2)
        assert await statuses(caller, first, 4) == [
            "PENDING", "RETOUCHING", "SUCCEEDED", "SUCCEEDED",
        ]  # fmt: skip
        assert (await caller.query(first))[1]["data"]["video_url"]
        assert await statuses(caller, second, 1) == ["PENDING"]
        (other,) = await caller.create(prompt="of its own time")
        assert (await caller.ended(other))["status"] == "SUCCEEDED"


async def test_time_plays_no_part() -> None:
    async with calling(3600) as caller:
        caller.emulator.timelines[PROMPT] = ["SUCCEEDED"]
        (task_id,) = await caller.create()
        assert await statuses(caller, task_id, 1) == ["SUCCEEDED"]


async def test_a_query_without_a_status_moves_nothing_on() -> None:
    async with calling(timelines={PROMPT: ["PENDING", "SUCCEEDED"]}) as caller:
        (task_id,) = await caller.create()
        caller.emulator.faults.poll_unauthorized = 1
        assert (await caller.query(task_id))[0] == 401
        caller.emulator.faults.poll_unauthorized = 0
        assert await statuses(caller, task_id, 2) == ["PENDING", "SUCCEEDED"]


async def test_the_callback_is_sent_when_the_last_status_is_reached() -> None:
    async with (
        listening() as (url, heard),
        calling(timelines={PROMPT: ["PROCESSING", "REJECTED"]}) as caller,
    ):
        (task_id,) = await caller.create(callback_url=url)
        assert heard.empty()
        assert await statuses(caller, task_id, 1) == ["PROCESSING"]
        assert (await heard.get())["data"]["status"] == "REJECTED"
        assert await statuses(caller, task_id, 2) == ["REJECTED", "REJECTED"]
        assert heard.empty()


async def test_a_client_follows_it_to_its_end(emulator: Emulator) -> None:
    emulator.timelines["a storm"] = ["PENDING", "RETOUCHING", "EXPIRED"]
    async with keevx_of(emulator, polling=QUICK) as keevx:
        with pytest.raises(TaskFailed) as caught:
            await keevx.generate(a_request("a storm"))
    assert caught.value.task.status == "EXPIRED"
    assert emulator.polls.total() == 3
