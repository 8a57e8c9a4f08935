"""A file that is being downloaded: what has come of it, and what it must be when it is whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from ..errors import DownloadError
from .addresses import without_query
from .media_types import HEAD, check_content

if TYPE_CHECKING:
    import aiohttp

CHUNK = 256 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@frozen
class DownloadedFile:
    """A file that was brought home: where, its bytes, and their SHA-256."""

    path: Path
    size: int
    digest: str


class MismatchError(Exception):
    """What came does not fit what is there, or is not a result: begin anew."""


class PartFile:
    """A download under way: a temporary file beside its target, and the version it is of."""

    def __init__(self, target: Path, url: str) -> None:
        named = f"{target.name}\n{without_query(url)}".encode(errors="surrogateescape")
        mark = hashlib.sha256(named).hexdigest()[:8]
        # Cut, so that a target may have the longest name that its file system takes.
        brief = target.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")
        self._target = target
        self._path = target.with_name(f".{brief}.{mark}.part")
        self._tag = self._path.with_suffix(".tag")

    def prepare(self, overwrite: bool) -> None:
        """See that there is a folder, and no file that would be lost."""
        if not _is_writable_name(str(self._target)):
            raise DownloadError(
                f"cannot write {str(self._target)!r}: no file can have this name where names are "
                f"{sys.getfilesystemencoding()}; choose another, or set PYTHONUTF8=1"
            )
        if self._target.exists() and not overwrite:
            raise DownloadError(f"{self._target} exists; pass overwrite=True to replace it")
        self._target.parent.mkdir(parents=True, exist_ok=True)

    def headers(self) -> dict[str, str]:
        """Return the request headers that go on where the file stands."""
        wanted = {"Accept-Encoding": "identity"}
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and (tag := self._known_tag()):
            wanted |= {"Range": f"bytes={size}-", "If-Range": tag}
        return wanted

    async def take(self, answer: aiohttp.ClientResponse, expected: str | None) -> None:
        """Append to the part (206) or begin it anew (200); see that it is whole, and a result."""
        inflater = _inflater_of(answer)
        start, whole = _span_of(answer)
        size = start
        with self._open(start, "" if inflater else answer.headers.get("ETag", "")) as file:
            async for chunk in answer.content.iter_chunked(CHUNK):
                size += len(chunk)
                if whole is not None and size > whole:
                    break  # it may never end
                await asyncio.to_thread(_write, file, chunk, inflater)
        if whole not in (None, size):
            raise MismatchError(f"{size} bytes came of {whole}")
        if inflater is not None and not inflater.is_complete:
            raise MismatchError("its compressed answer ends too early")
        declared = answer.headers.get("Content-Type", "")
        if wrong := check_content(await asyncio.to_thread(self._head), declared, expected):
            raise MismatchError(wrong)

    def _head(self) -> bytes:
        with open(self._path, "rb") as file:
            return file.read(HEAD)

    def _open(self, start: int, tag: str) -> BinaryIO:
        """Open the part to append at start.

        A tag is kept only where it proves that two parts are of the same bytes, and can be sent
        back: strong, and of visible ASCII (RFC 9110, 8.8.3 and 13.1.5). To go on, an answer must
        repeat it: hosts that ignore If-Range would append one version to another.
        """
        if start == 0:
            self.restart()
        elif tag != self._known_tag():
            raise MismatchError("the part that came is of another version")
        file = open(self._path, "ab")  # noqa: SIM115 - closed by take()
        if file.tell() != start:
            file.close()
            raise MismatchError("the range that came does not follow what is there")
        if not tag.startswith("W/") and _VISIBLE.fullmatch(tag):
            self._tag.write_bytes(tag.encode())
        return file

    def _known_tag(self) -> str | None:
        """Return the tag of what is there; None if it has none that can be sent."""
        try:
            tag = self._tag.read_bytes().decode("latin-1")
        except FileNotFoundError:
            return None
        return tag if _VISIBLE.fullmatch(tag) else None

    def restart(self) -> None:
        """Forget what is there."""
        self._tag.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Leave nothing behind that no other download can go on with."""
        with suppress(OSError):
            if self._known_tag() is None or not self._path.stat().st_size:
                self.restart()

    def finish(self, overwrite: bool) -> DownloadedFile:
        """Put the whole file under its final name.

        Raises:
            DownloadError: that was taken meanwhile, and must not be overwritten.
        """
        with open(self._path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.tell()
        self.prepare(overwrite)  # again: another program may be at work here
        self._tag.unlink(missing_ok=True)
        self._path.replace(self._target)
        return DownloadedFile(self._target, size, digest)


def _is_writable_name(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _write(file: BinaryIO, chunk: bytes, inflater: _Inflater | None) -> None:
    for piece in (chunk,) if inflater is None else inflater.pieces(chunk):
        file.write(piece)


class _Inflater:
    """Decodes gzip and deflate (RFC 9110, 8.4.1), a bounded piece at a time."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the compressed stream has ended, its checksum proven."""
        return self._stream is not None and self._stream.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk decodes to.

        Raises:
            MismatchError: it cannot be decoded.
        """
        rest, is_pending = chunk, False
        try:
            while rest or is_pending:
                if self._stream is None:  # some send deflate without its zlib header
                    has_header = rest[:2] == b"\x1f\x8b" or rest[0] & 15 == zlib.DEFLATED
                    self._stream = zlib.decompressobj(47 if has_header else -zlib.MAX_WBITS)
                elif self._stream.eof:  # gzip may have several members
                    self._stream = zlib.decompressobj(47)
                piece = self._stream.decompress(rest, CHUNK)
                yield piece
                rest = self._stream.unconsumed_tail or self._stream.unused_data
                is_pending = len(piece) == CHUNK and not self._stream.eof
        except zlib.error as error:
            raise MismatchError(f"its compressed answer cannot be decoded ({error})") from error


def _inflater_of(answer: aiohttp.ClientResponse) -> _Inflater | None:
    """Return what decodes an answer; None for one that is as it is.

    Nothing else was asked for, and few send it. S3 compatible hosts may repeat ``aws-chunked``
    from an upload; it is no coding of the answer.

    Raises:
        MismatchError: it has another coding, or is a part of a compressed answer.
    """
    named = answer.headers.get("Content-Encoding", "").lower()
    codings = [
        one for one in re.split(r"[,\s]+", named) if one not in ("", "identity", "aws-chunked")
    ]
    if not codings:
        return None
    if codings[0] not in ("gzip", "x-gzip", "deflate") or len(codings) > 1:
        raise MismatchError(
            f"it came with the Content-Encoding {named[:80]!r}, which was not asked for"
        )
    if answer.status != 200:
        raise MismatchError("a part of a compressed answer came")
    return _Inflater()


def _span_of(answer: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """Return where an answer begins and, if it is told, the whole's size (RFC 9110, 14.4).

    Content-Length says nothing beside Transfer-Encoding (RFC 9112, 6.3).
    """
    length = None if "Transfer-Encoding" in answer.headers else answer.content_length
    if answer.status == 200:
        return 0, length
    found = re.match(r"bytes (\d+)-\d+/(?:(\d+)|\*)", answer.headers.get("Content-Range", ""))
    if found is None:
        raise MismatchError("a part came that does not say where it begins")
    start = int(found[1])
    if found[2]:
        return start, int(found[2])
    return start, None if length is None else start + length
