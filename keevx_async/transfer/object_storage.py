"""Stream results to object storage. An object becomes visible only once it is complete.

Each object is sent in a single signed PUT with a Content-Length. The store makes the object visible
once all bytes have arrived, and discards incomplete objects. Multipart uploads are not used,
because a killed process would leave unlisted parts in the bucket, which are stored and billed. The
exception is an Azure object whose name has to be escaped in a URL: see `_put_blocks`.

obstore (the ``storage`` extra) finds the credentials in the usual places (``AWS_*``, ``GOOGLE_*``
and ``AZURE_*`` variables, instance roles) and signs the URLs. This module never sees the
credentials, and never logs a signed URL, which is itself a credential.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from ..errors import DownloadError, UploadError
from ..http.failures import translate
from ..http.retry import Retryable, retry_after
from ..models.object_path import ObjectPath, check_storage
from ..settings import is_retryable_status
from .media_types import HEAD, check_content
from .part_files import (
    CHUNK,
    DownloadedFile,
    FindEarlier,
    MismatchError,
    content_range,
    decoder_for,
)

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

SIGNED_FOR = timedelta(hours=1)
"""The validity period of a signed URL. S3 checks it when a request starts, not when it ends."""
MAX_OBJECT = 5 * 2**30
"""Maximum size of a single PUT, in bytes. Source: Amazon S3, "Uploading objects"; the other stores
accept at least as much."""
READ_AHEAD = 256 * 1024
"""The number of bytes read per range. A probe reads only a video's index, which is at the start or
the end."""
WRITE_TEST = ".keevx-write-test"
"""The name of the empty object that is written to test a bucket before anything is charged."""
Route = Callable[[URL], Awaitable[tuple[aiohttp.ClientSession, str | None]]]
"""Returns the session and the proxy to use for a request to a URL."""


_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or a role",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@cache
def _store(bucket_url: str) -> Store:
    from obstore.store import from_url

    return cast("Store", from_url(bucket_url))


def object_size(path: ObjectPath) -> int | None:
    """Return an object's size in bytes, or None if it does not exist.

    Blocks on the network: call it in a thread.

    Raises:
        DownloadError: the store could not be queried.
    """
    import obstore

    try:
        return obstore.head(_store(path.bucket_url), path.key)["size"]
    except FileNotFoundError:
        return None
    except Exception as error:  # obstore's errors share no base class but Exception
        raise DownloadError(f"cannot check whether {path} exists: {_brief(error)}") from error


def read_object(path: ObjectPath, folder: Path) -> Path:
    """Download an object in chunks to a new folder, and return the file's path.

    The file keeps the object's name. Blocks on the network: call it in a thread.

    Raises:
        ConfigurationError: obstore is not installed.
        UploadError: the object does not exist, or cannot be read.
    """
    check_storage()
    import obstore

    target = folder / path.name
    try:
        folder.mkdir()
        result = obstore.get(_store(path.bucket_url), path.key)
        with target.open("wb") as file:
            for chunk in result.stream(min_chunk_size=CHUNK):
                file.write(chunk)
    except Exception as error:  # as in object_size
        raise UploadError(f"cannot read {path}: {_brief(error)}") from error
    return target


def open_object(path: ObjectPath) -> io.RawIOBase:
    """Open an object as a readable, seekable file that fetches ranges. Blocks on the network.

    Raises:
        DownloadError: the object does not exist, or the store could not be queried. Reads may raise
            this, too.
    """
    return _ObjectReader(path)


class _ObjectReader(io.RawIOBase):
    """The file that `open_object` returns. Its reads return ``bytes``, as PyAV requires."""

    def __init__(self, path: ObjectPath) -> None:
        import obstore

        self._path = path
        with self._errors():
            store = _store(path.bucket_url)
            self._file = obstore.open_reader(store, path.key, buffer_size=READ_AHEAD)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with self._errors():
            data = bytes(self._file.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # as in object_size
            raise DownloadError(f"cannot read {self._path}: {_brief(error)}") from error


class ObjectPart:
    """A result that is being written to an object, with the same interface as ``PartFile``.

    A failed attempt stores nothing, so each attempt starts from the beginning.

    Args:
        target: the object.
        route: returns the session and the proxy for a request.
        timeout: the PUT request's timeout.
    """

    def __init__(self, target: ObjectPath, route: Route, timeout: aiohttp.ClientTimeout) -> None:
        self._target = target
        self._route = route
        self._timeout = timeout
        self._file: DownloadedFile | None = None

    def prepare(self, overwrite: bool) -> None:
        """Check that the object may be written. Blocks on the network.

        Raises:
            DownloadError: the object exists and must not be overwritten, or the store could not be
                queried.
        """
        if not overwrite and object_size(self._target) is not None:
            raise DownloadError(f"{self._target} exists; pass overwrite=True to replace it")

    def headers(self) -> dict[str, str]:
        """Return the headers that request the whole result, uncompressed."""
        return {"Accept-Encoding": "identity"}

    def restart(self) -> None:
        """Do nothing, because parts are never kept."""

    def tidy(self) -> None:
        """Do nothing, because parts are never kept."""

    def finish(self, overwrite: bool, find_earlier: FindEarlier | None = None) -> DownloadedFile:
        """Return the object that was sent.

        An object's name contains its task's id, so an earlier copy cannot have another name.
        """
        assert self._file is not None  # noqa: S101 - receive() was called before
        return self._file

    async def receive(self, answer: aiohttp.ClientResponse, expected: str | None) -> None:
        """Stream a response's body to storage, after checking that it starts like a result.

        Args:
            answer: a response with status 200.
            expected: ``video``, ``image`` or ``caption``; None for any of them.

        Raises:
            MismatchError: the body is shorter or longer than announced, cannot be decoded, or is
                not the expected type of media.
            Retryable: the store temporarily refused the object.
            DownloadError: the store permanently refused the object.
        """
        _, total = content_range(answer)
        decoder = decoder_for(answer)
        chunks = answer.content.iter_chunked(CHUNK)
        if decoder.decodes or total is None:
            # A PUT announces its length. A body of unknown length is first written to an unnamed
            # temporary file, which the system removes even if the process is killed.
            with tempfile.TemporaryFile() as file:
                async for chunk in chunks:
                    for piece in decoder.pieces(chunk):
                        await asyncio.to_thread(file.write, piece)
                decoder.check_end()
                total = file.tell()
                file.seek(0)
                await self._put(_read(file), total, answer, expected)
        else:
            await self._put(chunks, total, answer, expected)

    async def _put(
        self,
        chunks: AsyncIterator[bytes],
        total: int,
        answer: aiohttp.ClientResponse,
        expected: str | None,
    ) -> None:
        declared = answer.headers.get("Content-Type", "")
        head = b""
        async for chunk in chunks:
            head += chunk
            if len(head) >= HEAD:
                break
        if problem := check_content(head, declared, expected):
            raise MismatchError(problem)
        if total > MAX_OBJECT:
            raise DownloadError(
                f"{self._target}: {total:,} bytes exceed the limit of {MAX_OBJECT:,} for one PUT"
            )
        digest, sent = hashlib.sha256(), 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            # An error here makes aiohttp drop the connection, so the store discards the object.
            async for chunk in _chained(head, chunks):
                sent += len(chunk)
                if sent > total:
                    raise MismatchError(f"got more than {total} bytes")
                digest.update(chunk)
                yield chunk
            if sent != total:
                raise MismatchError(f"got {sent} of {total} bytes")

        try:
            await _put(self._target, body(), total, declared, self._route, self._timeout)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The error does not show which of the two connections failed.
            reason = f"{type(error).__name__} after {sent:,} of {total:,} bytes"
            raise Retryable(DownloadError(f"{self._target}: {reason}")) from error
        self._file = DownloadedFile(cast(Path, self._target), total, digest.hexdigest())


async def try_write(folder: ObjectPath, route: Route, timeout: aiohttp.ClientTimeout) -> None:
    """Test a folder: write an empty object in the same way as a result, then delete the object.

    If the credentials may write but not delete, the empty object remains in the folder.

    Raises:
        Retryable: the store temporarily refused the object, or could not be reached.
        DownloadError: the store permanently refused the object.
    """
    # In Azure, permissions apply to a container, and the URL of a folder cannot always be signed.
    if str(folder).startswith("az:"):
        folder = ObjectPath(folder.bucket_url)
    target = folder / WRITE_TEST
    try:
        await _put(target, b"", 0, "", route, timeout)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Retryable(DownloadError(f"{target}: {translate(error).reason}")) from error
    with suppress(DownloadError, aiohttp.ClientError, TimeoutError):
        url = URL(await asyncio.to_thread(_sign, target, "DELETE"), encoded=True)
        session, proxy = await route(url)
        async with session.delete(url, timeout=timeout, proxy=proxy, raise_for_status=False):
            pass


async def _put(
    target: ObjectPath,
    body: AsyncIterator[bytes] | bytes,
    size: int,
    content_type: str,
    route: Route,
    timeout: aiohttp.ClientTimeout,
) -> None:
    """Write a body of known size to an object in one signed request."""
    if str(target).startswith("az:") and quote(target.key) != target.key:
        assert not isinstance(body, bytes)  # noqa: S101 - the test's name needs no escapes
        await _put_blocks(target, body, content_type)
        return
    url = URL(await asyncio.to_thread(_sign, target, "PUT"), encoded=True)
    session, proxy = await route(url)
    headers = {"Content-Length": str(size)}
    if content_type:
        headers["Content-Type"] = content_type
    if str(target).startswith("az:"):
        headers["x-ms-blob-type"] = "BlockBlob"
    async with session.put(
        url,
        data=body,
        headers=headers,
        timeout=timeout,
        proxy=proxy,
        allow_redirects=False,
        raise_for_status=False,
    ) as answer:
        if not 200 <= answer.status < 300:
            raise await _refusal(target, answer)


async def _put_blocks(target: ObjectPath, body: AsyncIterator[bytes], content_type: str) -> None:
    """Write a body to an Azure object in blocks, which the last request joins.

    obstore signs the escaped URL, but Azure checks the signature against the unescaped one, so
    Azure refuses names that have to be escaped (seen with Azurite 3 and object_store 0.14).
    Requests that obstore sends itself are signed differently. Azure deletes unused blocks within a
    week.
    """
    import obstore

    failures: list[Exception] = []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                yield chunk
        except Exception as error:
            failures.append(error)
            raise

    try:
        await obstore.put_async(
            _store(target.bucket_url),
            target.key,
            chunks(),
            attributes={"Content-Type": content_type} if content_type else {},
            max_concurrency=1,
        )
    except Exception as error:  # as in object_size
        # The body's own error, not obstore's, decides whether it is sent again.
        raise (failures or [DownloadError(f"{target}: {_brief(error)}")])[0] from error


def _sign(target: ObjectPath, method: Literal["PUT", "DELETE"]) -> str:
    import obstore

    # obstore escapes names in S3 and Azure URLs. In Google URLs, it leaves "#", "?" and "%"
    # unescaped, which would name another object, but it accepts a name that is already escaped.
    try:
        for name in (target.key, quote(target.key)):
            url = obstore.sign(_store(target.bucket_url), method, name, SIGNED_FOR)
            if _leads_to(url, target.key):
                return url
        raise ValueError("its name cannot be used in a URL")
    except Exception as error:  # as in object_size
        names = _CREDENTIALS[str(target)[:2]]
        raise DownloadError(
            f"cannot sign a request for {target}: {_brief(error)}",
            hint=f"Set the same credentials as for the store's own tools: {names}",
        ) from error


def _leads_to(url: str, key: str) -> bool:
    """Return whether a signed URL names exactly this object."""
    parts = urlsplit(url)
    is_escaped = _STRAY_PERCENT.search(parts.path) is None and not parts.fragment
    return is_escaped and unquote(parts.path).endswith(f"/{key}")


async def _refusal(target: ObjectPath, answer: aiohttp.ClientResponse) -> Exception:
    code = b""
    with suppress(aiohttp.ClientError):
        _, _, rest = (await answer.content.read(2048)).partition(b"<Code>")
        code = rest.partition(b"</Code>")[0][:80]
    reason = f" ({code.decode(errors='replace')})" if code else ""
    error = DownloadError(f"{target}: the store returned HTTP {answer.status}{reason}")
    if is_retryable_status(answer.status):
        return Retryable(error, retry_after(answer.headers, time.time()) or None)
    return error


async def _chained(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in chunks:
        yield chunk


async def _read(file: Any) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk


def _brief(error: Exception) -> str:
    """Return the first line of an obstore error, cut before the query of a URL."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return line.partition("?")[0][:300]
