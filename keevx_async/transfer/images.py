"""Inspect local images and videos before they are uploaded. Nothing here sends anything.

``MAX_UPLOAD`` is the vendor's limit for images (keevx-api.md, "Upload"); it names none for videos.
Every function here blocks on the disk: call it in a thread.
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
"""Bytes of an image."""
CHUNK = 256 * 1024
CAN_FIT = ', or use fit="crop" (--fit crop)'
SETTLE_SECONDS = 2.0
"""Age from which equal times and size prove equal bytes. A file written to more recently may
change again and keep them, as file systems keep time in steps (git calls this a racy entry)."""


class Fingerprint(NamedTuple):
    """What differs once a file was changed or replaced: no bytes are read for it."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        """Return the fingerprint in a stat result; its times are in nanoseconds."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class ChangedError(Exception):
    """A file is no longer the one that was inspected: inspect it again."""


class _FixedSizeReader(io.BufferedReader):
    """A file whose reads fail once its size differs: the host was promised that many bytes."""

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
    """An image or video that Keevx would take, as ``inspect`` read it.

    Attributes:
        digest: the SHA-256 of its bytes, in hexadecimal.
        type: its format.
        version: its fingerprint before it was read.
        settled: whether an equal fingerprint means equal bytes (``SETTLE_SECONDS``).
    """

    digest: str
    type: MediaType
    version: Fingerprint
    settled: bool

    @contextmanager
    def opened(self, path: Path) -> Generator[BinaryIO]:
        """Open the inspected file, and close it at the end.

        The fingerprint is compared before and after, so bytes that were sent are those of
        ``digest`` unless ChangedError is raised.

        Raises:
            ChangedError: another file, or another version, was or is there.
            UploadError: it cannot be read.
        """
        with _read_errors(path), _FixedSizeReader(path, self.version.size) as file:
            self._compare(os.fstat(file.fileno()))
            try:
                yield file
            except Exception:
                self._compare(os.stat(path))  # a change explains whatever went wrong
                raise
            self._compare(os.stat(path))

    def _compare(self, status: os.stat_result) -> None:
        if Fingerprint.of(status) != self.version:
            raise ChangedError


def fingerprint(path: Path) -> Fingerprint:
    """Return a file's fingerprint as it is now, without opening it.

    Raises:
        UploadError: it cannot be read, or is not a regular file.
    """
    with _read_errors(path):
        status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe can be read once only, a folder not at all
        raise UploadError(f"cannot read {path}: it is not a regular file; pass its bytes instead")
    return Fingerprint.of(status)


def inspect(
    path: Path, formats: Collection[str] = UPLOAD_FORMATS, *, limit: int | None = MAX_UPLOAD
) -> Image:
    """Check a file and read it through, a chunk at a time, for its digest.

    Args:
        path: the file.
        formats: names of the formats it may have, as in ``media_types``.
        limit: the most bytes that an image may have; None for any number.

    Raises:
        UploadError: it cannot be read, is empty, too large, cut short, or of another format.
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
    """Check a file as ``inspect`` does, but read only what its format and its end take.

    Args:
        path: the file.
        formats: names of the formats it may have, as in ``media_types``.
        limit: the most bytes that an image may have; None for any number.

    Raises:
        UploadError: as for ``inspect``.
    """
    size = fingerprint(path).size
    with _read_errors(path), open(path, "rb") as file:
        return _check(str(path), file, size, formats, limit)


def read(source: object) -> tuple[bytes, MediaType]:
    """Return the bytes and format of bytes, or of an open binary file from its position on.

    The file is left open, at its end. Of an image that is too large, only so much is read as
    shows that.

    Raises:
        UploadError: as for ``inspect``, or the source is neither.
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
        except (AttributeError, OSError, ValueError):  # a pipe has none
            position = 0
        if position:
            raise UploadError(
                f"the file has no bytes after position {position}: call its seek(0) first"
            )
    data = b"".join(chunks)
    return data, _check(what, io.BytesIO(data), len(data), UPLOAD_FORMATS)


def require_format(what: object, media_type: MediaType, formats: Collection[str]) -> None:
    """Refuse a file that was identified as something else than a job takes.

    Args:
        what: names the file in the error.
        media_type: its format.
        formats: names of those that are accepted.

    Raises:
        UploadError: it is none of formats.
    """
    if media_type.name not in formats:
        raise UploadError(
            f"{what} is a {media_type.name} file, by its first bytes, and must be "
            f"{_listed(formats)}; convert it" + (CAN_FIT if media_type.name in CONVERTIBLE else "")
        )


def _check(
    what: str,
    file: BinaryIO,
    size: int,
    formats: Collection[str],
    limit: int | None = MAX_UPLOAD,
) -> MediaType:
    """Return the format of a seekable file of ``size`` bytes; ``what`` names it in errors."""
    if size == 0:
        raise UploadError(f"{what} is empty (0 bytes)")
    media_type = identify(file.read(HEAD))
    if limit is not None and size > limit and not _is_video(media_type):
        raise UploadError(
            f"{what} is larger than 20 MB, the most that Keevx takes; make it smaller{CAN_FIT}"
        )
    if media_type is None:
        raise UploadError(
            f"{what} is not a {_listed(formats)} file, by its first bytes; convert it"
        )
    require_format(what, media_type, formats)
    if not media_type.is_complete(file, size):
        raise UploadError(
            f"{what} is cut short: the end of the {media_type.name} file is missing; "
            "save or download it again"
        )
    return media_type


def _is_video(media_type: MediaType | None) -> bool:
    return media_type is not None and media_type.media == VIDEO


def _listed(formats: Collection[str]) -> str:
    *others, last = formats
    return f"{', '.join(others)} or {last}" if others else last


def _not_binary(file: object, chunk: object) -> str:
    """Return the message for a file whose read gave no bytes; a coroutine is closed."""
    if isinstance(chunk, str):
        return "must be a path, bytes or a binary file (got text): open it with mode 'rb'"
    if asyncio.iscoroutine(chunk):
        chunk.close()
        return "must be a path, bytes or a binary file (got an asynchronous one): read it first"
    return f"must be a path, bytes or a binary file (got {shown(file)})"


@contextmanager
def _read_errors(what: object) -> Generator[None]:
    """Raise what the operating system reports about a file as an UploadError that names it."""
    try:
        yield
    except OSError as error:
        hint, path = "", str(what)
        if isinstance(error, FileNotFoundError):
            if path.startswith("~"):
                hint = "; ~ is not expanded: call expanduser() on the path"
            elif path.lower().startswith(("http:", "https:")):
                hint = "; it is a URL, which needs no upload"
        raise UploadError(f"cannot read {what}: {error.strerror or error}{hint}") from error
    except ValueError as error:  # a NUL in a path, or a file that was closed
        raise UploadError(f"cannot read {what}: {error}") from error
