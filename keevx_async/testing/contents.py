"""What storage serves: files that are computed from the task id, so that none is kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import shake_128

import attrs

BLOCK = 2**16
"""Bytes that are computed at a time."""
# An MP4 begins with an `ftyp` box (ISO/IEC 14496-12, 4.3), by which its type is recognized.
_FTYP = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = bytes.fromhex("00000001 00000001 08 00 00 00 00")
_BLACK = bytes.fromhex("789c 6360 0000 0002 0001")  # one line of one pixel, compressed
_PIXEL_PNG_BYTES = 79  # of such a PNG with an empty chunk of noise
# One transparent pixel, lossless WebP.
PIXEL = bytes.fromhex(
    "52494646 1a000000 57454250 5650384c 0d000000 2f000000 10071011 1188 88fe 0700"
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\s*", re.ASCII)


@attrs.frozen
class Content:
    """A file to serve.

    Attributes:
        size: in bytes.
        etag: the ETag header, which is the same at every request.
        media_type: the Content-Type header.
        block: returns the block of that number, from 0.
    """

    size: int
    etag: str
    media_type: str
    block: Callable[[int], bytes]

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from start up to, but without, stop, at most a block at a time."""
        while start < stop:
            number, offset = divmod(start, BLOCK)
            chunk = self.block(number)[offset : offset + stop - start]
            yield chunk
            start += len(chunk)


def video(task_id: str, size: int) -> Content:
    """Return the video of a task: the beginning of an MP4, then noise that depends on its id."""

    # Each block is computed from its number alone, so that a Range in the middle costs no more
    # than its own length.
    def block(number: int) -> bytes:
        head = _FTYP if number == 0 else b""
        length = min(BLOCK, size - number * BLOCK)
        return (head + shake_128(f"{task_id}/{number}".encode()).digest(length))[:length]

    return Content(size, f'"{task_id}"', "video/mp4", block)


def image(task_id: str, size: int) -> Content:
    """Return the image of a task: a PNG of one black pixel, and noise to reach its size.

    With a size below 79 bytes it is only the beginning of a PNG.
    """
    noise = shake_128(f"{task_id}/image".encode()).digest(max(0, size - _PIXEL_PNG_BYTES))
    chunks = (b"IHDR" + _HEADER, b"noIs" + noise, b"IDAT" + _BLACK, b"IEND")
    file = _PNG
    for chunk in chunks:  # length, type, data and checksum (PNG 3rd edition, 5.3)
        length, check = len(chunk) - 4, zlib.crc32(chunk)
        file += length.to_bytes(4, "big") + chunk + check.to_bytes(4, "big")
    return held(file[:size], task_id, "image/png")


def captions(task_id: str, size: int) -> Content:
    """Return the captions of a task, an ``.ass`` file; its size does not depend on ``size``."""
    text = f"[Script Info]\nTitle: {task_id}\nScriptType: v4.00+\n\n[Events]\n"
    return held(text.encode(), f"{task_id}.ass", "text/x-ssa")


MAKERS: Mapping[str, Callable[[str, int], Content]] = {
    "videos": video,
    "images": image,
    "captions": captions,
}
"""The folders of storage, each with what makes the file of a task, of a size in bytes."""


def held(content: bytes, name: str, media_type: str) -> Content:
    """Return content that is held in memory; its name is the ETag."""

    def block(number: int) -> bytes:
        return content[number * BLOCK : (number + 1) * BLOCK]

    return Content(len(content), f'"{name}"', media_type, block)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open span that a Range header requests, or None for the whole file.

    One range only. Everything else is ignored, as a server may (RFC 9110, 14.2).

    Raises:
        ValueError: the range cannot be satisfied.
    """
    # "bytes=2-5" has both ends, "bytes=2-" runs to the end, "bytes=-5" means the last five bytes.
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
