"""Requests of every kind."""

from typing import Any

from keevx_async import (
    ImageGenerate,
    VideoTranslate,
)
from keevx_async.models.request import Request
from tests.support.client import a_request

URL = "https://example.com/a.mp4"


def an_image(prompt: str = "a lighthouse", **changes: Any) -> ImageGenerate:
    return ImageGenerate(prompt=prompt, **changes)


def a_translation(language: str = "English", **changes: Any) -> VideoTranslate:
    return VideoTranslate(**{"target_languages": [language], "video_url": URL} | changes)


def one_of_each() -> list[Request]:
    return [a_request(), an_image(generate_count=8), a_translation(enable_caption=True)]
