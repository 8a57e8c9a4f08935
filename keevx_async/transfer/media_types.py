"""Identify file formats by their bytes, and detect truncated files. Nothing here opens a file.

Uploads and downloads share one table, ``FORMATS``, but handle doubtful files differently. An upload
is rejected as truncated only if the file's structure proves it. If the structure is inconclusive,
the file is accepted, because Keevx checks it before making anything. A download counts as a result
only if its first bytes identify it as one, because hosts send web pages and error documents with
any Content-Type.
"""

from __future__ import annotations

import codecs
import re
import string
from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

HEAD: Final = 4096
"""The number of bytes at the start of a file that are enough to identify it."""
CHUNK: Final = 256 * 1024
"""The number of bytes read at a time when searching for an end marker."""
VIDEO, IMAGE, CAPTION = "video", "image", "caption"
DESCRIPTIONS: Final = {VIDEO: "a video", IMAGE: "an image", CAPTION: "captions"}
_LETTERS = frozenset(string.ascii_letters.encode())
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Matcher = Callable[[bytes], object]
"""Takes the first ``HEAD`` bytes of a file; returns a true value if they match the format."""
IsComplete = Callable[[BinaryIO, int], bool]
"""Takes a seekable file and its size in bytes; returns whether the file is complete."""


class MediaType(NamedTuple):
    """A file format.

    Attributes:
        name: the common name, such as ``JPEG``.
        media: ``video``, ``image`` or ``caption``; None for a format that results never have.
        matches: returns whether a file's first bytes match this format.
        content_type: the ``Content-Type`` of an upload; empty if no kind of job accepts the format.
        suffixes: the usual file name suffixes, in lower case, most common first; empty if
            ``content_type`` is empty.
        is_complete: returns whether a file is complete.
    """

    name: str
    media: str | None
    matches: Matcher
    content_type: str
    suffixes: tuple[str, ...]
    is_complete: IsComplete

    def file_name(self, stem: str, suffix: str) -> str:
        """Return ``stem`` with ``suffix``, or with the usual suffix if ``suffix`` is not valid."""
        return stem + (suffix if suffix.lower() in self.suffixes else self.suffixes[0])


def identify(head: bytes) -> MediaType | None:
    """Identify a file's format by its first bytes; return None if no row of ``FORMATS`` matches.

    Text is decoded as UTF-16 if it starts with a UTF-16 byte order mark. Otherwise, it may be in
    UTF-8 or any other encoding that extends ASCII. Any bytes are accepted; an empty file has no
    format.

    Args:
        head: the first ``HEAD`` bytes, or the whole file if it is shorter.
    """
    return next((row for row in FORMATS if row.matches(head)), None)


def check_type(declared: str, expected: str | None) -> str | None:
    """Return an error message if a result cannot have this Content-Type, otherwise None.

    Args:
        declared: the Content-Type header; empty if missing.
        expected: ``video``, ``image`` or ``caption``; None for any of them.
    """
    # 1. Pages, JSON and XML are never results.
    # 2. Other text may be captions, but never a video or an image.
    # 3. Anything else is accepted, because hosts declare videos with any type: the first bytes
    #    decide.
    kind = declared.partition(";")[0].strip().lower()
    is_document = kind.endswith(("html", "json", "/xml", "+xml"))
    if is_document or (kind.startswith("text/") and expected in (VIDEO, IMAGE)):
        return f"the host returned {kind[:80]} instead of {_description(expected)}"
    return None


def check_content(head: bytes, declared: str, expected: str | None) -> str | None:
    """Return an error message if a download is not the expected type of media, otherwise None.

    The file's first bytes must match an expected format, and ``check_type`` must accept the
    declared type for that format.

    Args:
        head: the file's first ``HEAD`` bytes, or the whole file if it is shorter.
        declared: the file's Content-Type; empty if missing.
        expected: ``video``, ``image`` or ``caption``; None for any of them.
    """
    if not head:
        return "the file is empty"
    media_type = identify(head)
    media = media_type.media if media_type is not None else None
    if media is None or expected not in (None, media):
        return f"its first bytes are not those of {_description(expected)}"
    return check_type(declared, media)


def _description(expected: str | None) -> str:
    return DESCRIPTIONS.get(expected or "", "a video, an image or captions")


def _binary(pattern: bytes) -> Matcher:
    return re.compile(pattern, re.DOTALL).match


def _text(pattern: str) -> Matcher:
    """Return a matcher for text.

    The text may have any encoding that ``identify`` accepts. Leading whitespace is ignored.
    """
    expression = re.compile(pattern, re.IGNORECASE)

    def matches(head: bytes) -> object:
        encoding = "utf-16" if head.startswith(_UTF_16) else "utf-8-sig"
        return expression.match(head.decode(encoding, "replace").lstrip())

    return matches


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _png(file: BinaryIO, size: int) -> bool:
    """Follow the chunks (length, type, data, checksum) to the last chunk, IEND."""
    if _read_at(file, 12, 4) != b"IHDR":
        return True  # it does not start like a PNG: cannot be judged
    offset = 8
    while offset + 8 <= size:
        head = _read_at(file, offset, 8)
        if not _LETTERS.issuperset(head[4:]):
            return True  # not a chunk: cannot be judged
        offset += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return offset <= size
    return False


def _jpeg(file: BinaryIO, size: int) -> bool:
    """Follow the segments to the first scan; an end marker (FF D9) must come after it."""
    offset = 2
    if size < offset + 4:
        return True  # too short for a segment: cannot be judged
    while offset + 4 <= size:
        mark, kind, *length = _read_at(file, offset, 4)
        segment = length[0] << 8 | length[1]
        if mark != 0xFF or kind in (0x00, 0xFF, 0xD8) or segment < 2:
            return True  # not a segment: cannot be judged
        if kind == 0xD9:
            return True
        offset += 2 + segment
        if kind == 0xDA:
            break
    else:
        return False
    file.seek(offset)
    tail = b""  # the marker may be split across two chunks
    while chunk := file.read(CHUNK):
        if b"\xff\xd9" in tail + chunk:
            return True
        tail = chunk[-1:]
    return False


def _riff(file: BinaryIO, size: int) -> bool:
    """Compare the size with bytes 4 to 7, which contain the number of bytes that follow."""
    return 8 + int.from_bytes(_read_at(file, 4, 4), "little") <= size


def _bmp(file: BinaryIO, size: int) -> bool:
    """Compare the size with bytes 2 to 5, which contain the file's size."""
    return int.from_bytes(_read_at(file, 2, 4), "little") <= size


def _gif(file: BinaryIO, size: int) -> bool:
    """Look for the final semicolon; some programs pad the file with zeros after it."""
    return _read_at(file, max(0, size - CHUNK), CHUNK).rstrip(b"\0").endswith(b";")


def _iso_media(file: BinaryIO, size: int) -> bool:
    """Follow the boxes to the end. Both mdat (the frames) and moov (their positions) are needed."""
    offset, seen = 0, set[bytes]()
    while offset + 8 <= size:
        head = _read_at(file, offset, 16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in _TOP_LEVEL_BOXES:
            return True  # not a box: cannot be judged
        seen.add(kind)
        if length == 1:  # the length follows, in eight bytes
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # the last box reaches to the end
            length = size - offset
        if length < 8:
            return True  # not a box: cannot be judged
        offset += length
    return offset <= size and seen >= {b"moov", b"mdat"}


def _unverifiable(file: BinaryIO, size: int) -> bool:
    """Accept any file: the format's structure does not show where a file ends."""
    return True


# ISO/IEC 14496-12, 4.2: a box is a length, a type and data. An MP4 starts with `ftyp` and a brand,
# its fragments with `styp`, `moof`, `sidx` or `emsg`; an older QuickTime file may start with almost
# any box. HEIC, AVIF and some camera files also consist of boxes, and differ by their brand.
_TOP_LEVEL_BOXES = frozenset(
    b"ftyp styp moov mdat moof mfra meta free skip wide uuid sidx ssix pdin prft pnot udta".split()
)
_HEIC = rb"(?:heic|heix|heif|heim|heis|hevc|hevx|mif1|msf1)"
_AVIF = rb"(?:avif|avis)"
_OTHER_STILLS = rb"(?:jxl |crx )"
_STILLS = rb"(?:" + rb"|".join((_HEIC, _AVIF, _OTHER_STILLS)) + rb")"


def _taken(
    name: str, content_type: str, suffixes: str, matches: Matcher, is_complete: IsComplete
) -> MediaType:
    media = content_type.partition("/")[0]
    return MediaType(name, media, matches, content_type, tuple(suffixes.split()), is_complete)


def _other(name: str, media: str | None, matches: Matcher) -> MediaType:
    return MediaType(name, media, matches, "", (), _unverifiable)


FORMATS: Final = (
    # Formats that some kind of job accepts as a source. A result may have any of them, too.
    _taken("JPEG", "image/jpeg", ".jpg .jpeg .jpe .jfif", _binary(rb"\xff\xd8\xff"), _jpeg),
    _taken("PNG", "image/png", ".png .apng", _binary(rb"\x89PNG\r\n\x1a\n"), _png),
    _taken("WebP", "image/webp", ".webp", _binary(rb"RIFF.{4}WEBP"), _riff),
    # The reserved fields are compared as well: a text may start with "BM".
    _taken("BMP", "image/bmp", ".bmp .dib", _binary(rb"BM.{4}\0\0\0\0"), _bmp),
    _taken("GIF", "image/gif", ".gif", _binary(rb"GIF8[79]a"), _gif),
    _taken(
        "QuickTime",
        "video/quicktime",
        ".mov .qt",
        _binary(rb".{4}(?:ftypqt|moov|mdat|wide|free|skip|pnot)"),
        _iso_media,
    ),
    _taken(
        "MP4",
        "video/mp4",
        ".mp4 .m4v",
        _binary(rb".{4}(?:ftyp(?!" + _STILLS + rb")|styp|moof|sidx|emsg)"),
        _iso_media,
    ),
    _taken("WebM", "video/webm", ".webm", _binary(rb"\x1a\x45\xdf\xa3.{,40}webm"), _unverifiable),
    _taken("Matroska", "video/x-matroska", ".mkv", _binary(rb"\x1a\x45\xdf\xa3"), _unverifiable),
    _taken("AVI", "video/x-msvideo", ".avi", _binary(rb"RIFF.{4}AVI "), _riff),
    # Formats that only results may have.
    _other("MPEG", VIDEO, _binary(rb"\x00\x00\x01[\xba\xb3]|\x47.{187}\x47")),  # program, transport
    _other("HEIC", IMAGE, _binary(rb".{4}ftyp" + _HEIC)),
    _other("AVIF", IMAGE, _binary(rb".{4}ftyp" + _AVIF)),
    _other("WebVTT", CAPTION, _text("WEBVTT")),
    _other(  # comments may precede the first section
        "ASS",
        CAPTION,
        _text(r"(?:(?:;|!:).*\n\s*)*\[(?:Script Info|V4\+? Styles|Events|Fonts|Graphics)\]"),
    ),
    _other("SRT", CAPTION, _text(r"(?:\d+[ \t]*\r?\n\s*)?\d+:\d\d:\d\d[,.]\d{1,3}[ \t]*-->")),
    # Files that people upload by mistake, or that hosts return instead of a result. They are
    # listed so that errors can name them.
    _other("JPEG XL", None, _binary(rb"\xff\x0a|\0\0\0\x0cJXL |.{4}ftypjxl ")),
    _other("TIFF", None, _binary(rb"II\*\0|MM\0\*")),
    _other("PSD", None, _binary(rb"8BPS")),
    _other("PDF", None, _binary(rb"%PDF-")),
    _other("SVG", None, _text("<svg")),
    _other("HTML", None, _text("<(?:!doctype html|html)")),
    _other("XML", None, _text(r"<\?xml")),
    _other("ZIP", None, _binary(rb"PK\x03\x04")),
    _other("Git LFS pointer", None, _text("version https://git-lfs")),
)
CONVERTIBLE: Final = ("HEIC", "AVIF", "BMP", "TIFF")
"""The names of the formats that ``fitting`` converts if a job accepts JPEG."""
UPLOAD_FORMATS: Final = tuple(row.name for row in FORMATS if row.content_type)
"""The names of the formats that at least one kind of job accepts."""
