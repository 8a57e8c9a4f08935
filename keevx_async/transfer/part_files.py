"""The file that a download is written to until it is whole and proven to be a result.

A part is next to its target, so that putting it in place is one atomic rename, and a file under
the final name is always complete. With the ETag of the version that it holds, a later attempt or a
later run resumes where an earlier one was cut.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from attrs import frozen

from ..errors import DownloadError
from .addresses import without_query
from .media_types import HEAD, check_content

if TYPE_CHECKING:
    import aiohttp

CHUNK = 256 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")


FindEarlier: TypeAlias = Callable[[int, str], Path | None]
"""Returns the file that has so many bytes and their SHA-256, in hexadecimal, and is this result,
left by a run that died before it recorded it; None without one."""


@frozen
class DownloadedFile:
    """A finished download.

    Attributes:
        path: the file.
        size: its bytes, after any compression of the transfer was undone.
        digest: their SHA-256, in hexadecimal.
    """

    path: Path
    size: int
    digest: str


class MismatchError(Exception):
    """An answer does not continue the part, or is not a result: download from the start."""


class PartFile:
    """A download under way: ``.name.hash.part`` beside its target, and ``.tag`` with its ETag.

    Its name is made of the target's and of the URL without its query, in which a signature may
    change, so that the next download of the same result finds it. All methods but ``receive``
    block on the disk.

    Args:
        target: the file that it becomes.
        url: where it comes from.
    """

    def __init__(self, target: Path, url: str) -> None:
        source = f"{target.name}\n{without_query(url)}".encode(errors="surrogateescape")
        mark = hashlib.sha256(source).hexdigest()[:8]
        # Cut, so that a target may have the longest name that its file system takes.
        brief = target.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")
        self._target = target
        self._path = target.with_name(f".{brief}.{mark}.part")
        self._tag = self._path.with_suffix(".tag")

    def prepare(self, overwrite: bool) -> None:
        """Check that the target can be written, and make its folder.

        Raises:
            DownloadError: it exists and must not be overwritten, or no file can have its name.
            OSError: its folder cannot be made.
        """
        name = str(self._target)
        try:
            is_valid = b"\0" not in os.fsencode(name)
        except UnicodeEncodeError:
            is_valid = False
        if not is_valid:
            raise DownloadError(
                f"cannot write {name!r}: no file can have this name where names are "
                f"{sys.getfilesystemencoding()}; choose another, or set PYTHONUTF8=1"
            )
        if self._target.exists() and not overwrite:
            raise DownloadError(f"{self._target} exists; pass overwrite=True to replace it")
        self._target.parent.mkdir(parents=True, exist_ok=True)

    def headers(self) -> dict[str, str]:
        """Return the request headers that ask for what is missing, or for all of it.

        A range is asked for only where an ETag can prove that it continues the same version.
        """
        headers = {"Accept-Encoding": "identity"}
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and (tag := self._stored_tag()):
            headers |= {"Range": f"bytes={size}-", "If-Range": tag}
        return headers

    async def receive(self, answer: aiohttp.ClientResponse, expected: str | None) -> None:
        """Write an answer's body: appended if it is a range (206), from the start if not (200).

        On return the part is whole and a result. Cancelled or cut, it keeps the bytes that came.

        Args:
            answer: a response with status 200 or 206.
            expected: ``video``, ``image`` or ``caption``; None for any of them.

        Raises:
            MismatchError: it does not continue the part, is shorter or longer than announced,
                cannot be decoded, or is not what was expected.
            OSError: the disk, or the connection.
        """
        inflater = inflater_for(answer)
        start, total = content_range(answer)
        size = start
        with self._open(start, "" if inflater else answer.headers.get("ETag", "")) as file:

            def write(chunk: bytes) -> None:
                for piece in (chunk,) if inflater is None else inflater.pieces(chunk):
                    file.write(piece)

            async for chunk in answer.content.iter_chunked(CHUNK):
                size += len(chunk)
                if total is not None and size > total:
                    break  # it may never end
                await asyncio.to_thread(write, chunk)
        if total not in (None, size):
            raise MismatchError(f"got {size} of {total} bytes")
        if inflater is not None and not inflater.is_complete:
            raise MismatchError("its compressed answer ends too early")

        def head() -> bytes:
            with open(self._path, "rb") as file:
                return file.read(HEAD)

        declared = answer.headers.get("Content-Type", "")
        if problem := check_content(await asyncio.to_thread(head), declared, expected):
            raise MismatchError(problem)

    def restart(self) -> None:
        """Delete what has come; the next ``headers`` ask for all of it. Harmless if repeated."""
        self._tag.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """After a failure, delete a part that no later download can continue.

        One that holds bytes of a tagged version stays. Raises nothing.
        """
        with suppress(OSError):
            if self._stored_tag() is None or not self._path.stat().st_size:
                self.restart()

    def finish(self, overwrite: bool, find_earlier: FindEarlier | None = None) -> DownloadedFile:
        """Flush the whole part to disk, and put it under its final name.

        Args:
            overwrite: whether to replace a file that exists.
            find_earlier: returns a file that is this result already: the part replaces it, and
                gets no other name.

        Raises:
            DownloadError: a file was put there meanwhile, and must not be overwritten; the part
                stays.
            OSError: the disk.
        """
        with open(self._path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.tell()
        # Compared before the part has a name: a run that is killed here leaves no second copy.
        target = find_earlier(size, digest) if find_earlier is not None else None
        if target is None:
            self.prepare(overwrite)  # again: another program may be at work here
            target = self._target
        self._tag.unlink(missing_ok=True)
        self._path.replace(target)
        return DownloadedFile(target, size, digest)

    def _open(self, start: int, tag: str) -> BinaryIO:
        """Open the part to append at start.

        A tag is kept only where it proves that two parts are of the same bytes, and can be sent
        back: strong, and of visible ASCII (RFC 9110, 8.8.3 and 13.1.5). To go on, an answer must
        repeat it: hosts that ignore If-Range would append one version to another.
        """
        if start == 0:
            self.restart()
        elif tag != self._stored_tag():
            raise MismatchError("the range is of another version than the bytes before it")
        file = open(self._path, "ab")  # noqa: SIM115 - closed by receive()
        if file.tell() != start:
            file.close()
            raise MismatchError("the range does not follow the bytes before it")
        if not tag.startswith("W/") and _VISIBLE.fullmatch(tag):
            self._tag.write_bytes(tag.encode())
        return file

    def _stored_tag(self) -> str | None:
        """Return the tag of the bytes that came, or None if there is none that can be sent."""
        try:
            tag = self._tag.read_bytes().decode("latin-1")
        except FileNotFoundError:
            return None
        return tag if _VISIBLE.fullmatch(tag) else None


class _Inflater:
    """Decodes gzip and deflate (RFC 9110, 8.4.1), a bounded piece at a time."""

    def __init__(self) -> None:
        self._stream: Any = None  # zlib's decompressor; its type has no public name

    @property
    def is_complete(self) -> bool:
        """Whether the compressed stream has ended, its checksum verified."""
        return self._stream is not None and self._stream.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk decodes to, at most ``CHUNK`` bytes at a time.

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


def inflater_for(answer: aiohttp.ClientResponse) -> _Inflater | None:
    """Return what decodes an answer; None for one that is not compressed.

    No coding was asked for, and few hosts send one. S3-compatible ones may repeat ``aws-chunked``
    from an upload; it is no coding of the answer.

    Raises:
        MismatchError: it has another coding, or is a part of a compressed answer.
    """
    header = answer.headers.get("Content-Encoding", "").lower()
    codings = [
        coding
        for coding in re.split(r"[,\s]+", header)
        if coding not in ("", "identity", "aws-chunked")
    ]
    if not codings:
        return None
    if codings[0] not in ("gzip", "x-gzip", "deflate") or len(codings) > 1:
        raise MismatchError(f"unexpected Content-Encoding {header[:80]!r}")
    if answer.status != 200:
        raise MismatchError("the answer is a range of a compressed body")
    return _Inflater()


def content_range(answer: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """Return where an answer begins, and the size of the whole or None (RFC 9110, 14.4).

    Content-Length has no meaning beside Transfer-Encoding (RFC 9112, 6.3).
    """
    length = None if "Transfer-Encoding" in answer.headers else answer.content_length
    if answer.status == 200:
        return 0, length
    match = re.match(r"bytes (\d+)-\d+/(?:(\d+)|\*)", answer.headers.get("Content-Range", ""))
    if match is None:
        raise MismatchError("the range has no readable Content-Range")
    start = int(match[1])
    if match[2]:
        return start, int(match[2])
    return start, None if length is None else start + length
