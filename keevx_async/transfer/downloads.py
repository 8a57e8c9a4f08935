"""Download results as resumable streams. A result gets its final name only once it is complete.

The storage hosts that serve results are not part of the API, so the API key is never sent to them
and every response is checked. Redirects are followed here rather than by aiohttp, so that each
request uses the right proxy and its URL is not re-encoded.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import attrs
from attrs import frozen

from ..errors import ConfigurationError, DownloadError, KeevxError
from ..events import Span
from ..http.failures import translate
from ..http.retry import Retrier, Retryable, retry_after
from ..http.transport import CLIENT_CLOSED, AiohttpTransport
from ..models.object_path import ObjectPath
from ..settings import is_retryable_status
from .addresses import redirect_url, request_url, without_query
from .media_types import CHUNK, HEAD, check_content, check_type
from .object_storage import ObjectPart, try_write
from .part_files import DownloadedFile, FindEarlier, MismatchError, PartFile, decoder_for

NO_SPAN = nullcontext()
PARALLEL_DOWNLOADS = 32
CANNOT_WRITE = "Check the bucket's name, and that your credentials may write to it and sign URLs"
MAX_REDIRECTS = 10
PICTURE_TIMEOUT = 10.0
"""Timeout in seconds for a picture that is not a result, such as a thumbnail."""
MAX_PICTURE = 2**20
"""Maximum size in bytes of a picture that is not a result."""
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (403, 404, 410)
_ERROR_CODE = re.compile(rb"<Code>\s*(\w+)\s*</Code>|\"code\"\s*:\s*\"(\w+)\"", re.IGNORECASE)


class GoneError(DownloadError):
    """The storage host does not have the file: its URL has expired or never existed.

    Query the task's status for a new URL.
    """


@frozen
class _Result:
    """A result to download: its URL, its expected type of media, and whether it was just made."""

    url: str
    expected: str | None
    is_new: bool


class Downloads:
    """Downloads results, at most ``PARALLEL_DOWNLOADS`` at a time.

    Args:
        transport: provides the session, the timeout and the proxies; its headers are not sent.
        retrier: retries attempts that were interrupted, or that returned something other than a
            result.
        span: returns a context manager that is entered for each download; None for no spans.
    """

    def __init__(
        self, transport: AiohttpTransport, retrier: Retrier, span: Span | None = None
    ) -> None:
        self._transport = transport
        self._retrier = retrier
        self._span = span
        self._timeout = download_timeout(transport.timeout)
        self._slots = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        self._active: dict[Path, asyncio.Future[DownloadedFile]] = {}
        self._closed = False
        self._writable: set[Path] = set()

    async def check_writable(self, folder: Path) -> None:
        """Check that results can be written to object storage, before anything is charged.

        A folder that passed is not tested again. A folder on disk is not tested, because its
        results can be downloaded again to another folder.

        Raises:
            ConfigurationError: the folder cannot be written to. Nothing was sent to Keevx.
        """
        if not isinstance(folder, ObjectPath) or folder in self._writable:
            return
        try:
            await self._retrier.run(lambda: try_write(folder, self._transport.route, self._timeout))
        except DownloadError as error:
            raise ConfigurationError(
                f"cannot write results: {error.message}; nothing was sent",
                hint=CANNOT_WRITE if error.hint == DownloadError.hint else error.hint,
            ) from error
        self._writable.add(folder)

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        overwrite: bool,
        expected: str | None = None,
        is_new: bool = False,
        find_earlier: FindEarlier | None = None,
    ) -> DownloadedFile:
        """Download a URL to a file.

        The target is written atomically, once it is complete. If a download to disk fails or is
        cancelled and the host supports resuming, the bytes received so far are kept next to the
        target, and the next call resumes from them.

        Args:
            url: the URL, which is sent unchanged, except that characters not allowed in a request,
                such as spaces, are escaped.
            target: the file; its folder is created if needed.
            overwrite: whether to replace an existing file.
            expected: ``video``, ``image`` or ``caption``; None for any of them.
            is_new: whether the result was just made. If so, its host may not have it yet, so 403
                and 404 are retried according to the retry policy.
            find_earlier: finds an existing file that already contains this result; that file is
                then replaced instead of the target. Called in a thread once the download is
                complete.

        Raises:
            GoneError: the storage host does not have the file.
            DownloadError: the file could not be downloaded completely, or is not the expected type
                of media; or the target exists, cannot be written, or is already being downloaded.
            ConfigurationError: the client was closed, or a proxy's URL is invalid.
        """
        request_url(url)
        if target in self._active:
            raise DownloadError(f"{target} is already being downloaded")
        result = _Result(url, expected, is_new)
        with self._span("download", target.name, None) if self._span else NO_SPAN:
            return await self._start(result, target, overwrite, find_earlier)

    async def _start(
        self, result: _Result, target: Path, overwrite: bool, find_earlier: FindEarlier | None
    ) -> DownloadedFile:
        download = asyncio.ensure_future(
            self._fetch(result, self._part(target, result.url), overwrite, find_earlier)
        )
        self._active[target] = download
        try:
            return await download
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise ConfigurationError(CLIENT_CLOSED) from None
        except OSError as error:
            raise DownloadError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            del self._active[target]

    async def fetch_picture(self, url: str) -> bytes | None:
        """Download a small picture, such as a thumbnail; return None if that fails.

        Only one request is sent: nothing is retried, and redirects are not followed.
        """
        try:
            address = request_url(url)
            session, proxy = await self._transport.route(address)
            async with (
                asyncio.timeout(PICTURE_TIMEOUT),
                self._slots,
                session.get(
                    address, proxy=proxy, allow_redirects=False, raise_for_status=False
                ) as answer,
            ):
                data = await _read_picture(answer) if answer.status == 200 else None
        except (MismatchError, KeevxError, aiohttp.ClientError, OSError, ValueError, RuntimeError):
            return None
        return None if data is None or check_content(data[:HEAD], "", "image") else data

    def _part(self, target: Path, url: str) -> PartFile | ObjectPart:
        if isinstance(target, ObjectPath):
            return ObjectPart(target, self._transport.route, self._timeout)
        return PartFile(target, url)

    async def close(self) -> None:
        """Cancel the downloads in progress; each raises ConfigurationError.

        Call this before closing the session: if aiohttp closes a connection first, a pending read
        would wait forever.
        """
        self._closed = True
        for download in self._active.values():
            download.cancel()
        await asyncio.gather(*self._active.values(), return_exceptions=True)

    async def _fetch(
        self,
        result: _Result,
        part: PartFile | ObjectPart,
        overwrite: bool,
        find_earlier: FindEarlier | None,
    ) -> DownloadedFile:
        async with self._slots:
            await asyncio.to_thread(part.prepare, overwrite)
            try:
                await self._retrier.run(lambda: self._attempt(result, part))
                return await asyncio.to_thread(part.finish, overwrite, find_earlier)
            except BaseException:
                part.tidy()
                raise

    async def _attempt(self, result: _Result, part: PartFile | ObjectPart) -> None:
        """Request the result once, following redirects, and return when the part is complete."""
        where = without_query(result.url)
        # The exception decides what happens next.
        # 1. The response does not continue the part, or is not a result: retry from the start.
        # 2. The connection failed or timed out: retry, and resume from the bytes received.
        # 3. aiohttp or one of its codecs cannot send such a request: do not retry.
        # 4. Any other OSError comes from the disk: `fetch` reports it.
        try:
            await self._request(result, part)
        except MismatchError as error:
            part.restart()
            raise Retryable(DownloadError(f"{where}: {error}")) from error
        except aiohttp.ClientError as error:
            raise Retryable(DownloadError(f"{where}: {translate(error).reason}")) from error
        except TimeoutError as error:
            raise Retryable(DownloadError(f"{where}: timed out")) from error
        except ConnectionError as error:
            raise Retryable(DownloadError(f"{where}: {error.strerror or error}")) from error
        except (ValueError, RuntimeError) as error:
            raise DownloadError(f"{where}: cannot be requested ({error})") from error

    async def _request(self, result: _Result, part: PartFile | ObjectPart) -> None:
        url, headers = result.url, part.headers()
        for _ in range(1 + MAX_REDIRECTS):
            address = request_url(url)
            session, proxy = await self._transport.route(address)
            async with session.get(
                address,
                headers=headers,
                timeout=self._timeout,
                proxy=proxy,
                allow_redirects=False,
                raise_for_status=False,
            ) as answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    await _raise_for_status(answer, result)
                    await part.receive(answer, result.expected)
                    return
                url = redirect_url(url, answer.headers["Location"])
        where = without_query(result.url)
        raise DownloadError(f"{where} redirects more than {MAX_REDIRECTS} times")


async def _read_picture(answer: aiohttp.ClientResponse) -> bytes | None:
    """Return a response's decoded body; None if it is too large.

    Raises:
        MismatchError: it cannot be decoded, or ends too early.
    """
    decoder, data = decoder_for(answer), bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        for piece in decoder.pieces(chunk):
            data += piece
            if len(data) > MAX_PICTURE:  # a small response may decode to a huge one
                return None
    decoder.check_end()
    return bytes(data)


def download_timeout(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return a client's timeout, adapted so that it limits each read but not the whole download.

    A download may take any amount of time, as long as its host keeps sending data.
    """
    return attrs.evolve(timeout, total=None, sock_read=timeout.sock_read or timeout.total)


async def _raise_for_status(answer: aiohttp.ClientResponse, result: _Result) -> None:
    """Raise an error unless a response contains the file or a range of it."""
    # 1. 200 or 206 with a page or another document: not a result. Retry, and keep the part.
    # 2. 416: the part does not match the file. Retry from the start.
    # 3. 403, 404, 410: the URL has expired, or the result is gone. Some hosts send 400 with
    #    ExpiredToken. A host may also send 403 or 404 for a result that was just made, so the
    #    request for a new result is retried.
    # 4. A temporary failure (408, 425, 429, 5xx; S3's 400 RequestTimeout) or a success without a
    #    file (202): retry after Retry-After.
    # 5. Any other status: do not retry.
    where, status = without_query(result.url), answer.status
    if status in (200, 206):
        problem = check_type(answer.headers.get("Content-Type", ""), result.expected)
        if problem is not None:
            raise Retryable(DownloadError(f"{where}: {problem}"))
        return
    if status == 416:
        raise MismatchError("the range to resume from does not exist")
    code = ""
    if status == 400:  # object stores send the reason in a document
        match = _ERROR_CODE.search(await answer.content.read(2048))
        code = (match[1] or match[2]).decode() if match else ""
    if status in _GONE or code == "ExpiredToken":
        gone = GoneError(
            f"{where} is gone (HTTP {status}): result URLs expire after 7 days; "
            "query the task's status for a new URL"
        )
        raise Retryable(gone) if result.is_new and status in (403, 404) else gone
    error = DownloadError(f"{where} returned HTTP {status}{code and f' ({code})'}")
    if is_retryable_status(status) or code == "RequestTimeout" or status < 300:
        raise Retryable(error, retry_after(answer.headers, time.time()) or None)
    raise error
