"""What each model takes, as the type checkers see it. Checked by mypy and pyright, never run.

A line that must be refused carries both checkers' ignores: each complains if it is not needed.
"""

from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, assert_type

import attrs

from keevx_async import MODELS, ImageToVideo, ModelRules, Task

URL = "https://example.com/start.jpg"


class Common(TypedDict):
    prompt: str
    aspect_ratio: Literal["16:9", "9:16"]


class Row(Common):
    aspect_resolution: Literal["720p"]


class Square(TypedDict):
    prompt: str
    aspect_ratio: Literal["1:1"]
    aspect_resolution: Literal["720p"]


def good(task: Task, **common: Unpack[Common]) -> None:
    v = ImageToVideo.V(aspect_resolution="4k", duration=6, image_url=URL, **common)
    assert_type(v, ImageToVideo)
    ImageToVideo.V(
        aspect_resolution="1080p",
        duration=4,
        image_url=Path("start.jpg"),
        end_image_url=task,
        reference_images=[URL, Path("b.jpg"), task],
        generate_audio=True,
        generate_count=4,
        callback_url=URL,
        **common,
    )
    one, two = [URL], (Path("a.jpg"), Path("b.jpg"))
    ImageToVideo.V(aspect_resolution="720p", duration=8, reference_images=one, **common)
    ImageToVideo.KL(aspect_resolution="1080p", duration=10, reference_images=two, **common)
    ImageToVideo.KL(aspect_resolution="720p", duration=5, reference_images=one, **common)
    ImageToVideo.S(aspect_resolution="720p", duration=12, image_url=URL, **common)


def bad_durations(seconds: int, **row: Unpack[Row]) -> None:
    ImageToVideo.V(duration=5, image_url=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.V(duration=seconds, image_url=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.KL(duration=8, reference_images=[URL], **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.S(duration=6, image_url=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.S(duration="4", image_url=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def bad_resolutions(**common: Unpack[Common]) -> None:
    ImageToVideo.V(aspect_resolution="480p", duration=4, image_url=URL, **common)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.KL(aspect_resolution="4k", duration=5, reference_images=[URL], **common)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.S(aspect_resolution="1080p", duration=4, image_url=URL, **common)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def bad_images(**row: Unpack[Row]) -> None:
    ImageToVideo.V(duration=8, reference_images=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.V(duration=8, image_url=b"", **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.KL(duration=5, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.KL(duration=5, image_url=URL, reference_images=[URL], **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.S(duration=4, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.S(duration=4, image_url=None, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.S(duration=4, image_url=URL, end_image_url=URL, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.S(duration=4, image_url=URL, reference_images=[URL], **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def bad_others(**row: Unpack[Row]) -> None:
    ImageToVideo.X(duration=4, image_url=URL, **row)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    ImageToVideo.V("A kite", "16:9", "720p", 4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.V(model="V", duration=4, image_url=URL, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.KL(duration=5, reference_images=[URL], generate_audio=True, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.S(duration=4, image_url=URL, generate_audio=True, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo.V(duration=4, image_url=URL, generate_count=5, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo.V(duration=4, image_url=URL)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    square = Square(prompt="A kite", aspect_ratio="1:1", aspect_resolution="720p")
    ImageToVideo.S(duration=4, image_url=URL, **square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def narrowed(start: str | None, seconds: Literal[4, 8], **row: Unpack[Row]) -> None:
    ImageToVideo.S(duration=seconds, image_url=URL, **row)
    for each in (4, 6, 8):
        ImageToVideo.V(duration=each, image_url=URL, **row)
    ImageToVideo.V(duration=8, image_url=start, reference_images=[URL], **row)


def of_plain_types(model: str, resolution: str, seconds: int, row: dict[str, Any]) -> None:
    """The plain constructor takes what a bulk program holds: any str and any int."""
    made = ImageToVideo(
        model=model,
        prompt="A kite",
        aspect_ratio="16:9",
        aspect_resolution=resolution,
        duration=seconds,
        image_url=URL,
    )
    assert_type(made, ImageToVideo)
    assert_type(ImageToVideo(**row), ImageToVideo)
    assert_type(ImageToVideo.from_dict(row), ImageToVideo)
    MODELS["F"] = ModelRules(resolutions=("720p",), durations=(3,))


def bad_plain(**row: Unpack[Row]) -> None:
    ImageToVideo(model="V", duration="4", image_url=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo(model="V", duration=8, reference_images=URL, **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo(model="V", duration=8, image_url=b"", **row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageToVideo(model="V", duration=4, seed=1, **row)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo(model="V", duration=4, image_url=URL)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def copies(request: ImageToVideo) -> None:
    assert_type(attrs.evolve(request, duration=8), ImageToVideo)
    assert_type(request.model, str)
    assert_type(request.duration, int)
    assert_type(request.image_url, str | Path | None)
    assert_type(request.reference_images, tuple[str | Path, ...])
    assert_type(request.to_dict(), dict[str, Any])
