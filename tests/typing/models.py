"""What each model takes, as the type checkers see it. Checked by mypy and pyright, never run.

A line that must be refused carries both checkers' ignores: each complains if it is not needed.
"""

from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, assert_type

import attrs

from keevx_async import MODELS, ImageToVideo, ModelRules

URL = "https://example.com/start.jpg"


class Free(TypedDict):
    prompt: str
    aspect_ratio: Literal["16:9", "9:16"]


class Most(Free):
    aspect_resolution: Literal["720p"]


class Square(TypedDict):
    prompt: str
    aspect_ratio: Literal["1:1"]
    aspect_resolution: Literal["720p"]


def good(**free: Unpack[Free]) -> None:
    v = ImageToVideo(model="V", aspect_resolution="4k", duration=6, image_url=URL, **free)
    assert_type(v, ImageToVideo)
    ImageToVideo(
        model="V",
        aspect_resolution="1080p",
        duration=4,
        image_url=Path("start.jpg"),
        end_image_url=URL,
        reference_images=[URL, Path("b.jpg")],
        generate_audio=True,
        generate_count=4,
        callback_url=URL,
        **free,
    )
    one, two = [URL], (Path("a.jpg"), Path("b.jpg"))
    ImageToVideo(model="V", aspect_resolution="720p", duration=8, reference_images=one, **free)
    ImageToVideo(model="KL", aspect_resolution="1080p", duration=10, reference_images=two, **free)
    ImageToVideo(model="KL", aspect_resolution="720p", duration=5, reference_images=one, **free)
    ImageToVideo(model="S", aspect_resolution="720p", duration=12, image_url=URL, **free)


def bad_durations(**most: Unpack[Most]) -> None:
    ImageToVideo(model="V", duration=5, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=4, reference_images=[URL], **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="KL", duration=8, reference_images=[URL], **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration=6, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration="4", image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def bad_resolutions(**free: Unpack[Free]) -> None:
    ImageToVideo(model="V", aspect_resolution="480p", duration=4, image_url=URL, **free)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="KL", aspect_resolution="4k", duration=5, reference_images=[URL], **free)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", aspect_resolution="1080p", duration=4, image_url=URL, **free)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def bad_images(**most: Unpack[Most]) -> None:
    ImageToVideo(model="V", duration=8, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ImageToVideo(model="V", duration=8, reference_images=[URL], end_image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=8, reference_images=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=8, image_url=b"", **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="KL", duration=5, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ImageToVideo(model="KL", duration=5, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="KL", duration=5, image_url=URL, reference_images=[URL], **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration=4, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ImageToVideo(model="S", duration=4, image_url=None, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration=4, image_url=URL, end_image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration=4, image_url=URL, reference_images=[URL], **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def bad_others(**most: Unpack[Most]) -> None:
    ImageToVideo(model="X", duration=4, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="S", duration=4, image_url=URL, generate_audio=True, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=4, image_url=URL, generate_count="2", **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=4, image_url=URL, seed=1, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ImageToVideo(model="V", duration=4, image_url=URL)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    square = Square(prompt="A kite", aspect_ratio="1:1", aspect_resolution="720p")
    ImageToVideo(model="S", duration=4, image_url=URL, **square)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def narrowed(start: str | None, seconds: Literal[4, 8], **most: Unpack[Most]) -> None:
    ImageToVideo(model="S", duration=seconds, image_url=URL, **most)
    for each in (4, 6, 8):
        ImageToVideo(model="V", duration=each, image_url=URL, **most)
    # Whatever start is, 8 seconds and a reference are right.
    ImageToVideo(model="V", duration=8, image_url=start, reference_images=[URL], **most)


def of_plain_types(model: str, seconds: int, row: dict[str, Any], **most: Unpack[Most]) -> None:
    """What a file or a form holds is not known before it runs; it comes in by a mapping."""
    ImageToVideo(model=model, duration=4, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ImageToVideo(model="V", duration=seconds, image_url=URL, **most)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert_type(ImageToVideo(**row), ImageToVideo)
    assert_type(ImageToVideo.from_dict(row), ImageToVideo)
    ImageToVideo.from_dict({"model": model, "duration": seconds, "image_url": URL, **most})
    MODELS["F"] = ModelRules(resolutions=("720p",), durations=(3,))
    ImageToVideo.from_dict({"model": "F", "duration": 3, "image_url": Path("a.jpg"), **most})


def copies(request: ImageToVideo) -> None:
    assert_type(attrs.evolve(request, duration=8), ImageToVideo)
    assert_type(request.model, str)
    assert_type(request.duration, int)
    assert_type(request.image_url, str | Path | None)
    assert_type(request.reference_images, tuple[str | Path, ...])
    assert_type(request.to_dict(), dict[str, Any])
