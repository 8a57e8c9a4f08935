"""The promise about money under seeded chance: no id is lost, nothing known is sent again.

Keevx is a book: what it made, under which key. Its answers are lost, refused although the task
was made, or given. Callbacks come late, twice, forged, or not at all; a person settles uncertain
creates, rightly or not; the client and its journal are closed and opened again in between, in
both modes. Whatever the order, no id that the journal had leaves it, and no create of which it had
an id is sent again.
"""

import asyncio
import json
import logging
import random
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import Journal, Keevx, KeevxError, RetryPolicy
from tests.support.callbacks import a_receiver, token_of
from tests.support.client import a_request

KEYS = ["a", "b", "c"]
STEPS = 60
RETRY = RetryPolicy(attempts=2, first_delay=0.001, max_delay=0.002, grace=1.0)
Mode = Literal["report", "resubmit"]


class Book:
    """Keevx: makes what it is asked for, and answers as chance has it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.made: dict[str, list[str]] = defaultdict(list)
        self.known: dict[str, set[str]] = defaultdict(set)
        self.wrongly_sent: list[str] = []
        self.app = web.Application()
        self.app.router.add_post("/v1/image_to_video", self._create)
        self.app.router.add_get("/v1/image_to_video/{task_id}", self._status)

    @property
    def ids(self) -> set[str]:
        return {one for made in self.made.values() for one in made}

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = body["prompt"]
        if self.known[key]:
            self.wrongly_sent.append(key)
        answer = self.chance.choice(["ids", "lost", "lost", "busy", "busy, made", "no"])
        ids: list[str] = []
        if answer not in ("busy", "no"):
            number = len(self.ids)
            ids = [f"i2v-{number + n}" for n in range(body.get("generate_count", 1))]
            self.made[key] += ids
        if answer == "lost":
            assert request.transport is not None
            request.transport.abort()
        if answer.startswith("busy"):
            return web.json_response({"code": 530003, "msg": "creation failed, retry"})
        if answer == "no":
            return web.json_response({"code": 100001, "msg": "Parameter error"}, status=400)
        return web.json_response({"code": 0, "msg": "ok", "data": {"task_ids": ids}})

    async def _status(self, request: web.Request) -> web.Response:
        task_id = request.match_info["task_id"]
        if task_id not in self.ids:
            return web.json_response({"code": 100003, "msg": "task not found"}, status=404)
        data = {"task_id": task_id, "status": "PROCESSING"}
        return web.json_response({"code": 0, "msg": "ok", "data": data})


class Life:
    """A client, its journal and a person, in steps that chance chooses."""

    def __init__(self, book: Book, url: str, path: Path) -> None:
        self.book, self.url, self.path = book, url, path
        self.receiver = a_receiver("http://127.0.0.1:9/keevx")
        self.keevx: Keevx | None = None
        self.working: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        mode: Mode = self.book.chance.choice(["report", "resubmit"])
        self.journal = Journal(self.path, on_uncertain=mode)
        self.keevx = Keevx(
            "k",
            base_url=self.url,
            journal=self.journal,
            callbacks=self.receiver,
            retry=RETRY,
            timeout=5.0,
        )
        await self.keevx.__aenter__()

    async def close(self) -> None:
        if self.keevx is not None:
            await asyncio.gather(*self.working, return_exceptions=True)
            await self.keevx.close()

    def start(self, what: Any) -> None:
        async def quietly() -> None:
            with suppress(KeevxError):
                await what

        task = asyncio.ensure_future(quietly())
        self.working.add(task)
        task.add_done_callback(self.working.discard)

    async def step(self) -> None:
        chance, book = self.book.chance, self.book
        assert self.keevx is not None
        key = chance.choice(KEYS)
        count = 1 + KEYS.index(key) % 2
        match chance.choice(["submit", "callback", "callback", "settle", "wait", "again"]):
            case "submit":
                request = a_request(key, generate_count=count)
                self.start(self.keevx.submit(request, key=key))
            case "callback":
                genuine = chance.choice([*book.made[key], "i2v-forged", *sorted(book.ids)[:1]])
                body = json.dumps({"data": {"task_id": genuine}}).encode()
                for _ in range(chance.choice([1, 1, 2])):
                    self.start(self.receiver.receive(token_of(self.receiver, key), body))
            case "settle":
                said = chance.choice([[], book.made[key][:count]])
                self.start(self.journal.settle(key, said))
            case "again":
                await self.close()
                await self.open()
            case _:
                await asyncio.gather(*self.working, return_exceptions=True)
        for _ in range(chance.choice([0, 1, 5, 50])):
            await asyncio.sleep(0)

    async def check(self) -> None:
        """No id has left the journal; remember those that it has now."""
        for key in KEYS:
            entry = await self.journal.find(key)
            ids = set(entry.task_ids) if entry is not None else set[str]()
            assert self.book.known[key] <= ids, f"{key} had {self.book.known[key]}, has {ids}"
            if entry is not None and entry.state in ("planned", "refused"):
                assert not ids
            self.book.known[key] = ids
        assert self.book.wrongly_sent == []


@pytest.mark.parametrize("seed", range(12))
async def test_no_id_is_lost_and_nothing_known_is_sent_again(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr("keevx_async.submission.reconciler.PAUSES", (0.0,))
    book = Book(random.Random(seed))
    async with TestServer(book.app) as server:
        life = Life(book, str(server.make_url("")).rstrip("/"), tmp_path / "run.db")
        await life.open()
        for _ in range(STEPS):
            await life.step()
            await life.check()
        await life.close()
        await life.open()
        # In the end every callback comes once more, and the journal has every id that was made.
        for key in KEYS:
            for task_id in book.made[key]:
                body = json.dumps({"data": {"task_id": task_id}}).encode()
                await life.receiver.receive(token_of(life.receiver, key), body)
        await life.check()
        assert {one for known in book.known.values() for one in known} >= book.ids
        await life.close()
