"""What this Keevx does not offer is refused before it is paid for; what is not known is not."""

from pathlib import Path
from typing import Any

import pytest
from aioresponses import aioresponses

from keevx_async import (
    APIError,
    AuthenticationError,
    InvalidRequest,
    Keevx,
    ResponseError,
    RetryPolicy,
)
from keevx_async.client.options import edition_values
from keevx_async.models.request import Request
from keevx_async.settings import CHINA, EDITIONS
from keevx_async.submission.availability import TTL, Availability
from keevx_async.testing import Emulator
from keevx_async.testing.vendor_rules import LANGUAGES
from tests.conftest import FakeClock
from tests.support.client import RETRY, a_request, keevx_of, speaking
from tests.support.family import a_translation, an_image

KL: dict[str, Any] = {
    "model": "KL",
    "duration": 5,
    "image_url": None,
    "reference_images": ["https://example.com/a.jpg"],
}


async def test_the_languages_are_asked_for_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    async with speaking() as (emulator, keevx):
        clock = FakeClock()
        monkeypatch.setattr(keevx._config.availability, "_clock", clock)
        for _ in range(3):
            assert await keevx.target_languages() == LANGUAGES
        clock.advance(TTL - 1)
        await keevx.target_languages()
        assert emulator.requests["GET /v1/video_translate/target_languages"] == 1
        clock.advance(1)
        await keevx.target_languages()
        assert emulator.requests["GET /v1/video_translate/target_languages"] == 2


async def test_an_unknown_language_is_refused_before_it_is_paid_for() -> None:
    async with speaking() as (emulator, keevx):
        await keevx.target_languages()
        with pytest.raises(InvalidRequest, match=r"'Klingon'.* not offered.*English, Chinese"):
            await keevx.submit(a_translation("Klingon"))
        fan = await keevx.generate_many([a_translation("Klingon"), a_translation(), an_image()])
        assert [outcome.ok for outcome in fan.outcomes] == [False, True, True]
        assert emulator.requests["POST /v1/video_translate"] == 1
        assert emulator.invalid == []


async def test_while_the_list_is_not_known_keevx_itself_decides() -> None:
    async with speaking() as (emulator, keevx):
        with pytest.raises(APIError, match=r"Klingon.* is not supported"):
            await keevx.submit(a_translation("Klingon"))
        assert emulator.requests["GET /v1/video_translate/target_languages"] == 0


async def test_what_the_journal_has_is_not_refused_later(tmp_path: Path) -> None:
    """It is paid: a language that is taken off the list must not cost it."""
    async with Emulator(0.02) as emulator:
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            before = await keevx.submit(a_translation(), key="k")
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            keevx._config.availability.remember("target_languages", ("Chinese",))
            assert (await keevx.submit(a_translation(), key="k")).task_ids == before.task_ids
            with pytest.raises(InvalidRequest):
                await keevx.submit(a_translation(), key="another")


async def test_a_wrong_key_is_said_to_be_one() -> None:
    async with speaking(api_key="another") as (_, keevx):
        with pytest.raises(AuthenticationError):
            await keevx.target_languages()


@pytest.mark.parametrize("data", [None, [], {}, ["English", ""], ["English", 5], "English"])
async def test_an_answer_without_languages_is_not_believed(
    mocked: aioresponses, data: object
) -> None:
    url = "https://keevx.example/v1/video_translate/target_languages"
    mocked.get(url, payload={"code": 0, "msg": "success", "data": data}, repeat=True)
    retry = RetryPolicy(attempts=2, first_delay=0)
    async with Keevx("k", base_url="https://keevx.example", retry=retry) as keevx:
        with pytest.raises(ResponseError, match="no languages"):
            await keevx.target_languages()
        assert keevx._config.availability.values("target_languages") is None


@pytest.mark.parametrize("url", [CHINA, f"{CHINA}/"])
async def test_the_china_edition_is_asked_for_the_models_it_lists_alone(
    mocked: aioresponses, url: str
) -> None:
    made = {"code": 0, "msg": "ok", "data": {"task_ids": ["i2v-1"]}}
    mocked.post(f"{CHINA}/v1/image_to_video", payload=made)
    async with Keevx("k", base_url=url, retry=RETRY) as keevx:
        for other in (a_request(), a_request(model="S", aspect_resolution="720p", duration=4)):
            with pytest.raises(InvalidRequest, match="not offered; choose from KL"):
                await keevx.submit(other)
        assert mocked.requests == {}, "nothing was sent"
        assert (await keevx.submit(a_request(**KL))).task_ids == ("i2v-1",)


def test_elsewhere_every_model_is_offered() -> None:
    assert edition_values("https://api.keevx.com") == {}
    assert edition_values(CHINA.upper()) == edition_values(CHINA) != {}, "a host's name has no case"
    requests: list[Request] = [a_request(), a_request(**KL), an_image(), a_translation()]
    for request in requests:
        Availability({}).check(request)


def test_an_edition_that_lists_more_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EDITIONS, CHINA, {"model": ("KL", "V")})
    Availability(edition_values(CHINA)).check(a_request())
    Availability(edition_values(CHINA)).check(an_image())
