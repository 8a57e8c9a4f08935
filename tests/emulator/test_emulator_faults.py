"""Each fault of the API does what it says, and nothing when it is off."""

import asyncio
import io
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from keevx_async.testing import Faults
from tests.support.emulator import (
    BODY,
    PATH,
    PNG,
    UPLOAD,
    Caller,
    calling,
    envelope,
    listening,
    stop_clock_until_refused,
    until,
)
from tests.support.ports import refusing

LOST = aiohttp.ServerDisconnectedError


def _faults(name: str, which: Any) -> Faults:
    faults = Faults()
    setattr(faults, name, which)
    return faults


async def raw_post(caller: Caller, **changes: Any) -> tuple[int, str, bytes]:
    async with caller.session.post(caller.emulator.url + PATH, json=BODY | changes) as response:
        return response.status, response.content_type, await response.read()


def test_a_fault_of_a_wrong_value_is_refused_when_it_is_set() -> None:
    faults = Faults(refuse=True, drop_polls={"a"}, cut_downloads=lambda url: True)
    for wrong in (1.5, -1, 2):
        with pytest.raises(ValueError, match="a share from 0 to 1"):
            faults.refuse = wrong
    with pytest.raises(TypeError, match="half_answer"):
        Faults(half_answer=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="callbacks"):
        faults.callbacks = "thrice"  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        faults.refused = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("latency", [0.03, (0.03, 0.04)])
async def test_latency_holds_for_every_answer(latency: Any) -> None:
    async with calling(0, faults=Faults(latency=latency)) as caller:
        clock = asyncio.get_running_loop().time
        for ask in (caller.post(), caller.post(prompt=""), caller.query("i2v"), caller.upload(PNG)):
            began = clock()
            await ask
            assert 0.029 <= clock() - began < 0.5


async def test_a_prompt_is_refused_once_and_then_accepted() -> None:
    async with calling(faults=Faults(refuse={"busy"})) as caller:
        assert await caller.post(prompt="busy") == (500, envelope(530003, "server busy"))
        assert not caller.emulator.creates
        await caller.create(prompt="busy")
        await caller.create(prompt="other")
        assert caller.emulator.refused == {"fault": 1}
        caller.emulator.faults.once = False
        assert (await caller.post(prompt="busy"))[0] == 500


async def test_a_refusal_may_come_with_another_status_and_code() -> None:
    faults = Faults(refuse=1, refuse_status=200, refuse_code=530003, refuse_message="retry")
    async with calling(faults=faults) as caller:
        assert await caller.post() == (200, envelope(530003, "retry"))


async def test_a_share_of_prompts_is_the_same_in_every_run_and_another_with_another_seed() -> None:
    async def refused(seed: int) -> list[int]:
        async with calling(faults=Faults(refuse=0.3), seed=seed) as caller:
            answers = [await caller.post(prompt=f"p{number}") for number in range(100)]
            return [number for number, (status, _) in enumerate(answers) if status == 500]

    first = await refused(0)
    assert 15 < len(first) < 45
    assert first == await refused(0)
    assert first != await refused(1)


async def test_creates_beyond_the_rate_are_refused_with_429() -> None:
    async with calling(faults=Faults(rate=20, burst=2)) as caller:
        now = 1_000.0
        caller.emulator.clock = lambda: now
        statuses = [(await caller.post())[0] for _ in range(4)]
        assert statuses[:2] == [200, 200]
        assert statuses[-1] == 429
        assert caller.emulator.refused["rate"] == statuses.count(429)
        now += 0.055
        assert (await caller.post())[0] == 200
        caller.emulator.faults.rate = None
        assert {(await caller.post())[0] for _ in range(5)} == {200}


async def test_the_bucket_holds_a_tenth_of_the_rate_and_one_at_least() -> None:
    async with calling(faults=Faults(rate=0.1)) as caller:
        assert [(await caller.post())[0] for _ in range(2)] == [200, 429]
    async with calling(faults=Faults(rate=50)) as caller:
        stop_clock_until_refused(caller.emulator)
        statuses = [(await caller.post(prompt=f"p{n}"))[0] for n in range(6)]
        assert statuses == [200] * 5 + [429]


async def test_retry_after_is_absent_or_seconds_or_a_date() -> None:
    async def header(form: Any) -> str | None:
        caller.emulator.faults.retry_after = form
        async with caller.session.post(caller.emulator.url + PATH, json=BODY) as response:
            assert response.status == 429
            assert (await response.json())["code"] == 429
            return response.headers.get("Retry-After")

    async with calling(faults=Faults(rate=0.1, burst=0)) as caller:
        assert await header(None) is None
        assert await header(3) == "3"
        assert await header(0.5) == "0.5"
        when = await header("date")
        assert when
        ahead = (parsedate_to_datetime(when) - datetime.now(UTC)).total_seconds()
        assert 0.5 < ahead <= 2


async def test_polls_have_a_rate_of_their_own() -> None:
    async with calling(faults=Faults(poll_rate=0.1, retry_after=1)) as caller:
        (task_id,) = await caller.create()
        assert [(await caller.query(task_id))[0] for _ in range(2)] == [200, 429]
        await caller.create()
        assert caller.emulator.refused == {"poll_rate": 1}
        assert caller.emulator.polls == {task_id: 2}


@pytest.mark.parametrize(
    ("fault", "made"), [("drop_before_create", 0), ("drop_after_create", 1), ("half_answer", 1)]
)
async def test_a_connection_dropped_once(fault: str, made: int) -> None:
    async with calling(faults=_faults(fault, {"p"})) as caller:
        with pytest.raises((LOST, aiohttp.ClientPayloadError)):
            await caller.post(prompt="p")
        assert caller.emulator.creates["p"] == made
        assert len(caller.emulator.tasks) == made
        await caller.create(prompt="other")
        await caller.create(prompt="p")
        assert caller.emulator.creates["p"] == made + 1
        assert caller.emulator.strikes == {fault: 1}


async def test_half_an_answer_begins_well() -> None:
    async with calling(faults=Faults(half_answer=1)) as caller:
        url = caller.emulator.url + PATH
        async with caller.session.post(url, json=BODY) as response:
            assert response.status == 200
            size = response.content_length
            assert size
            began = await response.content.readexactly(size // 2)
            assert began.startswith(b'{"code":0,"msg":"ok"')
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_an_error_page_after_the_create() -> None:
    async with calling(faults=Faults(error_after_create=1)) as caller:
        status, content_type, body = await raw_post(caller)
        assert (status, content_type) == (502, "text/html")
        assert b"<html>" in body
        assert caller.emulator.creates.total() == 1
        assert (await raw_post(caller))[0] == 200


async def test_garbage_after_the_create() -> None:
    async with calling(faults=Faults(garbage_after_create=1)) as caller:
        status, _, body = await raw_post(caller)
        assert status == 200
        with pytest.raises(UnicodeDecodeError):
            body.decode()
        assert caller.emulator.creates.total() == 1


async def test_silence_after_the_create() -> None:
    async with calling(faults=Faults(silent_after_create=1)) as caller:
        posting = asyncio.ensure_future(caller.post())
        await until(lambda: caller.emulator.creates.total() == 1)
        assert await asyncio.wait({posting}, timeout=0.05) == (set(), {posting})
        posting.cancel()
        await asyncio.wait({posting})
        await caller.create()


async def test_a_prompt_loses_at_most_one_answer_unless_told_otherwise() -> None:
    faults = Faults(drop_before_create=1, error_after_create=1, garbage_after_create=1)
    async with calling(faults=faults) as caller:
        with pytest.raises(LOST):
            await caller.post()
        await caller.create()
        caller.emulator.faults.once = False
        with pytest.raises(LOST):
            await caller.post()
        assert caller.emulator.strikes == {"drop_before_create": 2}


async def test_status_queries_go_wrong_in_every_way() -> None:
    async with calling() as caller:
        (task_id,) = await caller.create()
        faults, url = caller.emulator.faults, f"{caller.emulator.url}{PATH}/{task_id}"
        faults.drop_polls = 1
        with pytest.raises(LOST):
            await caller.query(task_id)
        faults.drop_polls = 0
        for fault, status in (("poll_errors", 500), ("poll_html", 200)):
            setattr(faults, fault, lambda asked: asked == task_id)
            async with caller.session.get(url) as response:
                assert (response.status, response.content_type) == (status, "text/html")
            setattr(faults, fault, 0)
        faults.poll_unauthorized = {task_id}
        assert (await caller.query(task_id))[0] == 401
        faults.poll_unauthorized = ()
        assert (await caller.query(task_id))[0] == 200
        # aiohttp sends a GET again by itself when a kept-alive connection drops: 2, 1, 1, 1, 1.
        assert caller.emulator.polls == {task_id: 6}
        assert caller.emulator.strikes["drop_polls"] == 2


async def test_a_share_of_polls_is_drawn_anew_each_time() -> None:
    async with calling(faults=Faults(poll_unauthorized=0.5)) as caller:
        (task_id,) = await caller.create()
        statuses = [(await caller.query(task_id))[0] for _ in range(60)]
        assert 10 < statuses.count(401) < 50


async def test_a_new_task_is_not_found_for_a_while() -> None:
    async with calling(0, faults=Faults(not_found_for=0.05)) as caller:
        now = 1_000.0
        caller.emulator.clock = lambda: now
        (task_id,) = await caller.create()
        assert await caller.query(task_id) == (404, envelope(100003, "task not found"))
        now += 0.055
        assert (await caller.query(task_id))[0] == 200


async def test_an_unknown_status_stands_for_processing_only() -> None:
    async with calling(0.2, faults=Faults(unknown_status="POLISHING")) as caller:
        (task_id,) = await caller.create()
        await until(lambda: caller.emulator.tasks[task_id].status != "PENDING")
        assert (await caller.query(task_id))[1]["data"]["status"] == "POLISHING"
        assert (await caller.ended(task_id))["status"] == "SUCCEEDED"


async def test_an_upload_fails_once() -> None:
    async with calling(faults=Faults(upload_errors={"start.png"})) as caller:
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(PNG), filename="other.png")
        async with caller.session.post(caller.emulator.url + UPLOAD, data=form) as response:
            assert response.status == 200
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(PNG), filename="start.png")
        async with caller.session.post(caller.emulator.url + UPLOAD, data=form) as response:
            assert (response.status, response.content_type) == (500, "text/html")
        assert (await caller.upload(PNG))[0] == 200


@pytest.mark.parametrize(
    ("fault", "times", "book"),
    [
        ("drop", 0, {"dropped": 1}),
        ("twice", 2, {"delivered": 2}),
        ("delay", 1, {"delivered": 1}),
    ],
)
async def test_callbacks_go_astray(fault: Any, times: int, book: dict[str, int]) -> None:
    faults = Faults(callbacks=fault, callback_delay=0.05)
    async with listening() as (url, heard), calling(0, faults=faults) as caller:
        began = asyncio.get_running_loop().time()
        await caller.create(callback_url=url)
        await until(lambda: caller.emulator.callbacks == book)
        assert heard.qsize() == times
        if fault == "delay":
            assert asyncio.get_running_loop().time() - began >= 0.05


async def test_a_callback_that_finds_nobody_is_counted_and_not_repeated() -> None:
    async with listening() as (url, _), calling(0) as caller:
        await caller.create(callback_url=url.replace("/callback", "/nowhere"))
        with refusing() as nobody:
            await caller.create(callback_url=f"{nobody}/callback")
            await until(lambda: caller.emulator.callbacks.total() == 2)
        assert caller.emulator.callbacks == {"rejected": 1, "unreachable": 1}


async def test_a_dropped_create_still_calls_back() -> None:
    async with (
        listening() as (url, heard),
        calling(0, faults=Faults(drop_after_create=1)) as caller,
    ):
        with pytest.raises(LOST):
            await caller.post(callback_url=url)
        async with asyncio.timeout(60):
            body = await heard.get()
        assert [body["data"]["task_id"]] == list(caller.emulator.tasks)
