"""After an outage, what workers have comes before claims: who lives is not called dead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from keevx_async.journal.redis import scripts
from keevx_async.journal.redis.connection import MAX_PAUSE, SETTLING
from keevx_async.journal.redis.journal import RedisJournal
from tests.support.simulated import simulated

KIND, BODY = "image_to_video", b"{}"


class Away:
    """A client whose server is away for some seconds, and which keeps what ran afterwards."""

    def __init__(self, seconds: float) -> None:
        self.back = asyncio.get_running_loop().time() + seconds
        self.ran: list[tuple[str, float]] = []

    async def evalsha(self, sha: str, numkeys: int, /, *words: Any) -> Any:
        since = asyncio.get_running_loop().time() - self.back
        if since < 0:
            raise ConnectionError("away")
        self.ran.append((sha, since))
        return [b"yours", []] if sha == scripts.CLAIM.sha else [b"ok", b""]

    async def script_load(self, script: str, /) -> Any: ...

    def pipeline(self) -> Any: ...

    def when(self, script: scripts.Script) -> float:
        return next(since for sha, since in self.ran if sha == script.sha)


@pytest.mark.parametrize("begins", [0.0, 2.9, 3.3])
@simulated
async def test_a_claim_comes_after_what_was_paid(begins: float) -> None:
    client = Away(3.0)
    async with RedisJournal(client) as journal, asyncio.TaskGroup() as group:
        group.create_task(journal.mark_submitted("paid", ["i2v-1"]))
        await asyncio.sleep(begins)
        await journal.claim(KIND, BODY, "k")
    assert client.when(scripts.SUBMIT) <= MAX_PAUSE
    assert client.when(scripts.CLAIM) >= SETTLING


@simulated
async def test_without_an_outage_a_claim_waits_for_nothing() -> None:
    client = Away(0.0)
    async with RedisJournal(client) as journal:
        await journal.claim(KIND, BODY, "k")
    assert client.when(scripts.CLAIM) == 0.0
