"""Every kind of job, as the type checkers see it. Checked by mypy and pyright, never run.

A line that must be refused carries both checkers' ignores: each complains if it is not needed.
"""

from pathlib import Path
from typing import assert_type

from keevx_async import FanOut, ImageGenerate, ImageToVideo, Keevx, Submission, Task, VideoTranslate
from keevx_async.models.request import Request

URL = "https://example.com/a.mp4"


def images(task: Task) -> None:
    ImageGenerate(prompt="A kite", reference_images=[URL, Path("a.png"), task])
    ImageGenerate(prompt="A kite", module="pro", image_quality="4K", image_ratio="21:9")
    ImageGenerate(prompt="A kite", module=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageGenerate(prompt="A kite", reference_images=URL)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageGenerate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def translations(task: Task) -> None:
    one = VideoTranslate(target_languages=["English"], video_url=task)
    assert_type(one.video_url, str | Path)
    assert_type(one.target_languages, tuple[str, ...])
    many = VideoTranslate.for_languages(["English", "Chinese"], video_url=URL)
    assert_type(many, list[VideoTranslate])
    VideoTranslate(target_languages=["English"], video_url=Path("a.mp4"))
    VideoTranslate(target_languages=["English"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def animated(task: Task) -> ImageToVideo:
    return ImageToVideo(
        model="V",
        prompt="A kite",
        aspect_ratio="16:9",
        aspect_resolution="4k",
        duration=6,
        image_url=task,
        end_image_url=task,
        reference_images=[task, URL],
    )


async def verbs(keevx: Keevx, task: Task) -> None:
    image, dub = ImageGenerate(prompt="A kite"), VideoTranslate.for_languages("en", video_url=URL)
    assert_type(await keevx.submit(image), Submission[ImageGenerate])
    assert_type(await keevx.generate_many(dub), FanOut[VideoTranslate])
    mixed: list[Request] = [image, *dub, animated(task)]
    assert_type(await keevx.submit_many(mixed), FanOut[Request])
    assert_type(await keevx.target_languages(), tuple[str, ...])
    assert_type(await keevx.status("job-7", kind="image_generate"), Task)
    assert_type(await keevx.wait("job-7", kind="image_generate", timeout=60), Task)
    assert_type(task.image_url, str | None)
    assert_type(task.results, dict[str, str])
