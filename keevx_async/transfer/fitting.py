"""Fit local images to a request: rotate, crop, pad, convert and shrink them.

Needs Pillow, and pillow-heif for HEIC; both are in the ``images`` extra. The original is never
changed; the new file is written to a folder that the caller chooses. Every function in this module
blocks: call it in a thread.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from ..errors import ConfigurationError, UploadError
from ..models.advice import differs
from ..models.pictures import UPRIGHT
from .images import MAX_UPLOAD, sniff
from .media_types import CONVERTIBLE, VIDEO

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["none", "crop", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)
QUALITY = 95
"""The JPEG quality of converted images. Higher values make no visible difference."""
SHRINK = 0.8
"""The factor by which an image's sides are repeatedly scaled until its file is small enough."""
MAX_PIXELS = 250_000_000
"""The maximum number of pixels in an image. A larger one would need a gigabyte of memory, and Keevx
makes at most 4K."""
_ORIENTATION = 0x0112


def check_fit(fit: object) -> Fit:
    """Return ``fit`` if it is a valid mode and its dependencies are installed.

    Raises:
        ConfigurationError: the mode is invalid, or Pillow is not installed.
    """
    if fit not in FITS:
        raise ConfigurationError(f"fit must be one of {', '.join(FITS)} (got {fit!r})")
    if fit != "none" and find_spec("PIL") is None:
        raise ConfigurationError(
            f"fit={fit!r} needs Pillow", hint="pip install 'keevx_async[images]'"
        )
    return fit


def fit_image(
    path: Path, fit: Fit, ratio: str | None, formats: Collection[str], folder: Path
) -> Path | None:
    """Write a fitted copy of an image and return its path, or None if no copy is needed.

    No copy is needed for a video, or for an image that has an accepted format and the requested
    ratio, is at most 20 MB, and is stored upright. The same image and arguments always produce the
    same bytes.

    Args:
        path: the image.
        fit: ``crop`` cuts off the excess width or height equally on both sides; ``pad`` adds black
            bars.
        ratio: the requested ratio, such as ``16:9``; None for any ratio.
        formats: the names of the formats that Keevx accepts for this image.
        folder: the folder to write the copy to. The copy has the original's name, with a suffix
            that matches its format.

    Raises:
        UploadError: the image cannot be read or decoded, has too many pixels, or is not an image.
    """
    media_type = sniff(path, (*formats, *CONVERTIBLE), limit=None)
    if media_type.media == VIDEO:
        return None
    from PIL import Image, ImageOps

    if media_type.name == "HEIC":
        _register_heif(path)
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise UploadError(
                    f"{path} is {opened.width} x {opened.height} pixels, more than "
                    f"{MAX_PIXELS:,}; make it smaller"
                )
            turned = opened.getexif().get(_ORIENTATION, UPRIGHT) != UPRIGHT
            upright = ImageOps.exif_transpose(opened) if turned else opened
            size = target_size(upright.size, fit, ratio)
            if (
                not turned
                and size == upright.size
                and media_type.name in formats
                and path.stat().st_size <= MAX_UPLOAD
            ):
                return None
            image = _drawable(upright)
            # A color profile stays valid only if the colors are not converted.
            profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA") else None
    except UploadError:
        raise
    except Exception as error:  # Pillow's decoders raise many types of errors
        raise UploadError(
            f"{path} cannot be decoded: {str(error) or type(error).__name__}"
        ) from error
    if size != image.size:
        image = (
            ImageOps.fit(image, size)
            if fit == "crop"
            else ImageOps.pad(image, size, color=(0,) * len(image.getbands()))
        )
    return _save(image, folder / path.stem, profile)


def target_size(size: tuple[int, int], fit: Fit, ratio: str | None) -> tuple[int, int]:
    """Return the size in pixels that an image should be cropped or padded to. Nothing is scaled.

    If the ratios differ only slightly (``advice.TOLERANCE``), the size is returned unchanged.
    """
    if ratio is None:
        return size
    across, down = map(int, ratio.split(":"))
    width, height = size
    if not differs(width / height, across / down):
        return size
    too_wide = width * down > height * across
    if too_wide == (fit == "crop"):  # keep the height and change the width
        return max(1, round(height * across / down)), height
    return width, max(1, round(width * down / across))


def _drawable(image: Image) -> Image:
    """Return an image as RGB, or as RGBA if any part of it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return image.convert("RGB")


def _save(image: Image, path: Path, profile: bytes | None) -> Path:
    """Save an image in at most 20 MB: as PNG if it has transparency, otherwise as JPEG.

    If the file is too large, the image is shrunk until the file is small enough.
    """
    suffix, options = (".png", {}) if image.mode == "RGBA" else (".jpg", {"quality": QUALITY})
    while True:
        data = io.BytesIO()
        image.save(data, "PNG" if suffix == ".png" else "JPEG", icc_profile=profile, **options)
        if data.tell() <= MAX_UPLOAD:
            break
        size = round(image.width * SHRINK), round(image.height * SHRINK)
        image = cast("Image", cast(Any, image).resize(size))  # its types need numpy
    made = path.with_name(path.name + suffix)
    made.write_bytes(data.getbuffer())
    return made


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import (
            register_heif_opener,  # pyright: ignore[reportUnknownVariableType] - of **kwargs
        )
    except ImportError:
        raise UploadError(
            f"{path} is a HEIC file, which needs pillow-heif",
            hint="pip install 'keevx_async[images]'",
        ) from None
    register_heif_opener()
