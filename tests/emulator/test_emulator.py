"""The emulator's plain life: creates, status queries, uploads, callbacks, start and stop."""

import asyncio
import json
from typing import Any

import pytest

from keevx_async.testing import EmulatedTask, Faults
from keevx_async.testing.endpoints import KINDS
from tests.support.emulator import BODY, PATH, PNG, UPLOAD, calling, envelope, listening


async def test_a_create_makes_the_tasks_that_were_asked_for() -> None:
    async with calling() as caller:
        ids = await caller.create(generate_count=3)
        assert len(set(ids)) == 3
        assert all(len(id_) == 36 and id_.startswith("i2v-") for id_ in ids)
        assert list(caller.emulator.tasks) == ids
        assert caller.emulator.creates == {"a dog runs": 1}
        task = caller.emulator.tasks[ids[0]]
        assert (task.prompt, task.number) == ("a dog runs", 0)
        assert task.body == BODY | {"generate_count": 3}


async def test_ids_are_never_the_same_twice() -> None:
    async with calling() as first, calling() as second:
        assert await first.create() != await second.create()


def test_a_task_lives_by_the_clock() -> None:
    times = iter((0.0, 1.99, 2.0, 9.99, 10.0))
    task = EmulatedTask(
        task_id="i2v-0",
        kind=KINDS[0],
        prompt="p",
        number=0,
        raw=b"{}",
        created=0.0,
        ready_at=10.0,
        fails=False,
        clock=lambda: next(times),
    )
    lives = [task.status for _ in range(5)]
    assert lives == ["PENDING", "PENDING", "PROCESSING", "PROCESSING", "SUCCEEDED"]


async def test_a_task_succeeds_with_everything_the_page_promises() -> None:
    async with calling(0.2) as caller:
        (task_id,) = await caller.create()
        status, answer = await caller.query(task_id)
        assert (status, answer["code"]) == (200, 0)
        assert answer["data"]["status"] in {"PENDING", "PROCESSING"}
        assert answer["data"]["video_url"] == ""
        storage = caller.emulator.storage_url
        assert await caller.ended(task_id) == {
            "task_id": task_id,
            "status": "SUCCEEDED",
            "video_url": f"{storage}/videos/{task_id}/sample_0.mp4",
            "thumbnail_url": f"{storage}/thumbs/{task_id}.webp",
            "error_message": "",
            "duration": 6,
            "width": 1920,
            "height": 1080,
        }
        assert caller.emulator.polls == {task_id: 2}


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [("16:9", "720p", (1280, 720)), ("9:16", "720p", (720, 1280)), ("9:16", "4k", (2160, 3840))],
)
async def test_the_size_follows_ratio_and_resolution(
    ratio: str, resolution: str, size: tuple[int, int]
) -> None:
    async with calling(0) as caller:
        (task_id,) = await caller.create(aspect_ratio=ratio, aspect_resolution=resolution)
        data = await caller.ended(task_id)
        assert (data["width"], data["height"]) == size


@pytest.mark.parametrize("which", [{"bad"}, "bad", lambda prompt: prompt == "bad"])
async def test_the_prompts_told_to_fail_fail(which: Any) -> None:
    async with calling(0, fail_prompts=which) as caller:
        bad, good = [(await caller.create(prompt=prompt))[0] for prompt in ("bad", "ba")]
        data = await caller.ended(bad)
        assert (data["status"], data["video_url"]) == ("FAILED", "")
        assert data["error_message"]
        assert (await caller.ended(good))["status"] == "SUCCEEDED"


async def test_durations_spread_about_their_median_and_are_the_same_in_every_run() -> None:
    async def lasting(**settings: Any) -> list[float]:
        async with calling(100, **settings) as caller:
            for number in range(50):
                await caller.create(prompt=f"p{number}")
            tasks = caller.emulator.tasks.values()
            return sorted(round(task.ready_at - task.created, 6) for task in tasks)

    spread = await lasting(spread=0.5)
    assert 70 < spread[25] < 140
    assert spread[0] < 60
    assert spread[-1] > 160
    assert spread == await lasting(spread=0.5)
    assert spread != await lasting(spread=0.5, seed=1)
    assert set(await lasting()) == {100}


async def test_a_key_is_asked_for() -> None:
    async with calling(api_key="right") as caller:
        assert await caller.post() == (401, envelope(100002, "invalid token"))
        assert (await caller.query("i2v-0"))[0] == 401
        assert (await caller.upload(PNG))[0] == 401
        caller.session.headers["Authorization"] = "Bearer right"
        assert (await caller.post())[0] == 200
        caller.session.headers["Authorization"] = "right"
        assert (await caller.post())[0] == 401
        assert caller.emulator.refused == {"auth": 4}
        assert caller.emulator.creates.total() == 1
        assert "right" not in repr(caller.emulator)


async def test_any_key_will_do_when_none_is_set_but_not_an_empty_one() -> None:
    async with calling() as caller:
        await caller.create()
        caller.session.headers["Authorization"] = "Bearer "
        assert (await caller.post())[0] == 401


async def test_strangers_get_an_envelope() -> None:
    async with calling() as caller:
        assert await caller.query("i2v-unknown") == (404, envelope(100003, "task not found"))
        async with caller.session.get(caller.emulator.url + "/v2/else") as response:
            assert response.status == 404
            assert (await response.json())["code"] == 404
        assert caller.emulator.requests == {f"GET {PATH}": 1, "elsewhere": 1}


async def test_an_invalid_body_makes_no_task_and_is_remembered() -> None:
    async with calling() as caller:
        status, answer = await caller.post(prompt="")
        assert (status, answer["code"]) == (400, 100001)
        assert answer["msg"] == "Parameter error: prompt cannot be empty"
        assert caller.emulator.invalid == [(BODY | {"prompt": ""}, answer["msg"])]
        assert caller.emulator.refused == {"invalid": 1}
        assert not caller.emulator.creates
        assert not caller.emulator.tasks


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_object_is_invalid(raw: bytes) -> None:
    async with calling() as caller:
        url = caller.emulator.url + PATH
        async with caller.session.post(url, data=raw) as response:
            assert response.status == 400
            assert (await response.json())["code"] == 100001


async def test_unknown_fields_are_accepted_and_recorded_and_null_is_not_given() -> None:
    async with calling() as caller:
        await caller.create(surprise=1, generate_count=None)
        assert caller.emulator.unknown_fields == {"surprise": 1}


async def test_lone_surrogates_in_a_prompt_do_no_harm() -> None:
    async with calling(spread=0.5, faults=Faults(refuse=0.5)) as caller:
        raw = json.dumps(BODY | {"prompt": "\ud800"})
        async with caller.session.post(caller.emulator.url + PATH, data=raw) as response:
            assert response.status in {200, 500}


async def test_an_upload_is_kept_and_served_again() -> None:
    async with calling() as caller:
        status, answer = await caller.upload(PNG)
        assert (status, answer["code"], answer["success"]) == (200, 0, True)
        assert answer["message"] == {"global": "success"}
        result = answer["result"]
        kept = caller.emulator.uploads[result["url"]]
        assert (kept.name, kept.size, kept.content_type) == ("start.png", len(PNG), "image/png")
        assert (kept.file_id, kept.name) == (result["fileId"], result["fileName"])
        assert len(kept.digest) == 64
        async with caller.session.get(result["url"]) as response:
            assert await response.read() == PNG
            assert response.content_type == "image/png"
        assert caller.emulator.requests["POST upload"] == 1


@pytest.mark.parametrize(
    ("head", "size", "name", "status", "code"),
    [
        (b"GIF89a", 100, "file", 400, 100007),
        (b"", 0, "file", 400, 100007),
        (PNG, 100, "image", 400, 100001),
        (PNG, 20 * 2**20 + 1, "file", 413, 100004),
    ],
)
async def test_an_upload_of_the_wrong_kind_is_refused(
    head: bytes, size: int, name: str, status: int, code: int
) -> None:
    async with calling() as caller:
        answered, answer = await caller.upload(head.ljust(size, b"\0"), name)
        assert (answered, answer["code"], answer["success"]) == (status, code, False)
        assert not caller.emulator.uploads
        assert caller.emulator.refused == {"invalid": 1}


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xe0", b"RIFF\x10\0\0\0WEBPVP8 "])
async def test_jpeg_and_webp_are_images_too(head: bytes) -> None:
    async with calling() as caller:
        assert (await caller.upload(head))[0] == 200


async def test_an_upload_that_is_not_multipart_is_refused() -> None:
    async with calling() as caller:
        url = caller.emulator.url + UPLOAD
        async with caller.session.post(url, data=PNG) as response:
            assert response.status == 400
        broken = {"Content-Type": "multipart/form-data"}
        async with caller.session.post(url, data=PNG, headers=broken) as response:
            assert response.status == 400


async def test_each_task_that_ends_is_announced_once() -> None:
    async with listening() as (url, heard), calling(0.01) as caller:
        ids = await caller.create(callback_url=url, generate_count=2)
        async with asyncio.timeout(60):
            bodies = [await heard.get(), await heard.get()]
        data = await caller.ended(ids[0])
        first = next(body for body in bodies if body["data"]["task_id"] == ids[0])
        names = ("task_id", "status", "video_url", "thumbnail_url", "error_message")
        assert first == {
            "code": 0,
            "msg": "ok",
            "task_type": "image_to_video",
            "data": {name: data[name] for name in names},
        }
        await asyncio.sleep(0.02)
        assert heard.empty()
        assert caller.emulator.callbacks == {"delivered": 2}
