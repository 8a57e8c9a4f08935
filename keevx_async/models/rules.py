"""Each model's limits, as data for validation, the command line, the docs and the tests.

Source of every row: the vendor's create page, "Create Image to Video Task", "Detailed Model
Parameter Rules". KL's number of references comes from the China edition's page.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Literal, TypeAlias

from attrs import frozen

Model: TypeAlias = Literal["V", "KL", "S"]
"""The models known to this version, for annotations. ``MODELS`` may contain more models."""
AspectRatio: TypeAlias = Literal["16:9", "9:16"]
"""The aspect ratios of these models."""
Resolution: TypeAlias = Literal["720p", "1080p", "4k"]
"""The resolutions that at least one of these models supports."""

ASPECT_RATIOS = ("16:9", "9:16")
"""The values of ``aspect_ratio`` that every model accepts."""
SIDES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
"""The sides of each ``aspect_resolution`` in pixels, longer side first."""
MAX_PROMPT = 1000
"""The maximum number of characters in a prompt."""
MAX_COUNT = 4
"""The maximum number of videos in one request."""


@frozen(kw_only=True, cache_hash=True)
class ModelRules:
    """The limits of one model.

    Attributes:
        resolutions: accepted values of ``aspect_resolution``.
        durations: accepted durations in seconds; for references alone, see ``reference_durations``.
        start_frame: whether ``image_url`` is required, optional or unused.
        end_frame: whether ``end_image_url`` may accompany a start frame.
        max_references: the maximum number of ``reference_images``; 0 if they are unused. If the
            start frame is unused, references are required. If the start frame is optional, a start
            frame or references are required.
        reference_durations: accepted durations in seconds with references alone; None if they are
            the same as ``durations``.
        audio: whether ``generate_audio`` may be true.
        aspect_ratios: accepted values of ``aspect_ratio``.
        max_prompt: the maximum number of characters in ``prompt``.
        max_count: the maximum number of videos in one request.
        summary: the vendor's description.
    """

    resolutions: tuple[str, ...]
    durations: tuple[int, ...]
    start_frame: Literal["required", "optional", "unused"] = "optional"
    end_frame: bool = False
    max_references: int = 0
    reference_durations: tuple[int, ...] | None = None
    audio: bool = False
    aspect_ratios: tuple[str, ...] = ASPECT_RATIOS
    max_prompt: int = MAX_PROMPT
    max_count: int = MAX_COUNT
    summary: str = ""

    def durations_for(self, *, start_frame: bool) -> tuple[int, ...]:
        """Return the accepted durations in seconds, with a start frame or with references alone."""
        if start_frame or self.reference_durations is None:
            return self.durations
        return self.reference_durations


MODELS: MutableMapping[str, ModelRules] = {
    "V": ModelRules(
        resolutions=("720p", "1080p", "4k"),
        durations=(4, 6, 8),
        start_frame="optional",
        end_frame=True,
        max_references=3,
        reference_durations=(8,),
        audio=True,
        summary="single or multi image, audio, 4k",
    ),
    "KL": ModelRules(
        resolutions=("720p", "1080p"),
        durations=(5, 10),
        start_frame="unused",
        max_references=7,
        summary="multi-reference",
    ),
    "S": ModelRules(
        resolutions=("720p",),
        durations=(4, 8, 12),
        start_frame="required",
        summary="single start frame",
    ),
}
"""Each model's limits, by name. To use a model newer than this package, add a row for the model."""

IMAGE_VALUES: MutableMapping[str, tuple[str, ...]] = {
    "module": ("std", "pro"),
    "image_quality": ("1K", "2K", "4K"),
    "image_ratio": ("1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
}
"""The accepted values of some ``ImageGenerate`` fields. To use a value newer than this package, add
the value here.

Source: the vendor's skill pages, "image_generate".
"""
