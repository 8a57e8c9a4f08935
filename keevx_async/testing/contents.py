"""What storage holds: bytes that are known by name and need not be kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import shake_128

import attrs

BLOCK = 2**16
# An MP4 begins with an `ftyp` box (ISO/IEC 14496-12, 4.3), so that a look at it says MP4.
_FTYP = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"
_PNG = b"\x89PNG\r\n\x1a\n"
_ONE_PIXEL = bytes.fromhex("00000001 00000001 08 00 00 00 00")
_BLACK = bytes.fromhex("789c 6360 0000 0002 0001")  # one line, compressed
_PIXEL_PNG_BYTES = 79  # of such a PNG, its chunk of noise being empty
# One transparent pixel, lossless WebP.
PIXEL = bytes.fromhex(
    "52494646 1a000000 57454250 5650384c 0d000000 2f000000 10071011 1188 88fe 0700"
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\s*", re.ASCII)


@attrs.frozen
class Content:
    """Something to serve: its size, its tag, and any block of it."""

    size: int
    etag: str
    media_type: str
    block: Callable[[int], bytes]

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, a block at a time."""
        while start < stop:
            number, offset = divmod(start, BLOCK)
            chunk = self.block(number)[offset : offset + stop - start]
            yield chunk
            start += len(chunk)


def video(task_id: str, size: int) -> Content:
    """The video of a task: pseudo-random, the same whenever it is asked for."""

    def block(number: int) -> bytes:
        head = _FTYP if number == 0 else b""
        length = min(BLOCK, size - number * BLOCK)
        return (head + shake_128(f"{task_id}/{number}".encode()).digest(length))[:length]

    return Content(size, f'"{task_id}"', "video/mp4", block)


def image(task_id: str, size: int) -> Content:
    """The image of a task: a PNG of one black pixel, with a chunk of noise to make it of its size.

    Of less than 79 bytes it is only the beginning of one.
    """
    noise = shake_128(f"{task_id}/image".encode()).digest(max(0, size - _PIXEL_PNG_BYTES))
    chunks = (b"IHDR" + _ONE_PIXEL, b"noIs" + noise, b"IDAT" + _BLACK, b"IEND")
    return held((_PNG + b"".join(map(_chunk, chunks)))[:size], task_id, "image/png")


def _chunk(content: bytes) -> bytes:
    """A chunk of a PNG: its length, type, data and check sum (PNG 3rd edition, 5.3)."""
    length, check = len(content) - 4, zlib.crc32(content)
    return length.to_bytes(4, "big") + content + check.to_bytes(4, "big")


def captions(task_id: str, size: int) -> Content:
    """The captions of a task, however large its video."""
    text = f"[Script Info]\nTitle: {task_id}\nScriptType: v4.00+\n\n[Events]\n"
    return held(text.encode(), f"{task_id}.ass", "text/x-ssa")


MAKERS: Mapping[str, Callable[[str, int], Content]] = {
    "videos": video,
    "images": image,
    "captions": captions,
}
"""The shelves of storage: what makes a task's file there, of a size in bytes."""


def held(content: bytes, name: str, media_type: str) -> Content:
    """Bytes that are held in memory."""

    def block(number: int) -> bytes:
        return content[number * BLOCK : (number + 1) * BLOCK]

    return Content(len(content), f'"{name}"', media_type, block)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span that a Range header asks for; None for all of it.

    Raises ValueError when it cannot be satisfied. One range only: a server may ignore
    the header (RFC 9110, 14.2), and what is not understood is ignored.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.group(1, 2)
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= stop:
        raise ValueError(header)
    return start, stop
