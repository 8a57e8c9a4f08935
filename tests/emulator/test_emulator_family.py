"""The emulator's image_generate and video_translate: what they take, answer and serve."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from hypothesis import given

from keevx_async.models.request import encode_request
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.vendor_rules import LANGUAGES, image_generate, video_translate
from tests.support.family_rules import PAGES, URL, filled

RULES = {"image_generate": image_generate, "video_translate": video_translate}
IMAGE = {"prompt": "A lighthouse"}
TRANSLATE: Mapping[str, Any] = {"target_languages": ["English"], "video_url": URL}
HEADERS = {"Authorization": "Bearer test-key"}


@given(filled(bad=False))
def test_what_our_requests_say_is_taken(given: tuple[str, dict[str, Any], set[str]]) -> None:
    kind, fields, _ = given
    request = PAGES[kind].make(**fields)
    sent = request.with_urls(dict.fromkeys(request.local_files(), URL))
    body = json.loads(encode_request(sent))
    assert RULES[kind](body) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "prompt"),
        (IMAGE | {"prompt": "x" * 1001}, "prompt"),
        (IMAGE | {"generate_count": 9}, "generate_count"),
        (IMAGE | {"module": "max"}, "module"),
        (IMAGE | {"image_quality": "8K"}, "image_quality"),
        (IMAGE | {"image_ratio": "1:2"}, "image_ratio"),
        (IMAGE | {"reference_images": [URL] * 6}, "at most 5"),
        (IMAGE | {"reference_images": ["a.png"]}, "list of URLs"),
        (IMAGE | {"callback_url": "a"}, "callback_url"),
    ],
)
def test_an_image_that_the_page_does_not_take(body: dict[str, Any], said: str) -> None:
    broken = image_generate(body)
    assert broken is not None
    assert broken[0] == 100002, "its own code: the vendor's page"
    assert said in broken[1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"target_languages": ["English"]}, "video_url"),
        ({"video_url": URL}, "target_languages"),
        ({**TRANSLATE, "target_languages": ["English", "German"]}, "one language"),
        ({**TRANSLATE, "target_languages": "English"}, "one language"),
        ({**TRANSLATE, "target_languages": ["Klingon"]}, "Klingon"),
        ({**TRANSLATE, "speaker_num": -1}, "speaker_num"),
        ({**TRANSLATE, "enable_caption": 1}, "enable_caption"),
        ({**TRANSLATE, "name": "x" * 100}, "name"),
        ({**TRANSLATE, "video_url": "a.mp4"}, "video_url"),
    ],
)
def test_a_translation_that_the_page_does_not_take(body: dict[str, Any], said: str) -> None:
    broken = video_translate(body)
    assert broken is not None
    assert said in broken[1]


async def ended(emulator: Emulator, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    seen: list[str] = []
    while True:
        async with session.get(emulator.url + path, headers=HEADERS) as answer:
            data = (await answer.json())["data"]
        seen.append(data["status"])
        if seen[-1] in ("SUCCEEDED", "FAILED"):
            return {**data, "seen": set(seen[:-1])}


async def test_an_images_life(emulator: Emulator) -> None:
    async with aiohttp.ClientSession() as session:
        create = emulator.url + "/v1/image_generate"
        body = IMAGE | {"generate_count": 8}
        async with session.post(create, json=body, headers=HEADERS) as answer:
            ids = (await answer.json())["data"]["task_ids"]
        assert len(ids) == 8
        assert emulator.creates == {"A lighthouse": 1}
        data = await ended(emulator, session, f"/v1/image_generate/{ids[0]}")
        assert data["seen"] <= {"GENERATING"}
        assert data.keys() - {"seen"} == {
            *("task_id", "status", "image_url", "thumbnail_url", "error_message")
        }
        async with session.get(data["image_url"]) as answer:
            assert answer.status == 200
            assert (await answer.read()).startswith(b"\x89PNG")
        async with session.get(data["image_url"].replace("images", "videos")) as answer:
            assert answer.status == 404, "an image's task has no video"


@pytest.mark.parametrize("captions", [True, False])
async def test_a_translations_life(emulator: Emulator, captions: bool) -> None:
    async with aiohttp.ClientSession() as session:
        create = emulator.url + "/v1/video_translate"
        body = {**TRANSLATE, "enable_caption": captions, "name": "demo"}
        async with session.post(create, json=body, headers=HEADERS) as answer:
            ((made),) = (await answer.json())["data"]
        assert made.keys() == {"task_id", "language"}
        assert made["task_id"].startswith("vt-")
        assert emulator.creates == {f"{URL} in English": 1}
        data = await ended(emulator, session, f"/v1/video_translate/{made['task_id']}")
        assert (data["name"], data["language"]) == ("demo", "English")
        assert bool(data["caption_url"]) is captions
        if captions:
            async with session.get(data["caption_url"]) as answer:
                assert (await answer.text()).startswith("[Script Info]")


async def test_the_languages_are_listed_to_those_with_a_key(emulator: Emulator) -> None:
    url = emulator.url + "/v1/video_translate/target_languages"
    async with aiohttp.ClientSession() as session:
        async with session.get(url, headers=HEADERS) as answer:
            said = await answer.json()
        assert said == {"code": 0, "msg": "success", "data": list(LANGUAGES)}
        async with session.get(url) as answer:
            assert answer.status == 401
    assert emulator.requests["GET /v1/video_translate/target_languages"] == 2


async def test_faults_strike_all_kinds() -> None:
    faults = Faults(refuse=1.0)
    async with Emulator(0.01, faults=faults) as emulator, aiohttp.ClientSession() as session:
        for path, body in (("image_generate", IMAGE), ("video_translate", TRANSLATE)):
            url = f"{emulator.url}/v1/{path}"
            async with session.post(url, json=body, headers=HEADERS) as answer:
                assert answer.status == 500
            async with session.post(url, json=body, headers=HEADERS) as answer:
                assert answer.status == 200
    assert emulator.strikes == {"refuse": 2}
