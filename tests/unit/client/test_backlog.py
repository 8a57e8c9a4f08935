"""What waits or queues stays small, and is bounded: a run of any length uses the same memory."""

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any, cast

from keevx_async.client.result_files import MAX_ACTIVE, MAX_QUEUED, Results
from keevx_async.journal.null import NullJournal
from keevx_async.models.outcomes import Outcome
from keevx_async.models.tasks import Task
from keevx_async.transfer.output_paths import OutputNames
from keevx_async.transfer.part_files import DownloadedFile
from tests.support.simulated import hops, simulated
from tests.support.waiting import URL, Server, watcher

MAX_WAIT_BYTES = 3_000
"""Of a task that is waited for: its wait, its schedule and an asyncio task. They take 2,500."""


class Storage:
    """Holds every download back until it is opened."""

    def __init__(self) -> None:
        self.open, self.busy = asyncio.Event(), asyncio.Event()
        self.active = self.most = 0

    async def fetch(self, url: str, target: Path, **options: Any) -> DownloadedFile:
        self.active += 1
        self.most = max(self.most, self.active)
        if self.active == MAX_ACTIVE:
            self.busy.set()
        try:
            await self.open.wait()
        finally:
            self.active -= 1
        return DownloadedFile(target, 1, "0" * 64)


def results_of(storage: Storage) -> Results:
    return Results(cast(Any, storage), cast(Any, None), NullJournal())


def outcome(number: int) -> Outcome[Any]:
    task = Task(task_id=f"i2v-{number}", status="SUCCEEDED", video_url=URL)
    return Outcome(number, "request", "key", (task.task_id,), (task,))


@simulated
async def test_a_task_that_is_waited_for_is_small() -> None:
    count = 1_000
    poller = watcher(Server(**{str(number): 1e9 for number in range(count)}))

    async def wait(task_id: str) -> None:
        async for _ in poller.wait_many([task_id], 1e9):
            pass

    gc.collect()
    tracemalloc.start()
    try:
        waits = [asyncio.ensure_future(wait(str(number))) for number in range(count)]
        await hops(5)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for each in waits:
        each.cancel()
    await asyncio.wait(waits)
    assert poller.statistics().waiting == 0
    assert size / count < MAX_WAIT_BYTES


@simulated
async def test_few_downloads_are_prepared_at_a_time(tmp_path: Path) -> None:
    storage = Storage()
    results, names = results_of(storage), OutputNames(tmp_path)
    items = [outcome(number) for number in range(3 * MAX_ACTIVE)]
    downloads = [asyncio.ensure_future(results.download_all(item, names)) for item in items]
    await storage.busy.wait()
    await hops(20)
    assert storage.active == MAX_ACTIVE
    storage.open.set()
    await asyncio.gather(*downloads)
    assert storage.most == MAX_ACTIVE
    assert all(len(item.paths) == 1 for item in items)


@simulated
async def test_nothing_new_begins_while_too_many_downloads_queue(tmp_path: Path) -> None:
    storage = Storage()
    results, names = results_of(storage), OutputNames(tmp_path)
    downloads = [
        asyncio.ensure_future(results.download_all(outcome(number), names))
        for number in range(MAX_ACTIVE + MAX_QUEUED)
    ]
    await hops(2)
    room = asyncio.ensure_future(results.wait_for_room())
    await hops(20)
    assert not room.done()
    downloads[-1].cancel()  # one that queues: its place is free
    await room
    for download in downloads:
        download.cancel()
    await asyncio.wait(downloads)
    await results.wait_for_room()
