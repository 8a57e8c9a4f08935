"""A worker claims a create of the journal by its key, and reads it in the same step."""

from __future__ import annotations

import asyncio

import pytest

from keevx_async import ConfigurationError
from keevx_async.docket import RedisJournal, WorkerSettings
from keevx_async.docket.client import WorkerClient
from keevx_async.docket.rate_limit import SharedRateLimiter, Stop
from keevx_async.journal.protocol import State
from keevx_async.journal.redis import scripts
from keevx_async.journal.redis.encoding import Planned
from keevx_async.models.request import canonical_body
from tests.support.client import a_request
from tests.support.redis_journal import Counting, memory

__all__ = ["memory"]  # a fixture


KIND, BODY = "image_to_video", b'{"prompt":"one"}'


async def test_a_create_is_claimed_and_read_in_one_step(memory: Counting) -> None:
    async with RedisJournal(memory) as journal, RedisJournal(memory) as other:
        await journal.add_many([Planned(KIND, BODY, "k")], "run")
        del memory.ran[:]
        key, entry = await journal.claim("", b"", "k")
        assert {*memory.ran} == {scripts.CLAIM.sha}
        assert entry is not None
        assert (key, entry.kind, entry.body, entry.state) == (
            "k", KIND, BODY.decode(), State.PLANNED,
        )  # fmt: skip
        await journal.mark_sending("k", KIND, BODY)
        assert (await other.counts())["sending"] == 1


async def test_a_key_that_the_journal_does_not_have_stays_free(memory: Counting) -> None:
    async with RedisJournal(memory) as journal, RedisJournal(memory) as other:
        assert (await journal.claim("", b"", "k")).entry is None
        await journal.release("k")
        assert (await other.claim(KIND, BODY, "k")).entry is None
        assert [entry async for entry in other.entries()] == []


async def test_a_client_that_was_closed_in_between_lets_its_claim_go(memory: Counting) -> None:
    stop, settings = Stop(), WorkerSettings(api_key="test-key", base_url="http://localhost")
    async with RedisJournal(memory) as journal, RedisJournal(memory) as other:
        await journal.add_many([Planned(KIND, canonical_body(a_request()), "k")], "run")
        limit = SharedRateLimiter(journal.connection, stop)
        async with WorkerClient(journal, limit, 10.0, settings, stop) as client:
            entry = await client.claim("k")
            assert entry is not None
            await client.close()
            with pytest.raises(ConfigurationError, match="closed"):
                await client.submit_entry(entry)
        async with asyncio.timeout(10):  # else it is waited for, as long as the journal is open
            assert await other.claim("", b"", "k") == ("k", entry)
