"""Cancelled at every await: no id is lost, no task is left, and the journal tells what happened.

The loop is driven step by step. Before each step what is being written is written, so every run
takes the same steps, and each number of steps is one place to be cancelled at.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal, Keevx, RetryPolicy, SubmissionUncertain
from keevx_async.http.transport import AiohttpTransport, HttpRequest, HttpResponse
from keevx_async.journal.protocol import Entry, State
from tests.conftest import at_once
from tests.support.client import a_request, some_requests
from tests.support.thorough import rotated

ITEMS = 4


class Book:
    """What was paid, and a Keevx that answers after a few steps."""

    def __init__(self) -> None:
        self.creates: Counter[str] = Counter()
        self.ids: dict[str, str] = {}

    async def exchange(self, _: AiohttpTransport, call: HttpRequest) -> HttpResponse:
        assert isinstance(call.body, bytes)
        prompt = json.loads(call.body)["prompt"]
        await asyncio.sleep(0)
        self.creates[prompt] += 1
        task_id = f"i2v-{len(self.ids)}"
        self.ids[task_id] = prompt
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        body = {"code": 0, "msg": "ok", "data": {"task_ids": [task_id]}}
        return HttpResponse(200, {}, json.dumps(body).encode())


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    made = Book()

    async def exchange(transport: AiohttpTransport, call: HttpRequest) -> HttpResponse:
        return await made.exchange(transport, call)

    monkeypatch.setattr(AiohttpTransport, "exchange", exchange)
    return made


class Far(Journal):
    """A journal of which letting a key go takes a while, as of the one in Redis."""

    async def release(self, key: str, *, made: bool = True) -> None:
        letting_go = asyncio.ensure_future(super().release(key, made=made))
        await asyncio.shield(letting_go)
        await asyncio.sleep(0)


class Run:
    """One program over one journal."""

    def __init__(self, path: Path, form: type[Journal] = Journal) -> None:
        self.journal = form(path)
        self.keevx = Keevx(
            "test-key",
            base_url="http://localhost",
            journal=self.journal,
            retry=RetryPolicy(grace=5),
        )

    async def step(self) -> None:
        """Go one step, once all that is being written is written."""
        if self.journal._opened is not None:
            writer = self.journal._opened.writer
            while not writer.idle:
                time.sleep(0.0001)  # noqa: ASYNC251 - the loop must not go on meanwhile
        await asyncio.sleep(0)

    async def steps(self, task: asyncio.Task[Any], most: int) -> bool:
        """Go so many steps; tell whether the task goes on."""
        for _ in range(most):
            if task.done():
                break
            await self.step()
        return not task.done()

    async def to_the_end(self, task: asyncio.Task[Any]) -> None:
        assert not await self.steps(task, 1000), "it hangs"
        await self.keevx.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


def states(path: Path) -> dict[str, tuple[State, tuple[str, ...]]]:
    """What is on disk, by prompt."""

    async def read() -> list[Entry]:
        async with Journal(path) as journal:
            return [entry async for entry in journal.entries()]

    entries = at_once(read())
    return {json.loads(one.body)["prompt"]: (one.state, one.task_ids) for one in entries}


async def awaited(what: Any) -> Any:
    return await what


def check(path: Path, book: Book, uncertain: set[str]) -> set[str]:
    """Compare the journal with the book of what was paid; return what it has as uncertain."""
    found = states(path)
    assert set(book.creates.values()) <= {1}
    lost = {prompt for prompt, (state, _) in found.items() if state is State.UNCERTAIN}
    for task_id, prompt in book.ids.items():
        assert found[prompt] == (State.SUBMITTED, (task_id,)) or prompt in lost
    assert lost == uncertain
    assert {state for state, _ in found.values()} <= {
        State.SUBMITTED,
        State.PLANNED,
        State.UNCERTAIN,
    }
    return lost


async def cancelled(
    path: Path, book: Book, first: int, second: int | None, form: type[Journal] = Journal
) -> bool:
    """Cancel submit_many after some steps, perhaps twice; tell whether it was still going on."""
    run = Run(path, form)
    fan = run.keevx.submit_many(some_requests(ITEMS), concurrency=2)
    task = asyncio.ensure_future(awaited(fan))
    going = await run.steps(task, first)
    task.cancel()
    if second is not None and await run.steps(task, second):
        task.cancel()
    await run.to_the_end(task)
    assert task.cancelled() == going

    uncertain = {one.request.to_dict()["prompt"] for one in fan.outcomes if one.error is not None}
    assert all(isinstance(error, SubmissionUncertain) for error in fan.errors)
    assert not uncertain or second is not None
    known = {one for outcome in fan.outcomes for one in outcome.task_ids}
    assert known == {one for one, prompt in book.ids.items() if prompt not in uncertain}
    check(path, book, uncertain)

    run = Run(path)
    again = asyncio.ensure_future(awaited(run.keevx.submit_many(some_requests(ITEMS))))
    await run.to_the_end(again)
    fan = again.result()
    assert [type(error) for error in fan.errors] == [SubmissionUncertain] * len(uncertain)
    assert set(book.creates) | uncertain == {one.prompt for one in some_requests(ITEMS)}
    check(path, book, uncertain)
    return going


@pytest.mark.parametrize("form", [Journal, Far])
async def test_cancelled_at_every_step(tmp_path: Path, book: Book, form: type[Journal]) -> None:
    steps, going = 0, True
    while going:
        book.creates.clear()
        book.ids.clear()
        going = await cancelled(tmp_path / f"{steps}.db", book, steps, None, form)
        steps += 1
    assert steps > 10


async def test_cancelled_twice_at_every_step(tmp_path: Path, book: Book) -> None:
    for steps, seconds in enumerate(rotated(range(6))):
        going = False
        for second in seconds:
            book.creates.clear()
            book.ids.clear()
            path = tmp_path / f"{steps}-{second}.db"
            going |= await cancelled(path, book, steps, second)
        if not going:
            break
    assert steps > 10


@pytest.mark.parametrize("second", [None, 0, 1, 2, 3])
async def test_one_submit_cancelled_at_every_step(
    tmp_path: Path, book: Book, second: int | None
) -> None:
    steps, going = 0, True
    while going:
        book.creates.clear()
        book.ids.clear()
        path = tmp_path / f"{steps}.db"
        run = Run(path)
        task = asyncio.ensure_future(run.keevx.submit(a_request("prompt 0"), key="mine"))
        going = await run.steps(task, steps)
        task.cancel()
        if second is not None and await run.steps(task, second):
            task.cancel()
        await run.to_the_end(task)
        found = states(path) if path.exists() else {}
        lost = {prompt for prompt, (state, _) in found.items() if state is State.UNCERTAIN}
        assert not lost or second is not None
        check(path, book, lost)
        steps += 1
    assert steps > 5


async def test_closed_at_every_step(tmp_path: Path, book: Book) -> None:
    steps, going = 0, True
    while going:
        book.creates.clear()
        book.ids.clear()
        path = tmp_path / f"{steps}.db"
        run = Run(path)
        fan = run.keevx.submit_many(some_requests(ITEMS), concurrency=2)
        task = asyncio.ensure_future(awaited(fan))
        going = await run.steps(task, steps)
        closing = asyncio.ensure_future(run.keevx.close())
        assert not await run.steps(closing, 1000), "it hangs"
        assert not await run.steps(task, 1000), "it hangs"
        task.exception()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert sorted(fan.task_ids) == sorted(book.ids)
        check(path, book, set())
        steps += 1
    assert steps > 10
