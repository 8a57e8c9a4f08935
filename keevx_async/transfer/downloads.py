"""Results down: streamed, resumed, whole or not there. The API key never goes to their host."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import aiohttp
import attrs
from attrs import frozen

from ..errors import ConfigurationError, DownloadError
from ..http.retry import Retrier, Retryable
from ..http.transport import CLIENT_CLOSED, AiohttpTransport, translate
from ..http.verdict import retry_after
from ..settings import is_retryable_status
from .addresses import redirect_url, request_url, without_query
from .media_types import check_type
from .parts import DownloadedFile, MismatchError, PartFile

PARALLEL_DOWNLOADS = 32
MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (403, 404, 410)
_ERROR_CODE = re.compile(rb"<Code>\s*(\w+)\s*</Code>|\"code\"\s*:\s*\"(\w+)\"", re.IGNORECASE)


class GoneError(DownloadError):
    """The storage host no longer gives the file: its URL has expired, or never was."""


@frozen
class _Wanted:
    """One result: its address, what it must be, and whether 403 and 404 may pass."""

    url: str
    expected: str | None
    is_new: bool


class Downloads:
    """Brings files home: streamed, resumed with Range after a cut, whole or not at all.

    Args:
        transport: lends its session; none of its headers are sent.
        retrier: repeats what was cut, or was not a result.
    """

    def __init__(self, transport: AiohttpTransport, retrier: Retrier) -> None:
        self._transport = transport
        self._retrier = retrier
        self._timeout = download_timeout(transport.timeout)
        self._slots = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        self._under_way: dict[Path, asyncio.Future[DownloadedFile]] = {}
        self._closed = False

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        overwrite: bool,
        expected: str | None = None,
        is_new: bool = False,
    ) -> DownloadedFile:
        """Download url to target. Cancelled, it keeps what has come, and goes on the next time.

        Args:
            url: requested as it is; only what no request can hold, such as a blank, is escaped.
            target: the file; its folder is made if need be.
            overwrite: whether to replace a file that is there.
            expected: ``video``, ``image`` or ``caption``; None for any of them.
            is_new: whether the result has just been made: its host may not know it yet, so 403
                and 404 are asked again by the retry policy.

        Raises:
            GoneError: the storage host no longer has it.
            DownloadError: it could not be had whole, is not what was expected, or target exists
                or cannot be written. Nothing else is raised, but for ConfigurationError where
                the client was closed or a proxy is not one.
        """
        request_url(url)
        if target in self._under_way:
            raise DownloadError(f"{target} is already being downloaded")
        wanted = _Wanted(url, expected, is_new)
        fetching = asyncio.ensure_future(self._fetch(wanted, PartFile(target, url), overwrite))
        self._under_way[target] = fetching
        try:
            return await fetching
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise ConfigurationError(CLIENT_CLOSED) from None
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

    async def _fetch(self, wanted: _Wanted, part: PartFile, overwrite: bool) -> DownloadedFile:
        async with self._slots:
            await asyncio.to_thread(part.prepare, overwrite)
            try:
                await self._retrier(lambda: self._attempt(wanted, part))
                return await asyncio.to_thread(part.finish, overwrite)
            except BaseException:
                part.tidy()
                raise

    async def _attempt(self, wanted: _Wanted, part: PartFile) -> None:
        """Request the result once, redirects included; have it whole, or raise Again.

        What was raised decides:

        1. What came does not fit what is there, or is not a result: begin anew.
        2. The connection failed: ask again, and go on where it was cut.
        3. aiohttp, or a codec below it, cannot send such a request: it never will.

        An OSError of another kind is the disk's, and fetch() says so.
        """
        where = without_query(wanted.url)
        try:
            await self._request(wanted, part)
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

    async def _request(self, wanted: _Wanted, part: PartFile) -> None:
        """Follow redirects hop by hop: each has its own proxy, and is requested as it is given."""
        url, headers = wanted.url, part.headers()
        for _ in range(1 + MAX_REDIRECTS):
            address = request_url(url)
            session, proxy = await self._transport.route(address)
            async with session.get(
                address,
                headers=headers,
                timeout=self._timeout,
                proxy=proxy,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
            ) as answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    await _raise_for(answer, wanted)
                    await part.take(answer, wanted.expected)
                    return
                url = redirect_url(url, answer.headers["Location"])
        raise DownloadError(
            f"{without_query(wanted.url)} redirects more than {MAX_REDIRECTS} times"
        )


def download_timeout(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """Return a timeout for silence: a whole download may take as long as it takes."""
    return attrs.evolve(timeout, total=None, sock_read=timeout.sock_read or timeout.total)


async def _raise_for(answer: aiohttp.ClientResponse, wanted: _Wanted) -> None:
    """Raise unless an answer brings the file, or a part of it.

    1. A page, or another document, is not a result: ask again. What is there stays there.
    2. 416: the part at hand does not fit: begin anew.
    3. 403, 404, 410: the URL has expired, or the result is gone. Storage hosts may say 403 and
       404 of what was made a moment ago, so a new result is asked for again. Some say 400 and
       ``ExpiredToken``.
    4. What passes by itself (408, 425, 429, 5xx; S3's 400 ``RequestTimeout``), and a success
       without a file (202): ask again, after Retry-After.
    5. Anything else is final.
    """
    where, status = without_query(wanted.url), answer.status
    if status in (200, 206):
        wrong = check_type(answer.headers.get("Content-Type", ""), wanted.expected)
        if wrong is not None:
            raise Retryable(DownloadError(f"{where}: {wrong}"))
        return
    if status == 416:
        raise MismatchError("the part at hand is no part of it")
    code = await _error_code(answer) if status == 400 else ""
    if status in _GONE or code == "ExpiredToken":
        gone = GoneError(
            f"{where} is gone (HTTP {status}); result URLs live for 7 days: "
            "ask for the task's status again"
        )
        raise Retryable(gone) if wanted.is_new and status in (403, 404) else gone
    error = DownloadError(f"{where} answered HTTP {status}{code and f' ({code})'}")
    if is_retryable_status(status) or code == "RequestTimeout" or status < 300:
        raise Retryable(error, retry_after(answer.headers, time.time()) or None)
    raise error


async def _error_code(answer: aiohttp.ClientResponse) -> str:
    """Return the code in an object store's error document, empty if it has none."""
    found = _ERROR_CODE.search(await answer.content.read(2048))
    return (found[1] or found[2]).decode() if found else ""
