"""What a file is by its bytes, and whether all of it is there. Nothing here opens a file.

A file is called cut short only where its own structure says so. What does not follow its format
closely enough to tell is let through: Keevx looks at it before it makes anything.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

HEAD = 64
"""Bytes from the beginning of a file that tell its type."""
CHUNK = 256 * 1024
_LETTERS = frozenset(string.ascii_letters.encode())

Complete = Callable[[BinaryIO, int], bool]
"""Takes a file and its size; tells whether all of it is there. Reads little, and seeks freely."""


class MediaType(NamedTuple):
    """A format: what it is called by people, in a header, and at the end of a name.

    Attributes:
        name: as people know it.
        media_type: of the ``Content-Type`` header.
        suffixes: of names, the usual one first.
        magic: matches the first bytes.
        complete: tells whether all of a file is there.
    """

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    magic: re.Pattern[bytes]
    complete: Complete

    def file_name(self, stem: str, suffix: str) -> str:
        """Return a file's name, its suffix put right if it lies."""
        return stem + (suffix if suffix.lower() in self.suffixes else self.suffixes[0])


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _png(file: BinaryIO, size: int) -> bool:
    """Chunks of length, type, data and checksum follow each other; the last one is IEND."""
    if _at(file, 12, 4) != b"IHDR":
        return True  # it does not begin as a PNG does: nothing can be told
    place = 8
    while place + 8 <= size:
        head = _at(file, place, 8)
        if not _LETTERS.issuperset(head[4:]):
            return True  # not a chunk
        place += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return place <= size
    return False


def _jpeg(file: BinaryIO, size: int) -> bool:
    """Segments tell their length; after the first scan comes an end marker, FF D9."""
    place = 2
    if size < place + 4:
        return True  # not even a segment begins: nothing can be told
    while place + 4 <= size:
        mark, kind, *length = _at(file, place, 4)
        long = length[0] << 8 | length[1]
        if mark != 0xFF or kind in (0x00, 0xFF, 0xD8) or long < 2:
            return True  # not a segment: nothing can be told
        if kind == 0xD9:
            return True
        place += 2 + long
        if kind == 0xDA:
            return place <= size and _holds(file, place, b"\xff\xd9")
    return False


def _holds(file: BinaryIO, place: int, wanted: bytes) -> bool:
    """Tell whether wanted is found from place on."""
    file.seek(place)
    last = b""
    while piece := file.read(CHUNK):
        if wanted in last + piece:
            return True
        last = piece[1 - len(wanted) :]
    return False


def _riff(file: BinaryIO, size: int) -> bool:
    """Bytes 4 to 7 tell how many follow."""
    return 8 + int.from_bytes(_at(file, 4, 4), "little") <= size


def _bmp(file: BinaryIO, size: int) -> bool:
    """Bytes 2 to 5 tell the file's size."""
    return int.from_bytes(_at(file, 2, 4), "little") <= size


def _gif(file: BinaryIO, size: int) -> bool:
    """A semicolon ends it; some programs fill up with zeros."""
    return _at(file, max(0, size - CHUNK), CHUNK).rstrip(b"\0").endswith(b";")


_BOXES = frozenset(
    b"ftyp styp moov mdat moof mfra meta free skip wide uuid sidx ssix pdin prft pnot udta".split()
)
"""Those that stand at the top of a file."""


def _iso_media(file: BinaryIO, size: int) -> bool:
    """Boxes of size and type follow each other; what plays is in mdat, and moov describes it."""
    place, seen = 0, set[bytes]()
    while place + 8 <= size:
        head = _at(file, place, 16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in _BOXES:
            return True  # not a box: nothing can be told
        seen.add(kind)
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # the last one reaches to the end
            length = size - place
        if length < 8:
            return True  # not a box
        place += length
    return place <= size and seen >= {b"moov", b"mdat"}


def _unknown(file: BinaryIO, size: int) -> bool:
    """Nothing tells."""
    return True


def _type(name: str, media: str, suffixes: str, magic: bytes, complete: Complete) -> MediaType:
    return MediaType(name, media, tuple(suffixes.split()), re.compile(magic, re.DOTALL), complete)


_STILLS = rb"heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis|jxl |crx "
"""Brands of images in the boxes that videos come in."""
MEDIA_TYPES = (
    _type("JPEG", "image/jpeg", ".jpg .jpeg .jpe .jfif", rb"\xff\xd8\xff", _jpeg),
    _type("PNG", "image/png", ".png .apng", rb"\x89PNG\r\n\x1a\n", _png),
    _type("WebP", "image/webp", ".webp", rb"RIFF.{4}WEBP", _riff),
    _type("BMP", "image/bmp", ".bmp .dib", rb"BM.{4}\0\0\0\0", _bmp),
    _type("GIF", "image/gif", ".gif", rb"GIF8[79]a", _gif),
    _type("QuickTime", "video/quicktime", ".mov .qt", rb".{4}(ftypqt|moov|mdat|wide)", _iso_media),
    _type("MP4", "video/mp4", ".mp4 .m4v", rb".{4}ftyp(?!" + _STILLS + rb")", _iso_media),
    _type("WebM", "video/webm", ".webm", rb"\x1a\x45\xdf\xa3.{,40}webm", _unknown),
    _type("Matroska", "video/x-matroska", ".mkv", rb"\x1a\x45\xdf\xa3", _unknown),
    _type("AVI", "video/x-msvideo", ".avi", rb"RIFF.{4}AVI ", _riff),
)
"""Formats that some kind of job takes."""

_FOREIGN = (
    ("HEIC", rb".{4}ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)"),
    ("AVIF", rb".{4}ftyp(avif|avis)"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("TIFF", rb"II\*\0|MM\0\*"),
    ("PSD", rb"8BPS"),
    ("PDF", rb"%PDF-"),
    ("SVG", rb"(\xef\xbb\xbf)?\s*<svg"),
    ("HTML", rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html)"),
    ("XML", rb"(\xef\xbb\xbf)?\s*<\?xml"),
    ("ZIP", rb"PK\x03\x04"),
    ("Git LFS pointer", rb"version https://git-lfs"),
)
"""What people upload by mistake, so that it can be named to them."""
_FOREIGN_MAGIC = [(name, re.compile(magic, re.DOTALL)) for name, magic in _FOREIGN]


def media_type_of(head: bytes) -> MediaType | None:
    """Return the type of a file by its first bytes, if some kind of job takes it."""
    return next((one for one in MEDIA_TYPES if one.magic.match(head)), None)


def foreign_type_of(head: bytes) -> str | None:
    """Return what a file is called that no kind of job takes, if that can be told."""
    return next((name for name, magic in _FOREIGN_MAGIC if magic.match(head)), None)
