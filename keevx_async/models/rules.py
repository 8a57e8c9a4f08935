"""What each model takes, as data. The validator, the CLI's table, the docs and the tests read it.

Source of every row: the vendor's create page, "Create Image to Video Task",
"Detailed Model Parameter Rules"; KL's count of references: the China edition's page.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Literal

from attrs import frozen

ASPECT_RATIOS = ("16:9", "9:16")
MAX_PROMPT = 1000
MAX_COUNT = 4


@frozen(kw_only=True, cache_hash=True)
class ModelRules:
    """The constraints of one model.

    Attributes:
        resolutions: values of ``aspect_resolution`` it takes.
        durations: seconds it takes, with a start frame if it knows one.
        start_frame: whether ``image_url`` is required, optional or unused.
        end_frame: whether ``end_image_url`` may accompany a start frame.
        max_references: most ``reference_images``; 0 where they are unused. Where the start
            frame is unused they are required; where it is optional, one of the two is.
        reference_durations: seconds it takes with references alone; None: as ``durations``.
        audio: whether ``generate_audio`` may be true.
        aspect_ratios: values of ``aspect_ratio`` it takes.
        max_prompt: most characters of ``prompt``.
        max_count: most videos for one request.
        summary: what the vendor says it is for.
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
        """Return the seconds it takes with a start frame, or with references alone."""
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
"""The rules of each model by its name; add a row when the vendor ships a model before we do."""

IMAGE_VALUES: MutableMapping[str, tuple[str, ...]] = {
    "module": ("std", "pro"),
    "image_quality": ("1K", "2K", "4K"),
    "image_ratio": ("1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
}
"""What fields of ``ImageGenerate`` take; add a value when the vendor ships one before we do.

Source: the vendor's skill pages, "image_generate".
"""
