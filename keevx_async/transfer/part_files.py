"""Temporary files for downloads that are not yet complete and verified.

A part file is written next to its target, then renamed atomically, so a file with the final name is
always complete. The downloaded version's ETag is stored as well, so a later attempt, or a later
run, can resume where an earlier one stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable
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
"""Finds a result that an earlier run downloaded but did not record before it died. Called with the
size in bytes and the SHA-256 in hexadecimal; returns the file, or None."""


@frozen
class DownloadedFile:
    """A finished download.

    Attributes:
        path: the file's path.
        size: the file's size in bytes, after decompression.
        digest: the file's SHA-256 in hexadecimal.
    """

    path: Path
    size: int
    digest: str


class MismatchError(Exception):
    """A response does not continue the part, or is not a result: start the download over."""


class PartFile:
    """A partial download: a ``.name.hash.part`` file next to its target, and a ``.tag`` file.

    The ``.tag`` file contains the ETag. The part's name is derived from the target's name and the
    URL, so the next download of the same result finds the part. The URL's query is not used,
    because its signature may change. All methods except ``receive`` block on the disk.

    Args:
        target: the final path of the file.
        url: the URL to download.
    """

    def __init__(self, target: Path, url: str) -> None:
        source = f"{target.name}\n{without_query(url)}".encode(errors="surrogateescape")
        mark = hashlib.sha256(source).hexdigest()[:8]
        # Shortened, because the target's name may already be as long as the file system allows.
        brief = target.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")
        self._target = target
        self._path = target.with_name(f".{brief}.{mark}.part")
        self._tag = self._path.with_suffix(".tag")

    def prepare(self, overwrite: bool) -> None:
        """Check that the target can be written, and create its folder.

        Raises:
            DownloadError: the target exists and must not be overwritten, or its name is not a valid
                file name.
            OSError: the folder cannot be created.
        """
        name = str(self._target)
        try:
            is_valid = b"\0" not in os.fsencode(name)
        except UnicodeEncodeError:
            is_valid = False
        if not is_valid:
            raise DownloadError(
                f"cannot write {name!r}: it is not a valid file name (names are encoded as "
                f"{sys.getfilesystemencoding()}); choose another name, or set PYTHONUTF8=1"
            )
        if self._target.exists() and not overwrite:
            raise DownloadError(f"{self._target} exists; pass overwrite=True to replace it")
        self._target.parent.mkdir(parents=True, exist_ok=True)

    def headers(self) -> dict[str, str]:
        """Return the headers that request the missing bytes, or the whole file.

        A range is requested only if an ETag can prove that the range belongs to the same version.
        """
        headers = {"Accept-Encoding": "identity"}
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and (tag := self._stored_tag()):
            headers |= {"Range": f"bytes={size}-", "If-Range": tag}
        return headers

    async def receive(self, answer: aiohttp.ClientResponse, expected: str | None) -> None:
        """Write a response's body to the part: append a range (206), or start over (200).

        When this returns, the part is complete and verified as a result. If the call is cancelled
        or the connection is lost, the part keeps the bytes received so far.

        Args:
            answer: a response with status 200 or 206.
            expected: ``video``, ``image`` or ``caption``; None for any of them.

        Raises:
            MismatchError: the body does not continue the part, is shorter or longer than announced,
                cannot be decoded, or is not the expected type of media.
            OSError: the disk or the connection failed.
        """
        decoder = decoder_for(answer)
        start, total = content_range(answer)
        size = start
        with self._open(start, "" if decoder.decodes else answer.headers.get("ETag", "")) as file:

            def write(chunk: bytes) -> None:
                for piece in decoder.pieces(chunk):
                    file.write(piece)

            async for chunk in answer.content.iter_chunked(CHUNK):
                size += len(chunk)
                if total is not None and size > total:
                    break  # it might never end
                await asyncio.to_thread(write, chunk)
        if total not in (None, size):
            raise MismatchError(f"got {size} of {total} bytes")
        decoder.check_end()

        def head() -> bytes:
            with open(self._path, "rb") as file:
                return file.read(HEAD)

        declared = answer.headers.get("Content-Type", "")
        if problem := check_content(await asyncio.to_thread(head), declared, expected):
            raise MismatchError(problem)

    def restart(self) -> None:
        """Delete the part. The next request is then for the whole file. Safe to call repeatedly."""
        self._tag.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """After a failure, delete the part if no later download can resume it.

        A part is kept if it is not empty and has an ETag. Never raises an error.
        """
        with suppress(OSError):
            if self._stored_tag() is None or not self._path.stat().st_size:
                self.restart()

    def finish(self, overwrite: bool, find_earlier: FindEarlier | None = None) -> DownloadedFile:
        """Flush the complete part to disk, and rename it to its final name.

        Args:
            overwrite: whether to replace an existing file.
            find_earlier: finds an existing file that already contains this result. The part then
                replaces that file instead of the target.

        Raises:
            DownloadError: another program created the target in the meantime, and it must not be
                overwritten; the part is kept.
            OSError: the disk failed.
        """
        with open(self._path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.tell()
        # Looked up before the rename, so a run that is killed here leaves no second copy.
        target = find_earlier(size, digest) if find_earlier is not None else None
        if target is None:
            self.prepare(overwrite)  # again: another program may have created the target
            target = self._target
        self._tag.unlink(missing_ok=True)
        self._path.replace(target)
        return DownloadedFile(target, size, digest)

    def _open(self, start: int, tag: str) -> BinaryIO:
        """Open the part for appending at ``start``.

        A tag is stored only if it is strong (equal tags mean equal bytes) and can be sent back
        (visible ASCII; RFC 9110, 8.8.3 and 13.1.5). A range response must have the stored tag: a
        host that ignores If-Range could otherwise mix two versions in one file.
        """
        if start == 0:
            self.restart()
        elif tag != self._stored_tag():
            raise MismatchError("the range belongs to another version of the file")
        file = open(self._path, "ab")  # noqa: SIM115 - closed by receive()
        if file.tell() != start:
            file.close()
            raise MismatchError("the range does not start where the part ends")
        if not tag.startswith("W/") and _VISIBLE.fullmatch(tag):
            self._tag.write_bytes(tag.encode())
        return file

    def _stored_tag(self) -> str | None:
        """Return the part's stored tag, or None if it is missing or cannot be sent."""
        try:
            tag = self._tag.read_bytes().decode("latin-1")
        except FileNotFoundError:
            return None
        return tag if _VISIBLE.fullmatch(tag) else None


class Decoder:
    """Returns each chunk unchanged, for a response that is not compressed.

    Attributes:
        decodes: whether chunks are changed, so that an interrupted download cannot be resumed.
    """

    decodes: bool = False

    def pieces(self, chunk: bytes) -> Iterable[bytes]:
        """Decode a chunk, and return the result in pieces of at most ``CHUNK`` bytes.

        Raises:
            MismatchError: the chunk cannot be decoded.
        """
        return (chunk,)

    def check_end(self) -> None:
        """Check that a compressed stream has ended and that its checksum was correct.

        Raises:
            MismatchError: it has not ended.
        """


class _Inflater(Decoder):
    """Decodes gzip and deflate (RFC 9110, 8.4.1) in pieces of bounded size."""

    decodes = True

    def __init__(self) -> None:
        self._stream: Any = None  # zlib's decompressor; its type has no public name

    def check_end(self) -> None:
        if self._stream is None or not self._stream.eof:
            raise MismatchError("its compressed response ended too early")

    def pieces(self, chunk: bytes) -> Iterable[bytes]:
        rest, is_pending = chunk, False
        try:
            while rest or is_pending:
                if self._stream is None:  # some hosts send deflate without its zlib header
                    has_header = rest[:2] == b"\x1f\x8b" or rest[0] & 15 == zlib.DEFLATED
                    self._stream = zlib.decompressobj(47 if has_header else -zlib.MAX_WBITS)
                elif self._stream.eof:  # gzip may have several members
                    self._stream = zlib.decompressobj(47)
                piece = self._stream.decompress(rest, CHUNK)
                yield piece
                rest = self._stream.unconsumed_tail or self._stream.unused_data
                is_pending = len(piece) == CHUNK and not self._stream.eof
        except zlib.error as error:
            raise MismatchError(f"its compressed response cannot be decoded ({error})") from error


def decoder_for(answer: aiohttp.ClientResponse) -> Decoder:
    """Return a decoder for a response's body.

    The client requests uncompressed responses, but a few hosts compress them anyway. S3-compatible
    hosts may repeat ``aws-chunked`` from an upload; the response itself is not encoded that way.

    Raises:
        MismatchError: the response has an unsupported encoding, or is a range of a compressed
            response.
    """
    header = answer.headers.get("Content-Encoding", "").lower()
    codings = [
        coding
        for coding in re.split(r"[,\s]+", header)
        if coding not in ("", "identity", "aws-chunked")
    ]
    if not codings:
        return Decoder()
    if codings[0] not in ("gzip", "x-gzip", "deflate") or len(codings) > 1:
        raise MismatchError(f"unexpected Content-Encoding {header[:80]!r}")
    if answer.status != 200:
        raise MismatchError("the response is a range of a compressed body")
    return _Inflater()


def content_range(answer: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """Return a response's offset in the file, and the file's size or None (RFC 9110, 14.4).

    If Transfer-Encoding is set, Content-Length is ignored (RFC 9112, 6.3).

    Raises:
        MismatchError: the Content-Range of a 206 is missing or cannot be parsed.
    """
    length = None if "Transfer-Encoding" in answer.headers else answer.content_length
    if answer.status == 200:
        return 0, length
    match = re.match(r"bytes (\d+)-\d+/(?:(\d+)|\*)", answer.headers.get("Content-Range", ""))
    if match is None:
        raise MismatchError("the Content-Range header is missing or invalid")
    start = int(match[1])
    if match[2]:
        return start, int(match[2])
    return start, None if length is None else start + length
