"""Another host or account is refused before anything is sent."""

from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket

from keevx_async import ConfigurationError, Journal, JournalError
from keevx_async.docket import RedisJournal
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of, some_requests


async def test_the_emulators_journal_is_not_for_another_host(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator, Emulator() as real:
        async with keevx_of(emulator, journal=path) as keevx:
            await keevx.submit_many(some_requests(3))
        with pytest.raises(JournalError, match=f"belongs to {emulator.url}, not to {real.url}"):
            async with keevx_of(real, journal=path):
                pass
        keevx = keevx_of(real, journal=path)  # and without `async with`, by the first verb
        with pytest.raises(JournalError, match="nothing was sent"):
            await keevx.submit(a_request())
        await keevx.close()
        assert not real.requests
        async with keevx_of(real, journal=Journal(path, adopt=True)) as keevx:
            await keevx.submit(a_request("after"))
        with pytest.raises(JournalError, match=f"belongs to {real.url}"):
            async with keevx_of(emulator, journal=path):
                pass


async def test_an_account_may_change_its_key(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator:
        for key, reused in (("sk-a", False), ("sk-b", True)):
            async with keevx_of(emulator, journal=path, api_key=key, account="studio") as keevx:
                assert (await keevx.submit(a_request(), key="order")).reused is reused
        with pytest.raises(JournalError, match="belongs to account 'studio'"):
            async with keevx_of(emulator, journal=path, api_key="sk-b", account="other"):
                pass


@pytest.mark.parametrize("spelling", ["{}/", "{}", "HTTP://LOCALHOST:{port}"])
async def test_a_host_is_the_same_however_it_is_spelled(tmp_path: Path, spelling: str) -> None:
    async with Emulator() as emulator:
        url = emulator.url.replace("127.0.0.1", "localhost")
        async with keevx_of(emulator, journal=tmp_path / "run.db", base_url=url):
            pass
        again = spelling.format(url, port=url.rpartition(":")[2])
        async with keevx_of(emulator, journal=tmp_path / "run.db", base_url=again):
            pass


async def test_a_journal_in_redis_has_one_owner_too() -> None:
    async with (
        Emulator() as emulator,
        Emulator() as real,
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
    ):
        for _ in range(2):
            async with keevx_of(emulator, journal=RedisJournal(client)) as keevx:
                await keevx.submit(a_request(), key="order")
        assert sum(emulator.creates.values()) == 1
        for other, key in ((real, "test-key"), (emulator, "sk-b")):
            asked = sum(other.requests.values())
            with pytest.raises(JournalError, match=r"in Redis belongs to .*nothing was sent"):
                async with keevx_of(other, journal=RedisJournal(client), api_key=key):
                    pass
            keevx = keevx_of(other, journal=RedisJournal(client), api_key=key)
            with pytest.raises(JournalError, match="nothing was sent"):
                await keevx.submit(a_request(), key="order")
            await keevx.close()
            assert sum(other.requests.values()) == asked
        adopting = RedisJournal(client, adopt=True)
        async with keevx_of(emulator, journal=adopting, api_key="sk-b") as keevx:
            assert (await keevx.submit(a_request(), key="order")).reused


async def test_a_key_is_submitted_once_without_a_journal() -> None:
    async with Emulator() as emulator, keevx_of(emulator) as keevx:
        first = await keevx.submit(a_request(), key="order")
        again = await keevx.submit(a_request(), key="order")
        assert (first.reused, again.reused) == (False, True)
        assert first.task_ids == again.task_ids
        fan = await keevx.submit_many([a_request()], key=lambda _: "order")
        assert fan.task_ids == list(first.task_ids)
        with pytest.raises(JournalError, match="belongs to another request"):
            await keevx.submit(a_request("other"), key="order")
        assert sum(emulator.creates.values()) == 1


async def test_a_key_that_a_function_returns_owns_the_journal_too(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    async def later() -> str:
        return "sk-a"

    async with Emulator() as emulator:
        async with keevx_of(emulator, journal=path, api_key=later) as keevx:
            await keevx.submit(a_request(), key="order")
        with pytest.raises(JournalError, match="another API key"):
            await keevx_of(emulator, journal=path, api_key=lambda: "sk-b").__aenter__()
        keevx = keevx_of(emulator, journal=path, api_key=later)
        with pytest.raises(ConfigurationError, match="open the client with 'async with'"):
            await keevx.submit(a_request(), key="order")
        await keevx.close()
        async with keevx_of(emulator, journal=path, api_key=lambda: "sk-a") as keevx:
            assert (await keevx.submit(a_request(), key="order")).reused
        assert emulator.creates.total() == 1
