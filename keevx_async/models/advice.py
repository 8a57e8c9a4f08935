"""Likely mistakes in valid requests: images and prompts that make the video look wrong.

Keevx accepts these requests and charges for them, so their mistakes are warnings, not errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from ..errors import Violation
from .pictures import UPRIGHT, Picture
from .rules import MODELS, SIDES

TOLERANCE = 0.02
"""The largest relative difference at which two ratios count as equal: both 1366 x 768 and
1920 x 1088 count as 16:9."""
FIXED_BY_FIT = frozenset({"orientation", "ratio", "ends"})
"""The warning rules that do not apply to a fitted image."""
_NARRATION = re.compile(r"""\bspeak\s*:?\s*["'“”„«]""", re.IGNORECASE)
_NAMED = tuple(Fraction(text) for text in ("16/9", "9/16", "4/3", "3/4", "3/2", "2/3", "1", "21/9"))


def image_advice(name: str, path: Path, picture: Picture) -> Iterator[Violation]:
    """Yield warnings about an image itself.

    1. Pillow cannot decode the image.
    2. Viewers rotate the image by its EXIF orientation, but Keevx may not.
    """
    if picture.flaw is not None:
        yield Violation(name, path, "damaged", f"{path} cannot be decoded: {picture.flaw}")
    if picture.orientation != UPRIGHT:
        width, height = picture.shown
        message = (
            f"{path} is stored rotated or mirrored (EXIF orientation {picture.orientation}): "
            f"viewers show it as {width} x {height}, but Keevx may use it as stored"
        )
        yield Violation(name, path, "orientation", message)


def frame_advice(
    name: str, path: Path, picture: Picture, ratio: str, resolution: str
) -> Iterator[Violation]:
    """Yield warnings about an image used as a video frame.

    1. The image's ratio differs from the video's.
    2. The image has fewer pixels than the video.

    Args:
        name: the field's name.
        path: the image's path.
        picture: the image's properties.
        ratio: the video's ratio, such as ``16:9``.
        resolution: the video's resolution; if it is not in ``SIDES``, pixels are not compared.
    """
    across, down = map(int, ratio.split(":"))
    if differs(picture.ratio, across / down):
        message = (
            f"{path} is {_ratio(picture)}, but aspect_ratio is {ratio}: the video may show it "
            "cropped or distorted"
        )
        yield Violation(name, path, "ratio", message)
    if resolution in SIDES:
        wide, narrow = SIDES[resolution]
        need = (wide, narrow) if across > down else (narrow, wide)
        width, height = picture.shown
        if width < need[0] or height < need[1]:
            message = (
                f"{path} is {width} x {height} pixels, fewer than the video's "
                f"{need[0]} x {need[1]}, so the video may be blurred"
            )
            yield Violation(name, path, "small", message)


def ends_advice(
    start_path: object, end_path: object, pictures: Mapping[Path, Picture]
) -> Iterator[Violation]:
    """Warn if the end frame's ratio differs from the start frame's; both must be local images.

    Source: the note on the vendor's create page.
    """
    start, end = (
        pictures.get(path) if isinstance(path, Path) else None for path in (start_path, end_path)
    )
    if start is not None and end is not None and differs(start.ratio, end.ratio):
        message = (
            f"{end_path} is {_ratio(end)}, but the start frame {start_path} is {_ratio(start)}: "
            "a mismatch lowers the video's quality"
        )
        yield Violation("end_image_url", end_path, "ends", message)


def narration_advice(prompt: str, model: str, audio: bool) -> Iterator[Violation]:
    """Warn if the prompt has narration but the video has no sound (keevx-api.md, "Narration")."""
    # Every create runs this check, so it first searches for a word that few prompts contain.
    if not audio and "speak" in prompt.lower() and _NARRATION.search(prompt):
        rules = MODELS.get(model)
        silent = rules is not None and not rules.audio
        fix = f"model {model} does not support it" if silent else "set generate_audio to true"
        message = f'asks for narration (Speak "…"), but the video has no sound: {fix}'
        yield Violation("prompt", prompt, "narration", message)


def differs(ratio: float, other: float) -> bool:
    """Return whether two ratios differ by more than ``TOLERANCE``."""
    return abs(ratio / other - 1) > TOLERANCE


def _ratio(picture: Picture) -> str:
    """Return an image's size in pixels, followed by a well-known ratio's name if one is close."""
    width, height = picture.shown
    named = next((each for each in _NAMED if not differs(width / height, float(each))), None)
    return f"{width} x {height}" + (
        f" ({named.numerator}:{named.denominator})" if named is not None else ""
    )
