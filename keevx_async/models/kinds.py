"""The kinds of job, as data.

Each request class stores its kind in ``Request.kind``; ``registry`` lists the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

SUFFIXES: Final[Mapping[str, str]] = {
    "video_url": ".mp4",
    "image_url": ".png",
    "caption_url": ".ass",
}
"""The task fields that contain a file's URL, the main field first, each with the file suffix to use
if the URL has no suffix. Captions: keevx-api.md, "Sister endpoints"."""

IMAGE_FORMATS: Final = ("JPEG", "PNG", "WebP")
"""The formats that every kind with image sources accepts. Source: keevx-api.md, "Upload"."""
REFERENCE_FORMATS: Final = (*IMAGE_FORMATS, "BMP", "GIF")
"""The formats that ``image_generate`` accepts as references. Source: keevx-api.md, "Found
later"."""
VIDEO_FORMATS: Final = ("MP4", "QuickTime", "WebM", "Matroska", "AVI")
"""The formats of videos to translate. The vendor mentions MP4 and publishes no list, so common
formats are accepted."""


@frozen(kw_only=True)
class Kind:
    """One kind of job: its endpoint and its peculiarities.

    Attributes:
        name: the vendor's name; also the ``task_type`` of its callbacks.
        path: the path for creates (POST); a GET on ``path/{task_id}`` queries a task.
        prefix: the prefix of the kind's task ids.
        results: the fields in ``SUFFIXES`` that the kind's tasks have.
        max_seconds: the maximum duration of a task in seconds, according to the vendor's docs.
        formats: the file formats that sources may have (see ``transfer.media_types``).
        codes: the kind's own error codes, each mapped to the other kinds' equivalent code.
    """

    name: str
    path: str
    prefix: str
    results: tuple[str, ...]
    max_seconds: float
    formats: tuple[str, ...] = IMAGE_FORMATS
    codes: Mapping[int, int] = field(factory=dict[int, int], hash=False)
