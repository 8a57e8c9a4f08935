"""A prompt to an image, a video, two languages: a step's task is the next one's source."""

import json
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from keevx_async import (
    ImageGenerate,
    ImageToVideo,
    InvalidRequest,
    Journal,
    Keevx,
    Task,
    VideoTranslate,
)
from keevx_async.models.converters import ResultUrl
from keevx_async.models.request import canonical_body, encode_request
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, keevx_of

LANGUAGES = ("English", "Chinese")


async def film(keevx: Keevx, folder: Path) -> list[Path]:
    """The whole pipeline; each step goes by the journal."""
    image = await step(keevx, ImageGenerate(prompt="A lighthouse at dusk"), "image")
    animate = ImageToVideo(
        model="S",
        prompt="Waves roll in",
        aspect_ratio="9:16",
        aspect_resolution="720p",
        duration=4,
        image_url=image,
    )
    video = await step(keevx, animate, "video")
    dubs = VideoTranslate.for_languages(LANGUAGES, video_url=video, enable_caption=True)
    fan = await keevx.generate_many(
        dubs, download=folder / "{key}", key=lambda one: one.target_languages[0]
    )
    fan.raise_for_errors()
    return [path for outcome in fan.outcomes for path in outcome.paths]


async def step(keevx: Keevx, request: ImageGenerate | ImageToVideo, key: str) -> Task:
    return await keevx.wait((await keevx.submit(request, key=key)).task_ids[0])


async def test_a_film_is_made_from_a_prompt_and_a_second_run_pays_nothing(tmp_path: Path) -> None:
    faults = Faults(refuse=0.5, drop_polls=0.2, cut_downloads=1.0)
    async with Emulator(0.02, faults=faults) as emulator:
        for _ in range(2):
            async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
                files = await film(keevx, tmp_path)
            names = [path.name for path in files]
            assert names == ["English.mp4", "English.ass", "Chinese.mp4", "Chinese.ass"]
        assert len(emulator.creates) == 4
        assert set(emulator.creates.values()) == {1}
        assert len(emulator.tasks) == 4
        bodies = {task.kind.name: task.body for task in emulator.tasks.values()}
        assert bodies["image_to_video"]["image_url"].endswith("/image_0.png")
        assert bodies["video_translate"]["video_url"].endswith("/sample_0.mp4")


@pytest.mark.parametrize("steps", [1, 2])
async def test_it_goes_on_after_the_step_where_it_stopped(tmp_path: Path, steps: int) -> None:
    stopped: list[str] = []

    class Stop(Exception):
        pass

    async def stopping(keevx: Keevx) -> None:
        wait = keevx.wait

        async def waited(task_id: str) -> Task:
            stopped.append(task_id)
            if len(stopped) == steps:
                raise Stop
            return await wait(task_id)

        keevx.wait = waited  # type: ignore[method-assign, assignment]  # a crash in its place
        await film(keevx, tmp_path)

    async with Emulator(0.02) as emulator:
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            with pytest.raises(Stop):
                await stopping(keevx)
        assert len(emulator.creates) == steps
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            assert len(await film(keevx, tmp_path)) == 4
        assert set(emulator.creates.values()) == {1}
    async with Journal(tmp_path / "run.db") as journal:
        kinds = [entry.kind async for entry in journal.entries()]
        sources = [json.loads(entry.body) async for entry in journal.entries()]
    assert kinds == ["image_generate", "image_to_video", "video_translate", "video_translate"]
    assert sources[2]["video_url"] == sources[3]["video_url"]


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_renewed_url_makes_no_other_request(tmp_path: Path, keyed: bool) -> None:
    """Result URLs live for 7 days; the task of a later run has another."""

    def later(task: Task) -> Task:
        return attrs.evolve(task, image_url=f"{task.image_url}?signed=anew")

    async with Emulator(0.02) as emulator:
        made = []
        for renew in (attrs.evolve, later):
            async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
                image = renew(await step(keevx, ImageGenerate(prompt="A lighthouse"), "image"))
                for request in (animated(image_url=image), redrawn(image)):
                    key = request.kind.name if keyed else None
                    made.append((await keevx.submit(request, key=key)).task_ids)
        assert made[:2] == made[2:]
        assert set(emulator.creates.values()) == {1}
        sent = [task.body for task in emulator.tasks.values()]
        assert sent[1]["image_url"].endswith("/image_0.png"), "Keevx is told the URL"
        assert sent[2]["reference_images"][0].endswith("/image_0.png")


def animated(**source: Any) -> ImageToVideo:
    settings: dict[str, Any] = {"aspect_ratio": "9:16", "aspect_resolution": "720p", "duration": 4}
    return ImageToVideo(**{"model": "S", "prompt": "Waves roll in"} | settings | source)


def redrawn(image: Task) -> ImageGenerate:
    return ImageGenerate(prompt="At night", reference_images=[image, "https://example.com/b.png"])


def test_a_task_in_a_request_lasts_as_long_as_the_request() -> None:
    image = Task(task_id="i2is-1", status="SUCCEEDED", image_url="https://example.com/a.png")
    for request in (animated(image_url=image), redrawn(image)):
        again = pickle.loads(pickle.dumps(request))  # noqa: S301 - our own bytes
        changed = attrs.evolve(attrs.evolve(again, prompt="x"), prompt=request.prompt)
        assert canonical_body(request) == canonical_body(again) == canonical_body(changed)
        assert b'"task:i2is-1"' in canonical_body(request)
        assert "task:" not in json.dumps(request.to_dict())
        assert b"task:" not in encode_request(request)
        assert type(request).from_dict(request.to_dict()) == request
    plain = animated(image_url=image.image_url)
    assert (
        canonical_body(plain) == encode_request(plain) == encode_request(animated(image_url=image))
    )


def a_result_url() -> ResultUrl:
    """The URL of an image as a request holds it, which knows its task."""
    image = Task(task_id="i2is-1", status="SUCCEEDED", image_url="https://example.com/a.png")
    url = animated(image_url=image).image_url
    assert isinstance(url, ResultUrl)
    return url


@pytest.mark.parametrize("field", ["prompt", "callback_url"])
def test_a_result_that_is_not_a_source_is_its_url(field: str) -> None:
    source = {"image_url": "https://example.com/b.png"}
    by_result = animated(**source | {field: a_result_url()})
    by_text = animated(**source | {field: "https://example.com/a.png"})
    assert type(getattr(by_result, field)) is str
    assert encode_request(by_result) == encode_request(by_text)
    assert canonical_body(by_result) == canonical_body(by_text)
    assert json.loads(encode_request(by_result))[field] == "https://example.com/a.png"


@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
def test_a_result_in_a_source_is_still_known_by_its_task(field: str) -> None:
    request = a_request(**{field: a_result_url()})
    assert json.loads(canonical_body(request))[field] == "task:i2is-1"
    assert json.loads(encode_request(request))[field] == "https://example.com/a.png"


async def test_keevx_gets_the_url_of_a_result_that_is_not_a_source() -> None:
    url = a_result_url()
    async with Emulator(0.02) as emulator, keevx_of(emulator) as keevx:
        (task_id,) = (await keevx.submit(a_request(url, callback_url=url))).task_ids
        body = emulator.tasks[task_id].body
        assert body["prompt"] == body["callback_url"] == "https://example.com/a.png"


@pytest.mark.parametrize("named", ["task:i2is-1", "TASK:i2is-1"])
def test_no_stranger_s_data_names_a_task(named: str) -> None:
    data = {**animated(image_url="https://example.com/a.png").to_dict(), "image_url": named}
    with pytest.raises(InvalidRequest, match="must be an absolute http"):
        ImageToVideo.from_dict(data)
    with pytest.raises(InvalidRequest, match="must be an absolute http"):
        VideoTranslate.from_dict({"target_languages": ["English"], "video_url": named})
