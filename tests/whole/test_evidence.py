"""What Keevx confirms outweighs what was assumed: no id is lost, no made create is sent again."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import (
    Journal,
    JournalError,
    Keevx,
    KeevxError,
    RetryPolicy,
    SubmissionUncertain,
)
from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import JournalProtocol, State
from keevx_async.testing import Emulator, Faults
from tests.support.callbacks import a_receiver, token_of
from tests.support.client import a_request, keevx_of
from tests.support.journal import entry_of
from tests.support.redis_journal import Counting, memory
from tests.support.settling import KIND, Script, until

__all__ = ["memory"]  # a fixture

BODY = b'{"generate_count":2}'
ONCE = RetryPolicy(attempts=1, grace=1.0)


@pytest.fixture(params=["sqlite", "redis"])
async def journal(
    request: pytest.FixtureRequest, tmp_path: Path, memory: Counting
) -> AsyncIterator[JournalProtocol]:
    file = Journal(tmp_path / "run.db")
    either: Any = file if request.param == "sqlite" else RedisJournal(memory)
    async with either:
        yield either


async def brought_to(journal: JournalProtocol, state: State, ids: tuple[str, ...] = ()) -> None:
    """Write an entry of two tasks in a state, as a create would have."""
    await journal.claim(KIND.name, BODY, "k")
    await journal.mark_sending("k", KIND.name, BODY)
    match state:
        case State.PLANNED:
            await journal.mark_planned("k")
        case State.REFUSED:
            await journal.mark_refused("k", "forbidden")
        case State.UNCERTAIN:
            await journal.mark_uncertain("k", "dropped", ids or None)
        case State.SUBMITTED:
            await journal.mark_submitted("k", ids)
        case State.SENDING:
            pass
    await journal.release("k")


@pytest.mark.parametrize("state", [State.PLANNED, State.REFUSED, State.UNCERTAIN, State.SENDING])
async def test_confirmed_ids_outweigh_every_state_without_ids(
    journal: JournalProtocol, state: State
) -> None:
    await brought_to(journal, state)
    before = await journal.add_ids("k", ["i2v-1"], 2)
    assert before is not None
    assert before.task_ids == ()
    entry = await entry_of(journal)
    assert (entry.state, entry.task_ids) == (State.UNCERTAIN, ("i2v-1",))
    assert entry.reason == "callbacks reported 1 of its 2 tasks"
    assert entry.task_ids == ("i2v-1",)
    await journal.add_ids("k", ["i2v-1", "i2v-2"], 2)
    entry = await entry_of(journal)
    assert (entry.state, entry.reason) == (State.SUBMITTED, "")
    assert entry.task_ids == ("i2v-1", "i2v-2")
    assert await journal.find_owner("i2v-2") == "k"


@pytest.mark.parametrize("none_first", [True, False])
async def test_the_second_of_two_contradicting_settlements_is_refused(
    journal: JournalProtocol, none_first: bool
) -> None:
    await brought_to(journal, State.UNCERTAIN)
    words: list[list[str]] = [[], ["i2v-1"]] if none_first else [["i2v-1"], []]
    said = await asyncio.gather(
        *(journal.settle("k", word) for word in words), return_exceptions=True
    )
    assert said[0] is None
    assert isinstance(said[1], JournalError)
    entry = await entry_of(journal)
    assert list(entry.task_ids) == words[0]
    assert entry.state is (State.PLANNED if none_first else State.SUBMITTED)


async def test_a_settlement_that_is_cancelled_still_excludes_its_contradiction(
    tmp_path: Path,
) -> None:
    async with Journal(tmp_path / "run.db") as journal:
        await brought_to(journal, State.UNCERTAIN)
        first = asyncio.ensure_future(journal.settle("k", ["i2v-1"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(JournalError):
            await journal.settle("k", [])
        assert (await entry_of(journal)).task_ids == ("i2v-1",)


async def test_what_has_an_id_cannot_be_settled_as_none(journal: JournalProtocol) -> None:
    await brought_to(journal, State.UNCERTAIN, ("i2v-1",))
    with pytest.raises(JournalError, match=r"k was made: it has i2v-1"):
        await journal.settle("k", [])
    await journal.settle("k", ["i2v-2"])
    assert (await entry_of(journal)).task_ids == ("i2v-1", "i2v-2")


# Callbacks, with Keevx scripted.


@pytest.mark.parametrize("state", [State.PLANNED, State.REFUSED])
async def test_a_callback_of_what_counts_as_not_made_is_written_down(
    journal: JournalProtocol, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    await brought_to(journal, state)
    script = Script(journal)
    script.known = {"i2v-1", "i2v-2"}
    await script.tell("k", "i2v-1")
    await script.tell("k", "forged")
    assert (await entry_of(journal)).task_ids == ("i2v-1",)
    await script.tell("k", "i2v-2")
    assert (await entry_of(journal)).state is State.SUBMITTED
    assert f"k is {state}, but it was made: it has task i2v-1" in caplog.text
    await script.settlements.close()


async def test_a_second_id_of_one_create_is_kept_and_reported(
    journal: JournalProtocol, caplog: pytest.LogCaptureFixture
) -> None:
    await brought_to(journal, State.SUBMITTED, ("i2v-1", "i2v-2"))
    script = Script(journal)
    script.known = {"i2v-1", "i2v-2", "i2v-3"}
    for told in ("i2v-1", "i2v-2"):
        await script.tell("k", told)
    assert script.asked == [], "it has these"
    await script.tell("k", "i2v-3")
    assert "k was charged twice: it has i2v-1, i2v-2, and now i2v-3" in caplog.text
    assert (await entry_of(journal)).task_ids == ("i2v-1", "i2v-2", "i2v-3")
    await script.settlements.close()


async def test_a_callback_for_an_answered_create_is_examined(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a journal too: the first try was answered 503, and made all the same."""
    script = Script()
    script.known = {"first", "second"}
    async with script.settlements.expecting("k", 1, KIND):
        await script.tell("k", "first")
        script.settlements.claim_ids("k", ["second"])
    await until(lambda: "k was charged twice: it has second, and now first" in caplog.text)
    await script.settlements.close()


# The whole way.


@asynccontextmanager
async def a_client(emulator: Emulator, journal: Journal, **settings: Any) -> AsyncIterator[Keevx]:
    given = {"journal": journal, "retry": ONCE, "timeout": 2.0} | settings
    async with keevx_of(emulator, **given) as keevx:
        yield keevx


async def told(receiver: Any, task_id: str) -> None:
    body = json.dumps({"data": {"task_id": task_id}}).encode()
    await receiver.receive(token_of(receiver, "k"), body)


async def error_of(keevx: Keevx, **fields: Any) -> KeevxError | None:
    try:
        await keevx.submit(a_request(**fields), key="k")
    except KeevxError as error:
        return error
    return None


@pytest.mark.parametrize("on_uncertain", ["report", "resubmit"])
async def test_a_create_with_a_known_id_is_not_sent_again_in_any_mode(
    tmp_path: Path, on_uncertain: Any
) -> None:
    receiver = a_receiver("http://127.0.0.1:9/keevx")
    async with Emulator(0.05, faults=Faults(drop_after_create=1.0, callbacks="drop")) as emulator:
        path = tmp_path / "run.db"
        async with a_client(emulator, Journal(path), callbacks=receiver) as keevx:
            assert isinstance(await error_of(keevx, generate_count=2), SubmissionUncertain)
            first, second = emulator.tasks
            await told(receiver, first)
        again = Journal(path, on_uncertain=on_uncertain)
        async with a_client(emulator, again, callbacks=receiver) as keevx:
            error = await error_of(keevx, generate_count=2)
            assert isinstance(error, SubmissionUncertain)
            assert first in str(error)
            await told(receiver, second)
            submission = await keevx.submit(a_request(generate_count=2), key="k")
            assert submission.task_ids == (first, second)
        assert emulator.creates.total() == 1


async def test_a_callback_between_two_tries_stops_the_second(tmp_path: Path) -> None:
    """Keevx says that it failed and may be tried again, though it made the task."""
    receiver = a_receiver("http://127.0.0.1:9/keevx")
    posts: list[dict[str, Any]] = []
    running = {"code": 0, "msg": "ok", "data": {"task_id": "i2v-1", "status": "PROCESSING"}}

    async def create(request: web.Request) -> web.Response:
        posts.append(await request.json())
        return web.json_response({"code": 530003, "msg": "creation failed, retry"})

    async def status(_: web.Request) -> web.Response:
        return web.json_response(running)

    class Called(Journal):
        async def mark_planned(self, key: str) -> None:
            await super().mark_planned(key)
            await told(receiver, "i2v-1")

    app = web.Application()
    app.router.add_post("/v1/image_to_video", create)
    app.router.add_get("/v1/image_to_video/i2v-1", status)
    retry = RetryPolicy(attempts=3, first_delay=0.01, max_delay=0.02)
    journal = Called(tmp_path / "run.db")
    settings: Any = {"retry": retry, "callbacks": receiver, "journal": journal}
    async with (
        TestServer(app) as server,
        Keevx("k", base_url=str(server.make_url("")).rstrip("/"), **settings) as keevx,
    ):
        submission = await keevx.submit(a_request(), key="k")
        entry = await entry_of(journal)
    assert submission.task_ids == entry.task_ids == ("i2v-1",)
    assert entry.state is State.SUBMITTED
    assert len(posts) == 1


async def test_a_callback_of_a_refused_create_keeps_it_from_being_sent_again(
    tmp_path: Path,
) -> None:
    """Settled as none by mistake, say: the next submit finds the id that was proved."""
    receiver = a_receiver("http://127.0.0.1:9/keevx")
    async with Emulator(0.05, faults=Faults(drop_after_create=1.0, callbacks="drop")) as emulator:
        journal = Journal(tmp_path / "run.db")
        async with a_client(emulator, journal, callbacks=receiver) as keevx:
            assert isinstance(await error_of(keevx), SubmissionUncertain)
            await journal.settle("k", [])
            (task_id,) = emulator.tasks
            await told(receiver, task_id)
            submission = await keevx.submit(a_request(), key="k")
            assert submission.task_ids == (task_id,)
        assert emulator.creates.total() == 1
