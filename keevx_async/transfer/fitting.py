"""Make local images fit: turned upright, cropped or padded to a ratio, converted, made smaller.

Needs Pillow, and pillow-heif for HEIC: the extra ``images``. The original is never changed. What
is made is written to a folder of the caller's. Everything here blocks: call it in a thread.
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
"""Of a JPEG that is made; from here on a person sees no difference."""
SHRINK = 0.8
"""By what the sides of an image are multiplied until its file is small enough."""
MAX_PIXELS = 250_000_000
"""A larger image is refused: it would take a gigabyte of memory, and Keevx makes 4k at most."""
_ORIENTATION = 0x0112


def check_fit(fit: object) -> Fit:
    """Return ``fit`` if it is a valid mode and its dependencies are installed.

    Raises:
        ConfigurationError: it is not one, or Pillow is missing.
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
    """Write what is to be sent instead of an image; return None if the image fits as it is.

    It fits if its format is one of formats, it is 20 MB at most, is stored upright, and has the
    ratio. The same image and arguments make the same bytes.

    Args:
        path: the image.
        fit: ``crop`` cuts off what is too wide or too high, equally on both sides; ``pad`` adds
            black bars.
        ratio: such as ``16:9``; None for any.
        formats: names of the formats that Keevx takes for it.
        folder: where the file is written, under the original's name and the new type's suffix.

    Raises:
        UploadError: it cannot be read or decoded, is too large, or is not an image.
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
            # A profile of the colours holds as long as these are not converted.
            profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA") else None
    except UploadError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet
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
    """Return the size in pixels that an image is cropped or padded to; no pixel is made up.

    A ratio that hardly differs (``advice.TOLERANCE``) is left as it is.
    """
    if ratio is None:
        return size
    across, down = map(int, ratio.split(":"))
    width, height = size
    if not differs(width / height, across / down):
        return size
    too_wide = width * down > height * across
    if too_wide == (fit == "crop"):  # the height stays, the width is changed
        return max(1, round(height * across / down)), height
    return width, max(1, round(width * down / across))


def _drawable(image: Image) -> Image:
    """Return an image in RGB, or RGBA where something of it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return image.convert("RGB")


def _save(image: Image, path: Path, profile: bytes | None) -> Path:
    """Save an image as JPEG, or PNG where it is transparent, in 20 MB at most."""
    suffix, options = (".png", {}) if image.mode == "RGBA" else (".jpg", {"quality": QUALITY})
    while True:
        data = io.BytesIO()
        image.save(data, "PNG" if suffix == ".png" else "JPEG", icc_profile=profile, **options)
        if data.tell() <= MAX_UPLOAD:
            break
        size = round(image.width * SHRINK), round(image.height * SHRINK)
        image = cast("Image", cast(Any, image).resize(size))  # its types need numpy's
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
