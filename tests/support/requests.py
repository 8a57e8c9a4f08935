"""The shortest valid request."""

from typing import Any

from keevx_async import ImageToVideo

URL = "https://example.com/start.jpg"


LEAST = {
    "model": "V",
    "prompt": "A dog",
    "aspect_ratio": "16:9",
    "aspect_resolution": "720p",
    "duration": 4,
    "image_url": URL,
}


def make(**fields: Any) -> ImageToVideo:
    return ImageToVideo(**{**LEAST, **fields})
