"""A Poller on a clock that is set by hand."""

import asyncio
from collections.abc import Callable

from keevx_async.models.tasks import Task
from keevx_async.polling.poller import Poller
from keevx_async.settings import PollPolicy

URL = "https://example.com/v.mp4"


NOW = 1_000.0  # a SimulatedLoop's first moment


POLICY = PollPolicy(shortest=1.0, longest=10.0, concurrency=8)


class Server:
    """Answers status queries: a task ends when its time has come, or as scripted."""

    def __init__(self, **ends: float) -> None:
        self.ends = ends  # seconds after the start; absent: at once
        self.script: dict[str, list[Exception | str]] = {}
        self.fault: Callable[[str], Exception | None] = lambda _: None
        self.asked: list[tuple[float, str]] = []
        self.takes = 0.0
        self.now = 0
        self.most = 0

    async def ask(self, task_id: str) -> Task:
        now = asyncio.get_running_loop().time() - NOW
        self.asked.append((now, task_id))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.now -= 1
        if error := self.fault(task_id):
            raise error
        said = self.script[task_id].pop(0) if self.script.get(task_id) else None
        if isinstance(said, Exception):
            raise said
        status = said or self.status(task_id, now)
        return Task(
            task_id=task_id, status=status, video_url=URL if status == "SUCCEEDED" else None
        )

    def status(self, task_id: str, now: float) -> str:
        return "SUCCEEDED" if now >= self.ends.get(task_id, 0.0) else "PROCESSING"

    def times(self, task_id: str) -> list[float]:
        return [when for when, asked in self.asked if asked == task_id]


def watcher(server: Server, policy: PollPolicy = POLICY) -> Poller:
    return Poller(server.ask, policy)


def clock() -> float:
    return asyncio.get_running_loop().time() - NOW


async def end_of(made: Poller, task_id: str, timeout: float | None) -> Task:
    (task,) = [one async for one in made.wait_many([task_id], timeout)]
    return task
