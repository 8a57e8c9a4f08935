"""Small videos and stills that open in any player, made from a task's settings.

``media/`` contains a four-second clip for each size in pixels, with a silent sound track, made by
``media/make.sh``. A task's settings are written into the clip's boxes when it is served, so no
encoder is needed. Sources for boxes and fields: ISO/IEC 14496-12; PNG 3rd edition; WebP Lossless,
RFC 9649.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_MEDIA = Path(__file__).parent / "media"
_SECONDS = 4  # the length of each clip
_PARENTS = {b"moov", b"trak", b"mdia"}
Colour = tuple[int, int, int]


def clip(width: int, height: int, seconds: int, *, sound: bool, title: str, comment: str) -> bytes:
    """Return an MP4 in one of the sizes in ``media/``.

    Args:
        width: the width in pixels.
        height: the height in pixels.
        seconds: the duration, in seconds.
        sound: whether to include the sound track.
        title: the title that a player shows.
        comment: the comment shown with the title.
    """
    head, moov = _clip(width, height)
    # 1. The boxes count in units of a timescale: with fewer units per second, the same clip plays
    #    longer without changing any sample. The movie and its tracks all change in the same way.
    # 2. Every reader skips a track in a box of type `free`.
    # 3. The tags (user data) come last in `moov`, which itself follows the samples, so no pointer
    #    to the samples changes.
    changed = bytearray(moov)
    for kind, start, end in _boxes(moov, 8, len(moov)):
        if kind in (b"mvhd", b"mdhd"):  # version 0: flags, two times, then the timescale
            scale = int.from_bytes(moov[start + 12 : start + 16], "big")
            changed[start + 12 : start + 16] = round(scale * _SECONDS / seconds).to_bytes(4, "big")
        elif kind == b"trak" and not sound and b"smhd" in moov[start:end]:
            changed[start - 4 : start] = b"free"
    changed += _tags({b"\xa9nam": title, b"\xa9cmt": comment})
    changed[:4] = len(changed).to_bytes(4, "big")
    return head + bytes(changed)


@cache
def _clip(width: int, height: int) -> tuple[bytes, bytes]:
    """Return the part of the file before its `moov` box, and that box without its user data."""
    file = (_MEDIA / f"{width}x{height}.mp4").read_bytes()
    (at,) = (start - 8 for kind, start, _ in _boxes(file, 0, len(file)) if kind == b"moov")
    moov = file[at:]
    ends = (start - 8 for kind, start, _ in _boxes(moov, 8, len(moov)) if kind == b"udta")
    return file[:at], moov[: next(ends, len(moov))]


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box's type and its data's start and end, followed by the boxes inside it."""
    while start < end:
        length, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        yield kind, start + 8, start + length
        if kind in _PARENTS:
            yield from _boxes(data, start + 8, start + length)
        start += length


def _tags(tags: dict[bytes, str]) -> bytes:
    """Return a user data box with tags in iTunes format, which every player reads."""
    items = (
        _box(name, _box(b"data", b"\0\0\0\1" + bytes(4) + text.encode("utf-8", "replace")))
        for name, text in tags.items()
    )
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return _box(b"udta", _box(b"meta", bytes(4) + handler + _box(b"ilst", b"".join(items))))


def _box(kind: bytes, data: bytes) -> bytes:
    return (len(data) + 8).to_bytes(4, "big") + kind + data


def png(width: int, height: int, colour: Colour, noise: bytes) -> bytes:
    """Return a PNG in one color with a border, and a chunk of noise that viewers skip."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes.fromhex("01 03 000000")
    palette = bytes(colour) + b"\xff\xff\xff"
    chunks = (b"IHDR" + header, b"PLTE" + palette, b"noIs" + noise, b"IDAT" + _rows(width, height))
    file = b"\x89PNG\r\n\x1a\n"
    for chunk in (*chunks, b"IEND"):  # length, type, data and checksum
        file += (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return file


@cache
def _rows(width: int, height: int) -> bytes:
    """Return the compressed pixels, one bit each: 1 in the border (1/32 of a side), 0 inside."""
    border = max(1, min(width, height) // 32)
    stride = (width + 7) // 8
    ones = (1 << 8 * stride) - 1
    inside = ((1 << width - 2 * border) - 1) << border + 8 * stride - width
    edge = b"\0" + ones.to_bytes(stride, "big")  # each row starts with its filter: none
    row = b"\0" + (ones & ~inside).to_bytes(stride, "big")
    return zlib.compress(edge * border + row * (height - 2 * border) + edge * border)


def webp(width: int, height: int, colour: Colour) -> bytes:
    """Return a lossless WebP in one color."""
    red, green, blue = colour
    # No transform, no color cache, no meta codes; then five codes (green, red, blue, alpha,
    # distance) with one symbol each, so a pixel takes no bits at all.
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    for symbol in (green, red, blue, 0xFF):
        fields += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    fields += [(1, 1), (0, 1), (0, 1), (0, 1)]  # the distance: a symbol of one bit
    value = length = 0
    for number, bits in fields:
        value |= number << length
        length += bits
    data = value.to_bytes((length + 15) // 16 * 2, "little")  # chunks have an even length
    chunk = b"VP8L" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + (len(chunk) + 4).to_bytes(4, "little") + b"WEBP" + chunk


def ass(title: str, text: str, seconds: int) -> str:
    """Return captions in ASS format: one line that is shown for the whole duration."""
    end = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.00"
    return f"""[Script Info]
Title: {title}
ScriptType: v4.00+
PlayResX: 1280
PlayResY: 720

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment, MarginL, MarginR, MarginV
Style: Default,Arial,48,&H00FFFFFF,2,40,40,40

[Events]
Format: Layer, Start, End, Style, Text
Dialogue: 0,0:00:00.00,{end},Default,{text}
"""
