"""Images on this machine: what their bytes say they are. Nothing here is sent."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attrs import frozen

from .errors import UploadError

MAX_UPLOAD = 20 * 1024 * 1024
"""Bytes; keevx-api.md, "Upload"."""

CHUNK = 256 * 1024
SETTLED = 2.0
"""Seconds: a file written to more lately may change again and keep its times and size, as file
systems tell time in steps (what git calls a racy entry)."""

# Leading bytes of what Keevx takes (keevx-api.md, "Upload": JPG, PNG, WebP), and the endings
# that names of such files have, the usual one first.
_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", (".jpg", ".jpeg", ".jpe", ".jfif")),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", (".png",)),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp", (".webp",)),
)


class ImageType(NamedTuple):
    """A type of image: what it is called in a header, and at the end of a name."""

    media_type: str
    suffixes: tuple[str, ...]

    def name(self, stem: str, suffix: str) -> str:
        """Return a file's name, its suffix put right if it lies."""
        return stem + (suffix if suffix.lower() in self.suffixes else self.suffixes[0])


class Version(NamedTuple):
    """What tells that a file is no longer what it was."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Version:
        """Return the version that a stat has found."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class ChangedError(Exception):
    """A file is no longer the one that was looked at."""


class _Steady(io.BufferedReader):
    """A file whose reads fail once its size is another: who was told the size waits for it."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(io.FileIO(path))
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if os.fstat(self.fileno()).st_size != self._size:
            raise OSError("it is no longer as long as it was")
        return data


@frozen
class Image:
    """A file that Keevx would take, as a look at its bytes found it.

    Attributes:
        digest: the SHA-256 of its bytes.
        type: what they are.
        version: what the file was like.
        settled: whether it had been left alone for so long that an equal version means
            equal bytes.
    """

    digest: str
    type: ImageType
    version: Version
    settled: bool

    @contextmanager
    def opened(self, path: Path) -> Generator[BinaryIO]:
        """Open the file, which must be what was looked at, and remain so until it is closed.

        Raises:
            ChangedError: it is not, or has not.
        """
        with _telling(path), _Steady(path, self.version.size) as file:
            self._compare(os.fstat(file.fileno()))
            try:
                yield file
            except Exception:
                self._compare(os.stat(path))  # explains whatever went wrong
                raise
            self._compare(os.stat(path))

    def _compare(self, found: os.stat_result) -> None:
        if Version.of(found) != self.version:
            raise ChangedError


def version_of(path: Path) -> Version:
    """Return what a file is like now.

    Raises:
        UploadError: it cannot be read, or is none.
    """
    with _telling(path):
        found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe can be read once only, a folder not at all
        raise UploadError(f"cannot read {path}: it is no regular file; give its bytes instead")
    return Version.of(found)


def look(path: Path) -> Image:
    """Read a file through, a piece at a time, and say what it is.

    Raises:
        UploadError: it cannot be read, is too large, empty, or of a type Keevx does not take.
    """
    version = version_of(path)
    digest, size, head = hashlib.sha256(), 0, b""
    with _telling(path), open(path, "rb") as file:
        while size <= MAX_UPLOAD and (piece := file.read(CHUNK)):
            head = head or piece[:16]
            size += len(piece)
            digest.update(piece)
    kind = checked(str(path), head, size)
    touched = max(version.modified, version.changed) / 1e9
    return Image(digest.hexdigest(), kind, version, time.time() - touched > SETTLED)


def glance(path: Path) -> ImageType:
    """Return what a file is by its size and first bytes; the rest stays unread.

    Raises:
        UploadError: as ``look``.
    """
    size = version_of(path).size
    with _telling(path), open(path, "rb") as file:
        return checked(str(path), file.read(16), size)


def read(source: bytes | BinaryIO) -> tuple[bytes, ImageType]:
    """Return an image's bytes and type; a file is read no further than 20 MB.

    Raises:
        UploadError: as ``look``.
    """
    what = "the image"
    with _telling(what):
        data = source if isinstance(source, bytes) else _read(source)
    return data, checked(what, data[:16], len(data))


def _read(file: BinaryIO) -> bytes:
    data = file.read(MAX_UPLOAD + 1) if hasattr(file, "read") else None
    if not isinstance(data, bytes):
        raise UploadError(f"{type(file).__name__} is not a path, bytes or a binary file")
    return data


def checked(what: str, head: bytes, size: int) -> ImageType:
    """Return the type of an image by its first bytes.

    Raises:
        UploadError: it is too large, empty, or of a type Keevx does not take.
    """
    if size > MAX_UPLOAD:
        raise UploadError(
            f"{what} is larger than 20 MB, the most that Keevx takes; make it smaller"
        )
    for magic, media_type, suffixes in _MAGIC:
        if magic.match(head):
            return ImageType(media_type, suffixes)
    raise UploadError(f"{what} is no JPEG, PNG or WebP image, by its first bytes; convert it")


@contextmanager
def _telling(what: object) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UploadError(f"cannot read {what}: {error.strerror or error}") from error
