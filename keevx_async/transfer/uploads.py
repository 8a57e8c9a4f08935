"""Upload local files: each distinct file once, a few at a time, streamed from disk.

An upload is free, so unlike a create it is repeated without caution.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple, TypeVar

import aiohttp
from attrs import define, field

from ..errors import ConfigurationError, ResponseError, UploadError
from ..http.queries import ApiClient
from ..http.retry import Retrier, Retryable
from ..http.transport import CLIENT_CLOSED, HttpRequest
from ..http.wire import UPLOAD_PATH, decode_upload
from ..models.validators import shown
from .fitting import Fit, fit_image
from .images import (
    MAX_UPLOAD,
    ChangedError,
    Fingerprint,
    Image,
    fingerprint,
    inspect,
    read,
    require_format,
)
from .media_types import CONVERTIBLE, UPLOAD_FORMATS, MediaType
from .safe_names import safe_name

PARALLEL_UPLOADS = 4
PARALLEL_FITS = 2
"""Images that are held in memory, decoded, at a time."""
URL_TTL = 3600.0
"""Seconds for which an upload's URL is used again. How long Keevx keeps an upload is documented
nowhere; an hour is far below the 7 days of results, and renewing one an hour costs nothing."""
MAX_REMEMBERED = 10_000
"""Files remembered by a client, so that a stream of any length stays small."""
MAX_ATTEMPTS_ON_CHANGE = 3
MIN_UPLOAD_SPEED = 64 * 1024
"""Bytes per second. An upload's timeout is that of an exchange plus its size divided by this, so
that neither a long video nor a slow line runs into it."""

T = TypeVar("T")
K = TypeVar("K")
Source = str | os.PathLike[str] | bytes | BinaryIO


class FittedUpload(NamedTuple):
    """The URL of an image, and the digest of what was sent instead of it; empty if it was sent."""

    url: str
    digest: str = ""


class Upload(NamedTuple):
    """What is uploaded once: bytes, by their digest, under the file name that the caller chose."""

    digest: str
    filename: str | None


class Fitting(NamedTuple):
    """An image, and what it is made to fit to."""

    version: Fingerprint
    fit: Fit
    ratio: str | None
    formats: tuple[str, ...]


@define
class UploadCache:
    """What a client has learned about files. It outlives an event loop, and holds no loop's object.

    Attributes:
        images: inspected files by fingerprint, so that a file named often is read once. Only
            settled ones: a file still being written may change and keep its fingerprint.
        urls: the URL of each upload, and when it was made, in seconds of a monotonic clock.
        fitted: what was sent instead of an image; None if the image fitted as it is.
    """

    images: dict[Fingerprint, Image] = field(factory=dict[Fingerprint, Image])
    urls: dict[Upload, tuple[str, float]] = field(factory=dict[Upload, tuple[str, float]])
    fitted: dict[Fitting, Upload | None] = field(factory=dict["Fitting", "Upload | None"])


class Uploads:
    """Uploads images and videos, at most ``PARALLEL_UPLOADS`` at a time.

    Args:
        api: sends the requests.
        retrier: repeats what failed in passing.
        cache: what this client has uploaded before.
        clock: returns seconds; tests pass their own.
    """

    def __init__(
        self,
        api: ApiClient,
        retrier: Retrier,
        cache: UploadCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._retrier = retrier
        self._cache = cache
        self._clock = clock
        self._slots = asyncio.Semaphore(PARALLEL_UPLOADS)
        self._fitting = asyncio.Semaphore(PARALLEL_FITS)
        self._active: dict[Upload, asyncio.Task[str]] = {}
        self._waiters: dict[asyncio.Task[str], int] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many callers wait for uploads in progress."""
        return sum(self._waiters.values())

    async def files(
        self, paths: Iterable[Path], formats: Collection[str] = UPLOAD_FORMATS
    ) -> Mapping[Path, str]:
        """Return the URL of each local file. All are checked before the first is sent.

        Equal bytes are uploaded once, and again after ``URL_TTL``. Cancelled, an upload goes on
        only if another caller waits for it.

        Args:
            paths: the files.
            formats: names of the formats they may have, as in ``media_types``.

        Raises:
            UploadError: one cannot be read, is empty, too large, cut short, of another format, or
                keeps changing.
            ConfigurationError: the client was closed.
        """
        distinct = list(dict.fromkeys(paths))
        images = await _gather(self._inspect(path, formats) for path in distinct)
        uploads = (
            self._file(path, image, None) for path, image in zip(distinct, images, strict=True)
        )
        return dict(zip(distinct, await _gather(uploads), strict=True))

    async def digests(
        self, paths: Iterable[Path], formats: Collection[str], fit: Fit
    ) -> Mapping[Path, str]:
        """Return the SHA-256 of each local file, which is read at most once while it is unchanged.

        Args:
            paths: the files.
            formats: names of the formats they may have, as in ``media_types``.
            fit: unless ``none``, those that can be made to fit are read too.

        Raises:
            UploadError: as for `files`.
        """
        distinct = list(dict.fromkeys(paths))
        images = await _gather(self._inspect(path, formats, fit) for path in distinct)
        return {path: image.digest for path, image in zip(distinct, images, strict=True)}

    async def fitted(
        self, ratios: Mapping[Path, str | None], formats: Collection[str], fit: Fit
    ) -> Mapping[Path, FittedUpload]:
        """Return the URL of each local image, or of what ``fit_image`` made of it.

        Args:
            ratios: each image, and the ratio that it should have; None for any.
            formats: names of the formats that Keevx takes for it.
            fit: ``crop`` or ``pad``.

        Raises:
            UploadError: as for `files`, or one cannot be decoded.
            ConfigurationError: the client was closed.
        """
        made = await _gather(
            self._fit_file(path, ratio, formats, fit) for path, ratio in ratios.items()
        )
        return dict(zip(ratios, made, strict=True))

    async def _fit_file(
        self, path: Path, ratio: str | None, formats: Collection[str], fit: Fit
    ) -> FittedUpload:
        # 1. It was made to fit before, and the URL of that is still good.
        # 2. It was found to fit as it is: uploaded like any file.
        # 3. Otherwise it is made to fit, in a folder that is removed once that is uploaded.
        async with self._fitting:
            work = Fitting(await asyncio.to_thread(fingerprint, path), fit, ratio, tuple(formats))
            if work in self._cache.fitted:
                upload = self._cache.fitted[work]
                if upload is None:
                    return FittedUpload((await self.files([path], formats))[path])
                url, since = self._cache.urls.get(upload, ("", 0.0))
                if url and self._clock() - since < URL_TTL:
                    return FittedUpload(url, upload.digest)
            with TemporaryDirectory(prefix="keevx-", ignore_cleanup_errors=True) as folder:
                made = await asyncio.to_thread(fit_image, path, fit, ratio, formats, Path(folder))
                if made is None:
                    remember(self._cache.fitted, work, None)
                    return FittedUpload((await self.files([path], formats))[path])
                image = await asyncio.to_thread(inspect, made, formats)
                remember(self._cache.fitted, work, Upload(image.digest, None))
                return FittedUpload(await self._file(made, image, None), image.digest)

    async def upload(self, source: Source, filename: str | None) -> str:
        """Return the URL of one file.

        Bytes and open binary files are uploaded each time, a path as by `files`.

        Args:
            source: a path, bytes, or a binary file, which is read from its position to its end.
            filename: how Keevx is to call it; made safe. None takes the path's name.

        Raises:
            UploadError: as for `files`, or source is none of these.
            ConfigurationError: the client was closed.
        """
        if filename is not None and not isinstance(filename, str):
            raise UploadError(f"filename must be a string (got {shown(filename)})")
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            return await self._file(path, await self._inspect(path), filename)
        async with self._slots:
            data, media_type = await asyncio.to_thread(read, source)
            name = safe_name(filename) if filename else media_type.file_name("image", "")
            return await self._retrier(
                lambda: self._post(io.BytesIO(data), name, media_type, len(data))
            )

    async def close(self) -> None:
        """Cancel the uploads in progress; who waits for one gets ConfigurationError."""
        self._closed = True
        tasks = list(self._waiters)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _inspect(
        self, path: Path, formats: Collection[str] = UPLOAD_FORMATS, fit: Fit = "none"
    ) -> Image:
        limit: int | None = MAX_UPLOAD
        if fit != "none" and "JPEG" in formats:
            formats, limit = (*formats, *CONVERTIBLE), None
        version = await asyncio.to_thread(fingerprint, path)
        if (image := self._cache.images.get(version)) is not None:
            require_format(path, image.type, formats)  # another kind of job may have named it
            return image
        image = await asyncio.to_thread(inspect, path, formats, limit=limit)
        if image.settled:
            remember(self._cache.images, image.version, image)
        return image

    async def _file(self, path: Path, image: Image, filename: str | None) -> str:
        # 1. Equal bytes were uploaded within URL_TTL: that URL.
        # 2. They are being uploaded: wait for the same task.
        # 3. Otherwise upload them. If the file changes meanwhile, inspect it and begin again.
        for _ in range(MAX_ATTEMPTS_ON_CHANGE):
            upload = Upload(image.digest, filename)
            url, since = self._cache.urls.get(upload, ("", 0.0))
            if url and self._clock() - since < URL_TTL:
                return url
            task = self._active.get(upload)
            if task is None:
                task = asyncio.ensure_future(self._send(path, image, filename))
                self._active[upload], self._waiters[task] = task, 0
                task.add_done_callback(partial(self._on_done, upload))
            try:
                return await self._join(upload, task)
            except ChangedError:
                image = await self._inspect(path)
        raise UploadError(f"{path} changes while it is read; upload it when it is complete")

    async def _join(self, upload: Upload, task: asyncio.Task[str]) -> str:
        """Wait for a shared upload; the last one who stops waiting cancels it."""
        self._waiters[task] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed:
                raise ConfigurationError(CLIENT_CLOSED) from None
            if not task.done():
                self._waiters[task] -= 1
                if not self._waiters[task] and self._active.get(upload) is task:
                    del self._active[upload]  # at once, so that nobody joins what is ending
                    task.cancel()
            raise

    def _on_done(self, upload: Upload, task: asyncio.Task[str]) -> None:
        del self._waiters[task]
        if self._active.get(upload) is task:
            del self._active[upload]
        if not task.cancelled() and task.exception() is None:
            remember(self._cache.urls, upload, (task.result(), self._clock()))

    async def _send(self, path: Path, image: Image, filename: str | None) -> str:
        if filename:
            name = safe_name(filename)
        else:
            name = image.type.file_name(safe_name(path.stem), path.suffix)

        async def attempt() -> str:
            with image.opened(path) as file:
                return await self._post(file, name, image.type, image.version.size)

        async with self._slots:
            return await self._retrier(attempt)

    async def _post(self, file: BinaryIO, name: str, media_type: MediaType, size: int) -> str:
        form = encode_form(file, name, media_type.content_type)
        request = HttpRequest("POST", UPLOAD_PATH, form, size / MIN_UPLOAD_SPEED)
        response, envelope = await self._api.get(request)
        url = decode_upload(envelope.result or envelope.data)
        if url is None:
            raise Retryable(ResponseError(response.status, "the upload's answer holds no URL"))
        return url


def encode_form(file: BinaryIO, name: str, content_type: str) -> aiohttp.FormData:
    """Return the multipart body of an upload: one part named ``file``, read as it is sent.

    The file stays open, and can be sent once. Source: keevx-api.md, "Upload".
    """
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("file", file, filename=name, content_type=content_type)
    return form


def remember(cache: dict[K, T], key: K, value: T) -> None:
    """Put a value in as the newest; the oldest leaves when there are more than MAX_REMEMBERED."""
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > MAX_REMEMBERED:
        del cache[next(iter(cache))]


async def _gather(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Return what each returned, or raise the first error once all have ended."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
