"""Results down: streamed, resumed, whole or not there. The API key never goes to their host."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

import aiohttp
import attrs
from attrs import frozen
from yarl import URL

from .checks import is_url
from .errors import ConfigurationError, DownloadError
from .retry import Again, Retrier
from .transport import CLOSED, Transport, fault_of

CHUNK = 256 * 1024
PARALLEL_DOWNLOADS = 32
_GONE = (403, 404, 410)


@frozen
class Brought:
    """A file that was brought home: where, its bytes, and their SHA-256."""

    path: Path
    size: int
    digest: str


class GoneError(DownloadError):
    """The storage host no longer gives the file: its URL has expired, or never was."""


class Downloads:
    """Brings files home: streamed, resumed with Range after a cut, whole or not at all.

    Args:
        transport: lends its session; none of its headers are sent.
        retrier: repeats what was cut.
    """

    def __init__(self, transport: Transport, retrier: Retrier) -> None:
        self._transport = transport
        self._retrier = retrier
        self._timeout = for_download(transport.timeout)
        self._slots = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        self._under_way: dict[Path, asyncio.Future[Brought]] = {}
        self._closed = False

    async def fetch(self, url: str, target: Path, *, overwrite: bool) -> Brought:
        """Download url to target.

        Raises:
            GoneError: the storage host no longer has it.
            DownloadError: it could not be had whole, or target exists.
        """
        if not is_url(url):
            raise DownloadError(
                f"{url!r} is not an http(s) URL; give that, or the Task that wait() returned"
            )
        if target in self._under_way:
            raise DownloadError(f"{target} is already being downloaded")
        fetching = asyncio.ensure_future(self._fetch(url, _Part(target, url), overwrite))
        self._under_way[target] = fetching
        try:
            return await fetching
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise ConfigurationError(CLOSED) from None
        except OSError as error:
            raise DownloadError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            del self._under_way[target]

    async def close(self) -> None:
        """End what is under way: aiohttp lets a read wait for ever on a connection it closes."""
        self._closed = True
        for fetching in self._under_way.values():
            fetching.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _fetch(self, url: str, part: _Part, overwrite: bool) -> Brought:
        async with self._slots:
            await asyncio.to_thread(part.prepare, overwrite)
            await self._retrier(lambda: self._attempt(url, part))
            return await asyncio.to_thread(part.finish, overwrite)

    async def _attempt(self, url: str, part: _Part) -> None:
        address = URL(url, encoded=True)
        session, proxy = await self._transport.route(address)
        try:
            async with session.get(
                address,
                headers=part.headers(),
                timeout=self._timeout,
                proxy=proxy,
                auto_decompress=False,
            ) as answer:
                _raise_for(answer.status, url)
                await part.take(answer)
        except _Unfit as error:
            part.restart()
            raise Again(DownloadError(f"{bare(url)}: {error}")) from error
        except aiohttp.ClientError as error:
            raise Again(DownloadError(f"{bare(url)}: {fault_of(error).reason}")) from error
        except TimeoutError as error:
            raise Again(DownloadError(f"{bare(url)}: timed out")) from error


def for_download(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return a timeout for silence: a whole download may take as long as it takes."""
    return attrs.evolve(timeout, total=None, sock_read=timeout.sock_read or timeout.total)


class _Unfit(Exception):
    """What came does not fit what is there: begin anew."""


def bare(url: str) -> str:
    """Return url without its query, which may hold a signature."""
    return url.partition("?")[0]


def _raise_for(status: int, url: str) -> None:
    if status in (200, 206):
        return
    if status == 416:
        raise _Unfit("the part at hand is no part of it")
    if status in _GONE:
        raise GoneError(
            f"{bare(url)} is gone (HTTP {status}); result URLs live for 7 days: "
            "ask for the task's status again"
        )
    error = DownloadError(f"{bare(url)} answered HTTP {status}")
    raise Again(error) if status == 429 or status >= 500 else error


class _Part:
    """A download under way: a temporary file beside its target, and the version it is of."""

    def __init__(self, target: Path, url: str) -> None:
        mark = hashlib.sha256(bare(url).encode()).hexdigest()[:8]
        self._target = target
        self._path = target.with_name(f".{target.name}.{mark}.part")
        self._tag = self._path.with_suffix(".tag")

    def prepare(self, overwrite: bool) -> None:
        """See that there is a folder, and no file that would be lost."""
        if self._target.exists() and not overwrite:
            raise DownloadError(f"{self._target} exists; pass overwrite=True to replace it")
        self._target.parent.mkdir(parents=True, exist_ok=True)

    def headers(self) -> dict[str, str]:
        """Return the request headers that go on where the file stands."""
        wanted = {"Accept-Encoding": "identity"}
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and self._tag.exists():
            wanted |= {"Range": f"bytes={size}-", "If-Range": self._tag.read_text()}
        return wanted

    async def take(self, answer: aiohttp.ClientResponse) -> None:
        """Append to the part (206) or begin it anew (200); see that all came that was said."""
        start, whole = _span_of(answer)
        size = start
        with self._open(start, answer.headers.get("ETag", "")) as file:
            async for chunk in answer.content.iter_chunked(CHUNK):
                size += len(chunk)
                if whole is not None and size > whole:
                    break  # it may never end
                await asyncio.to_thread(file.write, chunk)
        if whole not in (None, size):
            raise _Unfit(f"{size} bytes came of {whole}")

    def _open(self, start: int, tag: str) -> BinaryIO:
        if start == 0:
            self.restart()
        elif tag and self._tag.exists() and tag != self._tag.read_text():
            raise _Unfit("the part that came is of another version")
        file = open(self._path, "ab")  # noqa: SIM115 - closed by take()
        if file.tell() != start:
            file.close()
            raise _Unfit("the range that came does not follow what is there")
        if tag and not tag.startswith("W/"):  # a weak tag is no proof of equal bytes
            self._tag.write_text(tag)
        return file

    def restart(self) -> None:
        """Forget what is there."""
        self._tag.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def finish(self, overwrite: bool) -> Brought:
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
        return Brought(self._target, size, digest)


def _span_of(answer: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """Return where an answer begins and, if it is told, the whole's size (RFC 9110, 14.4)."""
    if answer.status == 200:
        return 0, answer.content_length
    found = re.match(r"bytes (\d+)-\d+/(?:(\d+)|\*)", answer.headers.get("Content-Range", ""))
    if found is None:
        raise _Unfit("a part came that does not say where it begins")
    start, length = int(found[1]), answer.content_length
    if found[2]:
        return start, int(found[2])
    return start, None if length is None else start + length
