"""Images and videos on this machine: read, and told by their bytes. Nothing here is sent."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attrs import frozen

from ..errors import UploadError
from ..models.validators import shown
from .media_types import HEAD, MEDIA_TYPES, MediaType, foreign_type_of, media_type_of

MAX_UPLOAD = 20 * 1024 * 1024
"""Bytes of an image; keevx-api.md, "Upload". For videos the vendor names no limit."""
ALL_FORMATS = tuple(one.name for one in MEDIA_TYPES)

CHUNK = 256 * 1024
SETTLE_SECONDS = 2.0
"""Seconds: a file written to more lately may change again and keep its times and size, as file
systems tell time in steps (what git calls a racy entry)."""


class Fingerprint(NamedTuple):
    """What tells that a file is no longer what it was."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Fingerprint:
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
    type: MediaType
    version: Fingerprint
    settled: bool

    @contextmanager
    def opened(self, path: Path) -> Generator[BinaryIO]:
        """Open the file, which must be what was looked at, and remain so until it is closed.

        Raises:
            ChangedError: it is not, or has not.
        """
        with _read_errors(path), _Steady(path, self.version.size) as file:
            self._compare(os.fstat(file.fileno()))
            try:
                yield file
            except Exception:
                self._compare(os.stat(path))  # explains whatever went wrong
                raise
            self._compare(os.stat(path))

    def _compare(self, found: os.stat_result) -> None:
        if Fingerprint.of(found) != self.version:
            raise ChangedError


def fingerprint(path: Path) -> Fingerprint:
    """Return what a file is like now.

    Raises:
        UploadError: it cannot be read, or is not a regular file.
    """
    with _read_errors(path):
        found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe can be read once only, a folder not at all
        raise UploadError(f"cannot read {path}: it is not a regular file; give its bytes instead")
    return Fingerprint.of(found)


def inspect(path: Path, formats: Collection[str] = ALL_FORMATS) -> Image:
    """Read a file through, a piece at a time, and say what it is.

    Args:
        path: the file.
        formats: what it may be, by the names in ``media_types``.

    Raises:
        UploadError: it cannot be read, is too large, empty, cut short, or none of formats.
    """
    version = fingerprint(path)
    digest, left = hashlib.sha256(), version.size
    with _read_errors(path), open(path, "rb") as file:
        kind = check_image(str(path), file, version.size, formats)
        file.seek(0)
        while left > 0 and (piece := file.read(min(CHUNK, left))):
            left -= len(piece)
            digest.update(piece)
    touched = max(version.modified, version.changed) / 1e9
    return Image(digest.hexdigest(), kind, version, time.time() - touched > SETTLE_SECONDS)


def sniff(path: Path, formats: Collection[str] = ALL_FORMATS) -> MediaType:
    """Return what a file is, of which only what tells that is read.

    Args:
        path: the file.
        formats: what it may be.

    Raises:
        UploadError: as ``look``.
    """
    size = fingerprint(path).size
    with _read_errors(path), open(path, "rb") as file:
        return check_image(str(path), file, size, formats)


def read(source: object) -> tuple[bytes, MediaType]:
    """Return the bytes and type of a file in memory, or of an open one from where it stands.

    Raises:
        UploadError: as ``look``, or it is neither.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data, what = bytes(source), "the data"
    else:
        data, what = _read(source), f"the file {shown(getattr(source, 'name', source))}"
    return data, check_image(what, io.BytesIO(data), len(data))


def _read(file: object) -> bytes:
    """Return the rest of a binary file; of an image no more than tells that it is too large."""
    reading = getattr(file, "read", None)
    if isinstance(file, io.TextIOBase):
        raise UploadError(_not_binary(file, ""))
    if not callable(reading):
        raise UploadError(f"must be a path, bytes or a binary file (got {shown(file)})")
    pieces: list[bytes] = []
    size = 0
    with _read_errors(f"the file {shown(getattr(file, 'name', file))}"):
        while piece := reading(CHUNK):
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise UploadError(_not_binary(file, piece))
            pieces.append(bytes(piece))
            size += len(pieces[-1])
            if size > MAX_UPLOAD and not _is_video(media_type_of(pieces[0][:HEAD])):
                break
    if not pieces and (at := _position(file)):
        raise UploadError(f"the file has no bytes after position {at}: call its seek(0) first")
    return b"".join(pieces)


def _not_binary(file: object, piece: object) -> str:
    if isinstance(piece, str):
        return "must be a path, bytes or a binary file (got text): open it with mode 'rb'"
    if asyncio.iscoroutine(piece):
        piece.close()
        return "must be a path, bytes or a binary file (got an asynchronous one): read it first"
    return f"must be a path, bytes or a binary file (got {shown(file)})"


def _position(file: object) -> int:
    try:
        return int(file.tell())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # a pipe has none
        return 0


def _is_video(kind: MediaType | None) -> bool:
    return kind is not None and kind.media_type.startswith("video/")


def check_image(
    what: str, file: BinaryIO, size: int, formats: Collection[str] = ALL_FORMATS
) -> MediaType:
    """Return the type of a file.

    Args:
        what: names it in errors.
        file: which can seek.
        size: its bytes.
        formats: what it may be.

    Raises:
        UploadError: it is none of formats, too large, empty or cut short.
    """
    if size == 0:
        raise UploadError(f"{what} is empty (0 bytes)")
    head = file.read(HEAD)
    kind = media_type_of(head)
    if size > MAX_UPLOAD and not _is_video(kind):
        raise UploadError(
            f"{what} is larger than 20 MB, the most that Keevx takes; make it smaller"
        )
    if kind is None:
        foreign = foreign_type_of(head)
        raise UploadError(f"{what} {_wrong_type(foreign, formats)}")
    require_format(what, kind, formats)
    if not kind.complete(file, size):
        raise UploadError(
            f"{what} is cut short: the end of the {kind.name} file is missing; save or download "
            "it again"
        )
    return kind


def require_format(what: object, kind: MediaType, formats: Collection[str]) -> None:
    """Refuse a file that is none of formats.

    Raises:
        UploadError: it is not.
    """
    if kind.name not in formats:
        raise UploadError(f"{what} {_wrong_type(kind.name, formats)}")


def _wrong_type(found: str | None, formats: Collection[str]) -> str:
    *others, last = formats
    listed = f"{', '.join(others)} or {last}" if others else last
    if found is None:
        return f"is not a {listed} file, by its first bytes; convert it"
    return f"is a {found} file, by its first bytes, and must be {listed}; convert it"


@contextmanager
def _read_errors(what: object) -> Generator[None]:
    """Raise what an operating system says of a file as an UploadError."""
    try:
        yield
    except OSError as error:
        hint = _hint(what) if isinstance(error, FileNotFoundError) else ""
        raise UploadError(f"cannot read {what}: {error.strerror or error}{hint}") from error
    except ValueError as error:  # a NUL in a path, or a file that was closed
        raise UploadError(f"cannot read {what}: {error}") from error


def _hint(path: object) -> str:
    text = str(path)
    if text.startswith("~"):
        return "; ~ is not expanded: call expanduser() on the path"
    if text.lower().startswith(("http:", "https:")):
        return "; it is a URL, which needs no upload"
    return ""
