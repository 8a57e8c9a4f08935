"""What a kind of job is, as data.

Each kind's request class holds its row, ``Request.kind``; ``registry`` lists the classes.
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
"""The fields of a task that hold the URL of a file, the main one first, and the suffix of the
file's name where the URL has none. Captions: keevx-api.md, "Sister endpoints"."""

IMAGE_FORMATS: Final = ("JPEG", "PNG", "WebP")
"""Formats that every kind that starts from images accepts. Source: keevx-api.md, "Upload"."""
REFERENCE_FORMATS: Final = (*IMAGE_FORMATS, "BMP", "GIF")
"""Formats of the references of ``image_generate``. Source: keevx-api.md, "Found later"."""
VIDEO_FORMATS: Final = ("MP4", "QuickTime", "WebM", "Matroska", "AVI")
"""Formats of videos to translate. The vendor names MP4 and publishes no list, so common formats
are let through."""


@frozen(kw_only=True)
class Kind:
    """One kind of job: the endpoint, and what is particular to it.

    Attributes:
        name: the vendor's name; also the ``task_type`` of its callbacks.
        path: where a POST creates; a GET on ``path/{task_id}`` queries.
        prefix: how its task ids begin.
        results: the fields of ``SUFFIXES`` that its tasks have.
        max_seconds: how long a task may take, by the vendor's page or its suggested polling.
        formats: names of the file formats that its sources may have (``transfer.media_types``).
        codes: error codes of its own, each with the code of the other kinds that means the same.
    """

    name: str
    path: str
    prefix: str
    results: tuple[str, ...]
    max_seconds: float
    formats: tuple[str, ...] = IMAGE_FORMATS
    codes: Mapping[int, int] = field(factory=dict[int, int], hash=False)
