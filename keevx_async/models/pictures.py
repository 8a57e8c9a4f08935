"""Read a local image's size and orientation from its header; with Pillow, also decode the image.

Functions that accept a path block while they read the file.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Literal

from attrs import frozen

UPRIGHT, SIDEWAYS = 1, range(5, 9)
"""Values of the EXIF tag Orientation: upright, and rotated by 90 degrees, mirrored or not."""
_ORIENTATION = 0x0112
_MAX_REMEMBERED = 4096
_reading = tuple(Lock() for _ in range(64))
_PNG, _EXIF = b"\x89PNG\r\n\x1a\n", b"Exif\0\0"
# Start of frame: one of these JPEG segments contains the size (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@frozen
class Picture:
    """An image's properties.

    Attributes:
        width: the width in pixels, as stored.
        height: the height in pixels, as stored.
        orientation: the EXIF orientation, 1 to 8, by which viewers rotate the image; 1 is upright.
        flaw: why Pillow could not decode the image; None if Pillow could, or is not installed.
    """

    width: int
    height: int
    orientation: int = UPRIGHT
    flaw: str | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """The width and height as displayed, after the orientation is applied."""
        if self.orientation in SIDEWAYS:
            return self.height, self.width
        return self.width, self.height

    @property
    def ratio(self) -> float:
        """The ratio of width to height, as displayed."""
        width, height = self.shown
        return width / height


def look_at(path: Path) -> Picture | None:
    """Return a local image's properties; None if it cannot be read or its format is unknown.

    The known formats are those that Keevx accepts: JPEG, PNG, WebP, BMP and GIF. If Pillow is
    installed (the ``images`` extra), the whole image is decoded. An unchanged file is read only
    once.
    """
    try:
        status = os.stat(path)
        # If several threads need the same file at once, only the first one reads it.
        with _reading[hash(path) % len(_reading)]:
            return _look_at(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        return None


@lru_cache(_MAX_REMEMBERED)
def _look_at(path: Path, _modified: int, _size: int) -> Picture | None:
    with path.open("rb") as file:
        picture = read_header(file)
    if picture is None or find_spec("PIL") is None:
        return picture
    return Picture(picture.width, picture.height, picture.orientation, _flaw(path))


def _flaw(path: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            # A JPEG can be decoded at an eighth of its size; every byte is still read.
            image.draft(None, (image.width // 8, image.height // 8))
            image.load()
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise all sorts of errors
        return str(error) or type(error).__name__
    return None


def read_header(file: BinaryIO) -> Picture | None:
    """Read an image's size and orientation from its header, without decoding the image.

    Args:
        file: a seekable binary file.

    Returns:
        The properties, or None if the file is not an image in a known format or has no size.
    """
    head = file.read(32)
    size: tuple[int, int] | None = None
    orientation = UPRIGHT
    if len(head) < 30:  # no image is this short
        return None
    if head.startswith(_PNG):  # IHDR is first
        size = _big(head[16:20]), _big(head[20:24])
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = _little(head[6:8]), _little(head[8:10])
    elif head.startswith(b"BM") and _little(head[14:18]) >= 40:  # height < 0: top-down
        height = int.from_bytes(head[22:26], "little", signed=True)
        size = _little(head[18:22]), abs(height)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head.startswith(b"\xff\xd8\xff"):
        size, orientation = _jpeg(file)
    return Picture(*size, orientation) if size and min(size) > 0 else None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    """Read the size from the first chunk of a WebP (RFC 9649): lossy, lossless or extended."""
    match head[12:16]:
        case b"VP8 ":
            return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
        case b"VP8L":
            bits = _little(head[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(head[24:27]) + 1, _little(head[27:30]) + 1
        case _:
            return None


def _jpeg(file: BinaryIO) -> tuple[tuple[int, int] | None, int]:
    """Read a JPEG's segments up to the segment with its size, which follows any EXIF data."""
    orientation, offset = UPRIGHT, 2
    while True:
        file.seek(offset)
        segment = file.read(10)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None, orientation
        length = _big(segment[2:4])
        if segment[1] in _FRAMES:
            return (_big(segment[7:9]), _big(segment[5:7])), orientation
        if segment[1] == 0xE1 and segment[4:10] == _EXIF:
            orientation = _read_orientation(file.read(length - 8))
        offset += 2 + length if segment[1] != 0xFF else 1  # FF may be repeated as padding


def _read_orientation(tiff: bytes) -> int:
    """Return the orientation from the first directory of EXIF data (TIFF 6.0, section 2)."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        start = directory + 2 + 12 * entry
        if number(start, 2) == _ORIENTATION:
            value = number(start + 8, 2)
            return value if value in range(1, 9) else UPRIGHT
    return UPRIGHT
