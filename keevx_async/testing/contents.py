"""The files that storage serves. They are computed from the task instead of being stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import shake_128
from typing import Any

import attrs

from .clips import ass, clip, png, webp
from .records import EmulatedTask
from .vendor_rules import SIDES

BLOCK = 2**16
"""The number of bytes computed at a time."""
SECONDS = 4
"""The length in seconds of a video requested without a duration, such as a translation."""
_SIDES = {"1K": 1024, "2K": 2048, "4K": 4096}  # the longer side of an image
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\s*", re.ASCII)


@attrs.frozen
class Content:
    """A file to serve.

    Attributes:
        size: the file's size in bytes.
        etag: the ETag header, which is the same for every request.
        media_type: the Content-Type header.
        block: returns a block by its number, from 0.
    """

    size: int
    etag: str
    media_type: str
    block: Callable[[int], bytes]

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``stop`` (excluded), at most a block at a time."""
        while start < stop:
            number, offset = divmod(start, BLOCK)
            chunk = self.block(number)[offset : offset + stop - start]
            yield chunk
            start += len(chunk)


def video(task: EmulatedTask, size: int) -> Content:
    """Return a task's video: a clip with the requested properties and the prompt as its title.

    A box of noise, which players skip, pads the file to ``size`` bytes. If ``size`` is too small
    for the clip, the file is larger.
    """
    width, height = frame_size(task.body)
    head = clip(
        width,
        height,
        task.body.get("duration", SECONDS),
        sound=task.body.get("generate_audio", task.kind.name == "video_translate"),
        title=task.prompt,
        comment=task.task_id,
    )
    noise = size - len(head) - 16
    if noise < 0:
        return held(head, task.task_id, "video/mp4")
    # A length of 1 means that the length follows, in eight bytes: enough for any size.
    head += b"\0\0\0\1free" + (noise + 16).to_bytes(8, "big")

    # Each block is computed from its number alone, so a Range in the middle costs only its own
    # length.
    def block(number: int) -> bytes:
        length = min(BLOCK, size - number * BLOCK)
        noise = shake_128(f"{task.task_id}/{number}".encode()).digest(length)
        start = head[number * BLOCK : (number + 1) * BLOCK]
        return start + noise[len(start) :]

    return Content(size, f'"{task.task_id}"', "video/mp4", block)


def image(task: EmulatedTask, size: int) -> Content:
    """Return a task's image: a PNG with the requested ratio, in the task's color.

    A chunk of noise pads the file to ``size`` bytes, as in a video.
    """
    across, down = map(int, task.body.get("image_ratio", "9:16").split(":"))
    side = _SIDES[task.body.get("image_quality", "2K")]
    width, height = side * across // max(across, down), side * down // max(across, down)
    colour = _colour(task)
    noise = max(0, size - len(png(width, height, colour, b"")))
    content = png(width, height, colour, shake_128(f"{task.task_id}/image".encode()).digest(noise))
    return held(content, task.task_id, "image/png")


def captions(task: EmulatedTask, size: int) -> Content:
    """Return a task's captions as an ``.ass`` file; ``size`` has no effect."""
    text = ass(task.task_id, "keevx emulator", SECONDS)
    return held(text.encode(), f"{task.task_id}.ass", "text/x-ssa")


def thumbnail(task: EmulatedTask) -> Content:
    """Return a task's thumbnail: a WebP with its video's ratio, in the task's color."""
    width, height = frame_size(task.body)
    return held(webp(width // 4, height // 4, _colour(task)), task.task_id, "image/webp")


def frame_size(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the width and height of the video that a create requests.

    A create without a resolution, such as a translation, makes a 1280x720 video.
    """
    wide, narrow = SIDES[body.get("aspect_resolution", "720p")]
    return (narrow, wide) if body.get("aspect_ratio") == "9:16" else (wide, narrow)


def _colour(task: EmulatedTask) -> tuple[int, int, int]:
    red, green, blue = shake_128(task.task_id.encode()).digest(3)
    return red // 2 + 32, green // 2 + 32, blue // 2 + 32  # dark enough for a white border


MAKERS: Mapping[str, Callable[[EmulatedTask, int], Content]] = {
    "videos": video,
    "images": image,
    "captions": captions,
}
"""The storage folders, each with a function that makes a task's file in a given size."""


def held(content: bytes, name: str, media_type: str) -> Content:
    """Wrap bytes in memory as a ``Content`` whose ETag is ``name``."""

    def block(number: int) -> bytes:
        return content[number * BLOCK : (number + 1) * BLOCK]

    return Content(len(content), f'"{name}"', media_type, block)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open span that a Range header requests, or None for the whole file.

    Only a single range is supported. Anything else is ignored, as RFC 9110, 14.2 allows.

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
