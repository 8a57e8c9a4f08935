"""What a kind of job is, as data. Each kind's request holds its row; ``family`` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

SUFFIXES: Final[Mapping[str, str]] = {
    "video_url": ".mp4",
    "image_url": ".png",
    "caption_url": ".ass",
}
"""The fields of a task that lead to a file, the main one first, and how such a file's name ends
where its URL does not say. Captions: keevx-api.md, "Sister endpoints"."""

IMAGE_FORMATS: Final = ("JPEG", "PNG", "WebP")
"""What every kind that starts from images takes. Source: keevx-api.md, "Upload"."""
REFERENCE_FORMATS: Final = (*IMAGE_FORMATS, "BMP", "GIF")
"""What references of ``image_generate`` may be. Source: keevx-api.md, "Found later"."""
VIDEO_FORMATS: Final = ("MP4", "QuickTime", "WebM", "Matroska", "AVI")
"""Videos to translate. The vendor names MP4 and no list of formats, so common ones may pass."""


@frozen(kw_only=True)
class Kind:
    """One endpoint of the family.

    Attributes:
        name: what the vendor calls it; also the callback's ``task_type``.
        path: create by POST here, query by GET on ``path/{task_id}``.
        prefix: how its task ids begin.
        results: which fields of ``SUFFIXES`` its tasks have.
        longest: seconds that the vendor says, or its suggested polls say, it may take.
        formats: names of the formats of local files that its sources may be (``media_types``).
        codes: error codes that it has for itself, and those of the family that mean the same.
    """

    name: str
    path: str
    prefix: str
    results: tuple[str, ...]
    max_seconds: float
    formats: tuple[str, ...] = IMAGE_FORMATS
    codes: Mapping[int, int] = field(factory=dict[int, int], hash=False)
