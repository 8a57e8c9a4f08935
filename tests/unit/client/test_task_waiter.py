"""What the journal knows to have ended is yielded at once, whatever else is to be waited for."""

import time
from contextlib import aclosing

import pytest

from keevx_async.client.duration_store import DurationStore
from keevx_async.client.kind_lookup import KindResolver
from keevx_async.client.task_waiter import TaskWaiter
from keevx_async.errors import WaitTimeout
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import TaskRecord
from keevx_async.models.tasks import Task
from tests.support.simulated import simulated
from tests.support.waiting import URL, Server, watcher


class Recorded(NullJournal):
    """Has the ends of some tasks, and keeps which tasks were looked up."""

    def __init__(self, *ended: str) -> None:
        super().__init__()
        self.ended = ended
        self.looked_up: list[str] = []

    async def find_task(self, task_id: str) -> TaskRecord | None:
        self.looked_up.append(task_id)
        if task_id not in self.ended:
            return None
        return TaskRecord(Task(task_id=task_id, status="SUCCEEDED", video_url=URL), time.time())


def waiter_of(journal: Recorded, server: Server) -> TaskWaiter:
    return TaskWaiter(watcher(server), journal, KindResolver(journal), DurationStore(journal), 60.0)


@simulated
async def test_the_first_recorded_end_comes_before_the_other_ids_are_looked_up() -> None:
    journal, server = Recorded("b", "d"), Server(a=5.0, c=3.0)
    ends = [
        (task.task_id, len(journal.looked_up), bool(server.asked))
        async for task in waiter_of(journal, server).wait_many("abcd", 60.0)
    ]
    assert ends == [("b", 2, False), ("d", 4, False), ("c", 4, True), ("a", 4, True)]
    assert {task_id for _, task_id in server.asked} == {"a", "c"}


@simulated
async def test_a_caller_who_needs_only_the_first_end_asks_for_nothing_else() -> None:
    journal, server = Recorded("a"), Server()
    waiting = waiter_of(journal, server).wait_many("abcdef", 60.0)
    async with aclosing(waiting):
        assert (await anext(waiting)).task_id == "a"
    assert (journal.looked_up, server.asked) == (["a"], [])


@simulated
async def test_a_wait_that_times_out_still_reports_the_recorded_ends() -> None:
    journal, server = Recorded("b"), Server(a=600.0)
    with pytest.raises(WaitTimeout) as raised:
        async for _ in waiter_of(journal, server).wait_many("ab", 20.0):
            pass
    assert raised.value.pending == ("a",)
    assert [task.task_id for task in raised.value.done] == ["b"]
