"""Upload local files: each distinct file once, a few at a time, streamed from disk.

Uploads are free, so unlike creates they can safely be retried.
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
from ..http.decoding import UPLOAD_PATH, decode_upload
from ..http.queries import ApiClient
from ..http.retry import Retrier, Retryable
from ..http.transport import CLIENT_CLOSED, HttpRequest
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
"""The maximum number of decoded images in memory at once."""
URL_TTL = 3600.0
"""The number of seconds for which an upload's URL is reused. Keevx does not document how long it
keeps uploads; an hour is far less than the 7 days for results, and repeating an upload each hour is
free."""
MAX_REMEMBERED = 10_000
"""The maximum number of files that a client remembers, to limit its memory use on long inputs."""
MAX_ATTEMPTS_ON_CHANGE = 3
MIN_UPLOAD_SPEED = 64 * 1024
"""Bytes per second. An upload's size divided by this is added to its timeout, to allow for large
videos and slow connections."""

T = TypeVar("T")
K = TypeVar("K")
Source = str | os.PathLike[str] | bytes | BinaryIO


class FittedUpload(NamedTuple):
    """An image's URL and, if a fitted copy was sent in its place, the copy's digest.

    The digest is empty if the image itself was sent.
    """

    url: str
    digest: str = ""


class Upload(NamedTuple):
    """An upload's key: the digest of its bytes, and the file name that the caller chose, if any."""

    digest: str
    filename: str | None


class Fitting(NamedTuple):
    """An image's fingerprint, and the requirements that it is fitted to."""

    version: Fingerprint
    fit: Fit
    ratio: str | None
    formats: tuple[str, ...]


@define
class UploadCache:
    """A client's file cache. It holds no objects of an event loop, so it outlives the loop.

    Attributes:
        images: the inspected files by fingerprint, so that a file used often is read only once.
            Only settled files are stored: a file still being written may change and keep its
            fingerprint.
        urls: each upload's URL and upload time, in seconds on a monotonic clock.
        fitted: the fitted copy that was sent in place of each image; None if the image already fit.
    """

    images: dict[Fingerprint, Image] = field(factory=dict[Fingerprint, Image])
    urls: dict[Upload, tuple[str, float]] = field(factory=dict[Upload, tuple[str, float]])
    fitted: dict[Fitting, Upload | None] = field(factory=dict["Fitting", "Upload | None"])


class Uploads:
    """Uploads images and videos, at most ``PARALLEL_UPLOADS`` at a time.

    Args:
        api: sends the requests.
        retrier: retries temporary failures.
        cache: the client's earlier uploads.
        clock: returns the time in seconds; tests pass their own.
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
        """The number of callers waiting for uploads in progress."""
        return sum(self._waiters.values())

    async def files(
        self, paths: Iterable[Path], formats: Collection[str] = UPLOAD_FORMATS
    ) -> Mapping[Path, str]:
        """Upload local files and return their URLs. All files are checked before any is sent.

        Files with identical bytes are uploaded only once, until ``URL_TTL`` has passed. If this
        call is cancelled, an upload continues only if another caller is waiting for it.

        Args:
            paths: the files.
            formats: the names of the accepted formats (see ``media_types``).

        Raises:
            UploadError: a file cannot be read, is empty, too large or truncated, is not in an
                accepted format, or keeps changing.
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
        """Return the SHA-256 of each local file. An unchanged file is read at most once.

        Args:
            paths: the files.
            formats: the names of the accepted formats (see ``media_types``).
            fit: if it is not ``none``, files that could be fitted are accepted, too.

        Raises:
            UploadError: see `files`.
        """
        distinct = list(dict.fromkeys(paths))
        images = await _gather(self._inspect(path, formats, fit) for path in distinct)
        return {path: image.digest for path, image in zip(distinct, images, strict=True)}

    async def fitted(
        self, ratios: Mapping[Path, str | None], formats: Collection[str], fit: Fit
    ) -> Mapping[Path, FittedUpload]:
        """Upload local images, or fitted copies from ``fit_image``, and return their URLs.

        Args:
            ratios: the images, each with its target ratio; None for any ratio.
            formats: the names of the formats that Keevx accepts for these images.
            fit: ``crop`` or ``pad``.

        Raises:
            UploadError: see `files`; or an image cannot be decoded.
            ConfigurationError: the client was closed.
        """
        made = await _gather(
            self._fit_file(path, ratio, formats, fit) for path, ratio in ratios.items()
        )
        return dict(zip(ratios, made, strict=True))

    async def _fit_file(
        self, path: Path, ratio: str | None, formats: Collection[str], fit: Fit
    ) -> FittedUpload:
        # 1. A fitted copy was uploaded before, and its URL is still valid: return it.
        # 2. The image is known to fit already: upload it like any file.
        # 3. Otherwise fit it, in a temporary folder that is removed after the upload.
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
        """Upload one file and return its URL.

        Bytes and open binary files are uploaded on every call; a path is handled as in `files`.

        Args:
            source: a path, bytes, or a binary file, which is read from its current position to its
                end.
            filename: the file's name at Keevx, made safe; None to use the path's name.

        Raises:
            UploadError: see `files`; or the type of ``source`` is not supported.
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
            return await self._retrier.run(
                lambda: self._post(io.BytesIO(data), name, media_type, len(data))
            )

    async def close(self) -> None:
        """Cancel the uploads in progress; their callers get a ConfigurationError."""
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
            require_format(path, image.type, formats)  # it may have been checked for another kind
            return image
        image = await asyncio.to_thread(inspect, path, formats, limit=limit)
        if image.settled:
            remember(self._cache.images, image.version, image)
        return image

    async def _file(self, path: Path, image: Image, filename: str | None) -> str:
        # 1. The same bytes were uploaded within URL_TTL: return that URL.
        # 2. They are being uploaded now: wait for that upload.
        # 3. Otherwise upload them. If the file changes meanwhile, inspect it and start over.
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
        raise UploadError(
            f"{path} keeps changing while it is being read; upload it when it is complete"
        )

    async def _join(self, upload: Upload, task: asyncio.Task[str]) -> str:
        """Wait for a shared upload, which is cancelled when its last caller stops waiting."""
        self._waiters[task] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed:
                raise ConfigurationError(CLIENT_CLOSED) from None
            if not task.done():
                self._waiters[task] -= 1
                if not self._waiters[task] and self._active.get(upload) is task:
                    del self._active[upload]  # at once, so nobody joins a cancelled upload
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
            return await self._retrier.run(attempt)

    async def _post(self, file: BinaryIO, name: str, media_type: MediaType, size: int) -> str:
        form = encode_form(file, name, media_type.content_type)
        request = HttpRequest("POST", UPLOAD_PATH, form, size / MIN_UPLOAD_SPEED)
        response, envelope = await self._api.get(request)
        url = decode_upload(envelope.result or envelope.data)
        if url is None:
            raise Retryable(ResponseError(response.status, "the upload's response contains no URL"))
        return url


def encode_form(file: BinaryIO, name: str, content_type: str) -> aiohttp.FormData:
    """Return the multipart body of an upload: one part named ``file``, read while it is being sent.

    The file is left open. The body can be sent only once. Source: keevx-api.md, "Upload".
    """
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("file", file, filename=name, content_type=content_type)
    return form


def remember(cache: dict[K, T], key: K, value: T) -> None:
    """Store a value as the newest; remove the oldest if there are more than ``MAX_REMEMBERED``."""
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > MAX_REMEMBERED:
        del cache[next(iter(cache))]


async def _gather(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Return all results, or raise the first error once all awaitables have ended."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
