"""Local files up: each distinct file once, a few at a time, none of them held in memory."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import aiohttp
from attrs import define, field

from ..errors import ConfigurationError, ResponseError, UploadError
from ..http.api import ApiClient
from ..http.retry import Retrier, Retryable
from ..http.transport import CLIENT_CLOSED, HttpRequest
from ..http.wire import UPLOAD_PATH, decode_upload
from ..models.validators import shown
from .images import (
    ChangedError,
    Fingerprint,
    Image,
    fingerprint,
    inspect,
    read,
    require_format,
)
from .media_types import UPLOAD_FORMATS, MediaType
from .paths import safe_name

PARALLEL_UPLOADS = 4
URL_TTL = 3600.0
"""Seconds for which an upload's URL is used again. How long Keevx keeps an upload is documented
nowhere; an hour is far below the 7 days of results, and renewing one an hour costs nothing."""
MAX_REMEMBERED = 10_000
"""Files remembered by a client, so that a stream of any length stays small."""
MAX_ATTEMPTS_ON_CHANGE = 3
MIN_UPLOAD_SPEED = 64 * 1024
"""Bytes per second. An upload is given its size by this on top of the timeout of an exchange, so
that neither a long video nor a slow line runs into it."""

T = TypeVar("T")
K = TypeVar("K")
Source = str | os.PathLike[str] | bytes | BinaryIO


class Upload(NamedTuple):
    """What is uploaded once: bytes, by their digest, and the name that was asked for."""

    digest: str
    filename: str | None


@define
class UploadCache:
    """What a client knows of files: outlives an event loop.

    Attributes:
        images: what settled files hold, so that a file named often is not read often.
        urls: where uploads lie, and when that was learned, in seconds of a monotonic clock.
    """

    images: dict[Fingerprint, Image] = field(factory=dict[Fingerprint, Image])
    urls: dict[Upload, tuple[str, float]] = field(factory=dict[Upload, tuple[str, float]])


class Uploads:
    """Brings images and videos to Keevx.

    Args:
        querier: carries them.
        retrier: repeats what failed in passing: an upload is free.
        known: what this client has uploaded before.
        clock: tells the time in seconds; tests pass their own.
    """

    def __init__(
        self,
        querier: ApiClient,
        retrier: Retrier,
        known: UploadCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._querier = querier
        self._retrier = retrier
        self._known = known
        self._clock = clock
        self._slots = asyncio.Semaphore(PARALLEL_UPLOADS)
        self._under_way: dict[Upload, asyncio.Task[str]] = {}
        self._waiting: dict[asyncio.Task[str], int] = {}
        self._closed = False

    async def files(
        self, paths: Iterable[Path], formats: Collection[str] = UPLOAD_FORMATS
    ) -> Mapping[Path, str]:
        """Return each local file's URL. All are looked at before the first is sent.

        Args:
            paths: the files.
            formats: what they may be, by the names in ``media_types``.

        Raises:
            UploadError: one cannot be read, is too large, empty, cut short, or none of formats.
        """
        distinct = list(dict.fromkeys(paths))
        images = await _all(self._look(path, formats) for path in distinct)
        sent = map(self._file, distinct, images, [None] * len(distinct))
        return dict(zip(distinct, await _all(sent), strict=True))

    async def upload(self, source: Source, filename: str | None) -> str:
        """Return a file's URL: of bytes or a binary file always a new one.

        Raises:
            UploadError: it cannot be read, is too large, empty, cut short or of another type.
        """
        if filename is not None and not isinstance(filename, str):
            raise UploadError(f"filename must be a string (got {shown(filename)})")
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            return await self._file(path, await self._look(path), filename)
        async with self._slots:
            data, kind = await asyncio.to_thread(read, source)
            name = safe_name(filename) if filename else kind.file_name("image", "")
            return await self._retrier(lambda: self._post(io.BytesIO(data), name, kind, len(data)))

    async def close(self) -> None:
        """End what is under way."""
        self._closed = True
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, path: Path, formats: Collection[str] = UPLOAD_FORMATS) -> Image:
        version = await asyncio.to_thread(fingerprint, path)
        if (image := self._known.images.get(version)) is not None:
            require_format(path, image.type, formats)  # another kind of job may have named it
            return image
        image = await asyncio.to_thread(inspect, path, formats)
        if image.settled:
            remember(self._known.images, image.version, image)
        return image

    async def _file(self, path: Path, image: Image, filename: str | None) -> str:
        for _ in range(MAX_ATTEMPTS_ON_CHANGE):
            try:
                return await self._shared(path, image, filename)
            except ChangedError:
                image = await self._look(path)
        raise UploadError(f"{path} changes while it is read; upload it when it is complete")

    async def _shared(self, path: Path, image: Image, filename: str | None) -> str:
        """Return the URL of equal bytes, uploaded lately, or now by another, or now by us."""
        upload = Upload(image.digest, filename)
        url, since = self._known.urls.get(upload, ("", 0.0))
        if url and self._clock() - since < URL_TTL:
            return url
        task = self._under_way.get(upload)
        if task is None:
            task = asyncio.ensure_future(self._send(path, image, filename))
            self._under_way[upload], self._waiting[task] = task, 0
            task.add_done_callback(partial(self._ended, upload))
        return await self._join(upload, task)

    async def _join(self, upload: Upload, task: asyncio.Task[str]) -> str:
        """Wait for an upload, and end it when nobody waits for it any more."""
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed:
                raise ConfigurationError(CLIENT_CLOSED) from None
            if not task.done():
                self._waiting[task] -= 1
                if not self._waiting[task] and self._under_way.get(upload) is task:
                    del self._under_way[upload]  # at once, so that nobody joins what is ending
                    task.cancel()
            raise

    def _ended(self, upload: Upload, task: asyncio.Task[str]) -> None:
        del self._waiting[task]
        if self._under_way.get(upload) is task:
            del self._under_way[upload]
        if not task.cancelled() and task.exception() is None:
            remember(self._known.urls, upload, (task.result(), self._clock()))

    async def _send(self, path: Path, image: Image, filename: str | None) -> str:
        name = safe_name(filename) if filename else _name_of(path, image)

        async def attempt() -> str:
            with image.opened(path) as file:
                return await self._post(file, name, image.type, image.version.size)

        async with self._slots:
            return await self._retrier(attempt)

    async def _post(self, file: BinaryIO, name: str, kind: MediaType, size: int) -> str:
        form = encode_form(file, name, kind.content_type)
        call = HttpRequest("POST", UPLOAD_PATH, form, size / MIN_UPLOAD_SPEED)
        reply, envelope = await self._querier.get(call)
        url = decode_upload(envelope.result or envelope.data)
        if url is None:
            raise Retryable(ResponseError(reply.status, "the upload's answer holds no URL"))
        return url


def encode_form(file: BinaryIO, name: str, media_type: str) -> aiohttp.FormData:
    """Return the multipart body of an upload: one part named ``file``, read as it is sent."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("file", file, filename=name, content_type=media_type)
    return form


def _name_of(path: Path, image: Image) -> str:
    return image.type.file_name(safe_name(path.stem), path.suffix)


def remember(known: dict[K, T], key: K, value: T) -> None:
    """Put a value in; the one that was put in first leaves when there are too many."""
    known.pop(key, None)  # to the end of the row
    known[key] = value
    if len(known) > MAX_REMEMBERED:
        del known[next(iter(known))]


async def _all(doing: Iterable[Awaitable[T]]) -> list[T]:
    """Return what each returned, or raise the first error once all have ended."""
    ended = await asyncio.gather(*doing, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return [one for one in ended if not isinstance(one, BaseException)]
