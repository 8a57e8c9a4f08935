"""Uncertain creates, and the callbacks that settle them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from keevx_async import (
    CallbackReceiver,
    FanOut,
    Keevx,
    KeevxError,
    NotFoundError,
    PollPolicy,
    Task,
)
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import JournalProtocol
from keevx_async.models.image_to_video import ImageToVideo
from keevx_async.models.kinds import Kind
from keevx_async.submission.reconciler import Reconciler
from keevx_async.testing import Emulator, Faults
from tests.support.callbacks import a_receiver, in_aiohttp, token_of
from tests.support.client import keevx_of

KIND = ImageToVideo.kind


PATIENT = PollPolicy(shortest=0.01, longest=0.5, timeout=120)
HINTED = PollPolicy(shortest=60, longest=60, timeout=120)
"""Polls only what a callback reports to have ended: no poll is due while a test runs."""


@asynccontextmanager
async def called_back(
    seconds: float = 0.1, *, faults: Faults | None = None, **settings: Any
) -> AsyncIterator[tuple[Emulator, Keevx, CallbackReceiver]]:
    """An emulator, and a client of it with a receiver that the emulator reaches."""
    async with (
        Emulator(seconds, faults=faults) as emulator,
        in_aiohttp() as receiver,
        keevx_of(emulator, **{"callbacks": receiver, "polling": PATIENT} | settings) as keevx,
    ):
        yield emulator, keevx, receiver


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110 - books ring no bell
            await asyncio.sleep(0.005)


def polls_per_task(emulator: Emulator) -> float:
    return emulator.polls.total() / len(emulator.tasks)


def once_each(emulator: Emulator, fan: FanOut, count: int) -> None:
    """Every create was made once, and every id was found by the item it was paid for."""
    assert emulator.creates.total() == len(emulator.creates) == count
    for outcome in fan.outcomes:
        prompts = {emulator.tasks[one].prompt for one in outcome.task_ids}
        assert prompts == {outcome.request.prompt}
    assert sorted(fan.task_ids) == sorted(emulator.tasks)


class Script:
    """Settlements under test; what Keevx answers about each id is told beforehand."""

    def __init__(self, journal: JournalProtocol | None = None) -> None:
        self.answers: dict[str, list[KeevxError]] = {}
        self.known: set[str] = set()
        self.asked: list[str] = []
        self.woken: list[str] = []
        self.slept: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.receiver = a_receiver()
        self.settlements = Reconciler(
            self.receiver, self.ask, self.woken.append, journal or NullJournal(), sleep=self.sleep
        )

    async def ask(self, task_id: str, kind: Kind) -> Task:
        assert kind is KIND
        self.asked.append(task_id)
        await self.gate.wait()
        if self.answers.get(task_id):
            raise self.answers[task_id].pop(0)
        if task_id not in self.known:
            raise NotFoundError(404)
        return Task(task_id=task_id, status="SUCCEEDED", video_url="https://example.com/v.mp4")

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def tell(self, key: str, task_id: str) -> None:
        body = json.dumps({"data": {"task_id": task_id}}).encode()
        await self.receiver.receive(token_of(self.receiver, key), body)

    async def lose(self, key: str, count: int = 1) -> None:
        async with self.settlements.expecting(key, count, KIND):
            self.settlements.mark_lost(key)
