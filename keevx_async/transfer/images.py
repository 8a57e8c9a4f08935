"""Inspect local images and videos before they are uploaded. Nothing here sends anything.

``MAX_UPLOAD`` is the vendor's limit for images (keevx-api.md, "Upload"); no limit is documented for
videos. Every function in this module blocks on the disk: call it in a thread.
"""

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
from typing import Any, BinaryIO, NamedTuple, cast

from attrs import frozen

from ..errors import UploadError
from ..models.validators import shown
from .media_types import CONVERTIBLE, HEAD, UPLOAD_FORMATS, VIDEO, MediaType, identify

MAX_UPLOAD = 20 * 1024 * 1024
"""Maximum size of an image, in bytes."""
CHUNK = 256 * 1024
CAN_FIT = ', or use fit="crop" (--fit crop)'
SETTLE_SECONDS = 2.0
"""If a file was last written longer ago than this, an unchanged fingerprint means unchanged bytes.
A file written more recently could change again within one tick of the file system's clock and keep
its timestamps (git calls this a racy entry)."""


class Fingerprint(NamedTuple):
    """Metadata that changes when a file is modified or replaced. The file itself is not read."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        """Create a fingerprint from a stat result. Its times are in nanoseconds."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class ChangedError(Exception):
    """A file has changed since it was inspected: inspect it again."""


class _FixedSizeReader(io.BufferedReader):
    """A file whose reads fail if its size changes, because the size was already announced."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(io.FileIO(path))
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if os.fstat(self.fileno()).st_size != self._size:
            raise OSError("its size changed")
        return data


@frozen
class Image:
    """An inspected image or video that Keevx accepts.

    Attributes:
        digest: the file's SHA-256, in hexadecimal.
        type: the file's format.
        version: the file's fingerprint before it was read.
        settled: whether an unchanged fingerprint means an unchanged file (see ``SETTLE_SECONDS``).
    """

    digest: str
    type: MediaType
    version: Fingerprint
    settled: bool

    @contextmanager
    def opened(self, path: Path) -> Generator[BinaryIO]:
        """Return a context manager that opens the inspected file and closes it on exit.

        The fingerprint is compared before and after, so the bytes read match ``digest`` unless
        ChangedError is raised.

        Raises:
            ChangedError: the file was modified or replaced after it was inspected.
            UploadError: the file cannot be read.
        """
        with _read_errors(path), _FixedSizeReader(path, self.version.size) as file:
            self._compare(os.fstat(file.fileno()))
            try:
                yield file
            except Exception:
                self._compare(os.stat(path))  # if the file changed, that is the cause
                raise
            self._compare(os.stat(path))

    def _compare(self, status: os.stat_result) -> None:
        if Fingerprint.of(status) != self.version:
            raise ChangedError


def fingerprint(path: Path) -> Fingerprint:
    """Return a file's current fingerprint without opening the file.

    Raises:
        UploadError: the file cannot be read, or is not a regular file.
    """
    with _read_errors(path):
        status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe can be read only once, a folder not at all
        raise UploadError(f"cannot read {path}: it is not a regular file; pass its bytes instead")
    return Fingerprint.of(status)


def inspect(
    path: Path, formats: Collection[str] = UPLOAD_FORMATS, *, limit: int | None = MAX_UPLOAD
) -> Image:
    """Check a file and compute its digest. The file is read in chunks.

    Args:
        path: the file.
        formats: the names of the accepted formats (see ``media_types``).
        limit: the maximum size of an image, in bytes; None for no limit.

    Raises:
        UploadError: the file cannot be read, is empty, too large or truncated, or is not in an
            accepted format.
    """
    version = fingerprint(path)
    digest, left = hashlib.sha256(), version.size
    with _read_errors(path), open(path, "rb") as file:
        media_type = _check(str(path), file, version.size, formats, limit)
        file.seek(0)
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            digest.update(chunk)
    written_at = max(version.modified, version.changed) / 1e9
    settled = time.time() - written_at > SETTLE_SECONDS
    return Image(digest.hexdigest(), media_type, version, settled)


def sniff(
    path: Path, formats: Collection[str] = UPLOAD_FORMATS, *, limit: int | None = MAX_UPLOAD
) -> MediaType:
    """Check a file as ``inspect`` does, but do not read all of it to compute a digest.

    Args:
        path: the file.
        formats: the names of the accepted formats (see ``media_types``).
        limit: the maximum size of an image, in bytes; None for no limit.

    Raises:
        UploadError: see ``inspect``.
    """
    size = fingerprint(path).size
    with _read_errors(path), open(path, "rb") as file:
        return _check(str(path), file, size, formats, limit)


def read(source: object) -> tuple[bytes, MediaType]:
    """Return the contents and format of a bytes object or an open binary file.

    A file is read from its current position to its end, and is left open. Reading stops early if an
    image turns out to be too large.

    Raises:
        UploadError: see ``inspect``; or the source is neither bytes nor a binary file.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(cast("bytes | bytearray | memoryview[int]", source))
        return data, _check("the data", io.BytesIO(data), len(data), UPLOAD_FORMATS)
    read_chunk = getattr(source, "read", None)
    if isinstance(source, io.TextIOBase):
        raise UploadError(_not_binary(source, ""))
    if not callable(read_chunk):
        raise UploadError(f"must be a path, bytes or a binary file (got {shown(source)})")
    what = f"the file {shown(getattr(source, 'name', source))}"
    chunks: list[bytes] = []
    size = 0
    with _read_errors(what):
        while chunk := read_chunk(CHUNK):
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise UploadError(_not_binary(source, chunk))
            chunks.append(bytes(cast("bytes | bytearray | memoryview[int]", chunk)))
            size += len(chunks[-1])
            if size > MAX_UPLOAD and not _is_video(identify(chunks[0][:HEAD])):
                break  # enough to refuse it
    if not chunks:
        try:
            position = int(cast(Any, source).tell())
        except (AttributeError, OSError, ValueError):  # a pipe has no position
            position = 0
        if position:
            raise UploadError(
                f"the file has no bytes after position {position}: call seek(0) on it first"
            )
    data = b"".join(chunks)
    return data, _check(what, io.BytesIO(data), len(data), UPLOAD_FORMATS)


def require_format(what: object, media_type: MediaType, formats: Collection[str]) -> None:
    """Raise an error unless a file has one of the accepted formats.

    Args:
        what: the file's name in the error message.
        media_type: the file's format.
        formats: the names of the accepted formats.

    Raises:
        UploadError: the format is not one of ``formats``.
    """
    if media_type.name not in formats:
        raise UploadError(
            f"{what} is a {media_type.name} file (judging by its first bytes) but must be "
            f"{_listed(formats)}; convert it" + (CAN_FIT if media_type.name in CONVERTIBLE else "")
        )


def _check(
    what: str,
    file: BinaryIO,
    size: int,
    formats: Collection[str],
    limit: int | None = MAX_UPLOAD,
) -> MediaType:
    """Check a seekable file of ``size`` bytes, called ``what`` in errors, and return its format."""
    if size == 0:
        raise UploadError(f"{what} is empty (0 bytes)")
    media_type = identify(file.read(HEAD))
    if limit is not None and size > limit and not _is_video(media_type):
        raise UploadError(f"{what} is larger than 20 MB, Keevx's limit; make it smaller{CAN_FIT}")
    if media_type is None:
        raise UploadError(
            f"{what} is not a {_listed(formats)} file (judging by its first bytes); convert it"
        )
    require_format(what, media_type, formats)
    if not media_type.is_complete(file, size):
        raise UploadError(
            f"{what} is truncated: the end of the {media_type.name} file is missing; "
            "save or download it again"
        )
    return media_type


def _is_video(media_type: MediaType | None) -> bool:
    return media_type is not None and media_type.media == VIDEO


def _listed(formats: Collection[str]) -> str:
    *others, last = formats
    return f"{', '.join(others)} or {last}" if others else last


def _not_binary(file: object, chunk: object) -> str:
    """Return the error message for a file whose ``read`` did not return bytes.

    If it returned a coroutine, the coroutine is closed.
    """
    if isinstance(chunk, str):
        return "must be a path, bytes or a binary file (got text): open it with mode 'rb'"
    if asyncio.iscoroutine(chunk):
        chunk.close()
        return "must be a path, bytes or a binary file (got an asynchronous file): read it first"
    return f"must be a path, bytes or a binary file (got {shown(file)})"


@contextmanager
def _read_errors(what: object) -> Generator[None]:
    """Convert operating system errors into an UploadError that names the file."""
    try:
        yield
    except OSError as error:
        hint, path = "", str(what)
        if isinstance(error, FileNotFoundError):
            if path.startswith("~"):
                hint = "; ~ is not expanded: call expanduser() on the path"
            elif path.lower().startswith(("http:", "https:")):
                hint = "; it is a URL, which does not need an upload"
        raise UploadError(f"cannot read {what}: {error.strerror or error}{hint}") from error
    except ValueError as error:  # a NUL in a path, or a file that was closed
        raise UploadError(f"cannot read {what}: {error}") from error
