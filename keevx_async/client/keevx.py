"""Keevx: what users call. Hands each verb to its room."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import APIError, AuthenticationError, DownloadError, SubmissionUncertain
from ..events import Event, guarded
from ..http.transport import AiohttpTransport
from ..journal.protocol import JournalProtocol
from ..models.outcomes import R, Submission
from ..models.request import Request
from ..models.sources import url_text
from ..models.tasks import Task
from ..models.validators import key_of, shown, task_id_of, task_ids_of
from ..settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_CONNECTIONS,
    DEFAULT_TIMEOUT,
    NOT_GIVEN,
    NotGiven,
    PollPolicy,
    RetryPolicy,
)
from ..submission.adaptive_rate import AdaptiveRate
from ..submission.availability import LANGUAGES, Availability
from ..transfer.paths import Destination, OutputNames
from . import options
from .base import ClientBase
from .fanout import FanOut, Job
from .jobs import Jobs, KeyOf, raise_for_failed
from .kind_lookup import KindResolver
from .runtime import ClientConfig

if TYPE_CHECKING:
    import aiohttp

    from ..submission.callbacks import CallbackReceiver

log = logging.getLogger("keevx_async")

Requests = Iterable[R] | AsyncIterable[R]


class Keevx(ClientBase):
    """An asynchronous client of the Keevx API.

    Use it as ``async with Keevx() as keevx:``, or call ``await keevx.close()`` at the end.

    Args:
        api_key: the bearer token; by default from ``KEEVX_API_KEY``.
        base_url: by default from ``KEEVX_BASE_URL``, or ``https://api.keevx.com``. The China
            edition is ``settings.CHINA``; what it does not list is refused before it is sent.
        journal: where what is submitted is recorded, so that the same program run again
            submits nothing twice: a file's path, or a Journal.
        callbacks: gives every create a signed callback URL; see CallbackReceiver.
        retry: when a request that may be repeated is.
        polling: how tasks are waited for.
        rate: most creates per second; by default as many as Keevx takes.
        timeout: seconds for one exchange, or an ``aiohttp.ClientTimeout``.
        max_connections: most creates in flight.
        headers: sent along with every API call.
        session: a session of yours, which is never closed here. Its connector, headers, proxy and
            trace configs are used, and with ``trust_env`` the environment's proxies. Its
            middlewares, cookies, timeouts and ``raise_for_status`` are not. One with ``auth=``,
            or whose netrc holds a login for the API's host, is refused.
        on_event: told what happens, as events of ``keevx_async.events``; must not block.

    Raises:
        ConfigurationError: there is no key, or an argument cannot be.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        journal: str | Path | JournalProtocol | None = None,
        callbacks: CallbackReceiver | None = None,
        retry: RetryPolicy | None = None,
        polling: PollPolicy | None = None,
        rate: float | None = None,
        timeout: float | aiohttp.ClientTimeout = DEFAULT_TIMEOUT,
        max_connections: int = DEFAULT_CONNECTIONS,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        url, record = options.base_url(base_url), options.journal(journal)
        setup = ClientConfig(
            AiohttpTransport(
                url,
                options.api_headers(api_key, headers),
                options.timeout(timeout),
                options.session(session),
            ),
            options.policy("retry", retry, RetryPolicy),
            options.policy("polling", polling, PollPolicy),
            AdaptiveRate(None if rate is None else options.check_positive("rate", rate)),
            options.check_whole("max_connections", max_connections),
            record,
            callbacks,
            guarded(options.hook("on_event", on_event)),
            KindResolver(record),
            Availability(options.edition_values(url)),
        )
        super().__init__(setup)

    async def submit(self, request: R, *, key: str | None = None) -> Submission[R]:
        """Make one create.

        Args:
            request: what to make.
            key: names the create; by default a digest of the request and a running number.

        Raises:
            SubmissionUncertain: it was sent and its answer was lost. It is not sent again.
            APIError: Keevx refused it.
            ConnectionFailed: Keevx could not be reached; nothing was sent.
        """
        return await self._components().jobs.submit(request, key_of(key), self._guard)

    def submit_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Make many creates; see FanOut.

        Args:
            requests: any iterable or async iterable, pulled lazily.
            concurrency: most creates under way.
            key: names each create; a function of the request.

        Raises:
            ConfigurationError: an argument cannot be, such as one request that is in no list.
        """
        options.hook("key", key)
        return self._fan_out(requests, lambda jobs: jobs.submitting(key), concurrency)

    async def status(self, task_id: str, *, kind: str | None = None) -> Task:
        """Ask about one task.

        Args:
            task_id: of any kind of job.
            kind: such as ``image_to_video``, where neither its submission, nor the id's prefix,
                nor the journal tells it.

        Raises:
            InvalidRequest: nothing tells its kind.
            NotFoundError: there is no such task.
            APIError: Keevx refused to tell.
            ConnectionFailed: Keevx could not be reached.
        """
        rooms = self._components()
        (task_id,) = rooms.kinds.remember_as([task_id_of("task_id", task_id)], kind)
        return await rooms.api.status(task_id)

    async def wait(
        self,
        task_id: str,
        *,
        timeout: float | NotGiven | None = NOT_GIVEN,
        kind: str | None = None,
    ) -> Task:
        """Wait until a task has ended.

        Args:
            task_id: from a submission.
            timeout: seconds; None for no limit; by default ``PollPolicy.timeout``.
            kind: as of ``status``.

        Raises:
            TaskFailed: it ended without a result.
            WaitTimeout: it had not ended in time.
        """
        ended = self.wait_many([task_id_of("task_id", task_id)], timeout=timeout, kind=kind)
        (task,) = raise_for_failed(tuple([one async for one in ended]))
        return task

    async def wait_many(
        self,
        task_ids: Iterable[str],
        *,
        timeout: float | NotGiven | None = NOT_GIVEN,
        kind: str | None = None,
    ) -> AsyncGenerator[Task]:
        """Yield tasks as they end, failed ones included.

        Args:
            task_ids: from any submissions, of any kinds.
            timeout: seconds for all; None for no limit; by default ``PollPolicy.timeout``.
            kind: of all of them; as of ``status``.

        Raises:
            InvalidRequest: these are not a list of ids, such as one id alone.
            WaitTimeout: some had not ended in time.
            KeevxError: Keevx no longer answers about one; raised when the others have ended.
        """
        rooms, limit = self._components(), options.wait_timeout(timeout)
        ids = rooms.kinds.remember_as(task_ids_of(task_ids), kind)
        async for task in rooms.jobs.wait_many(ids, limit):
            yield task

    async def generate(self, request: Request) -> list[Task]:
        """Make one create and wait for all of its tasks.

        Raises:
            TaskFailed: one ended without a result; ``tasks`` holds them all.
            WaitTimeout: one had not ended in time.
            SubmissionUncertain: as ``submit``.
        """
        jobs = self._components().jobs
        try:
            task_ids = (await self.submit(request)).task_ids
        except SubmissionUncertain as error:
            task_ids = await jobs.settled(error)
        try:
            tasks = await jobs.wait(task_ids)
        except BaseException:
            log.warning("a wait was broken off; its tasks go on: %s", task_ids)
            raise
        return list(raise_for_failed(tasks))

    def generate_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        download: Destination | None = None,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Make many creates, wait for their tasks, and download the results; see FanOut.

        Args:
            requests: any iterable or async iterable, pulled lazily.
            concurrency: most creates under way; waiting takes no place.
            download: a folder for the results, or a template of their paths, such as
                ``videos/{index:05d}-{task_id}``: ``index`` in the input, ``task_id``, ``key``,
                ``model``. A suffix that is not given is the result's own; of names that come
                out alike the second gets ``-2``. Braces are written ``{{`` and ``}}``.
            key: names each create; a function of the request.

        Raises:
            ConfigurationError: the template cannot name the results, or as ``submit_many``.
        """
        options.hook("key", key)
        names = None if download is None else OutputNames(options.destination("download", download))
        return self._fan_out(requests, lambda jobs: jobs.generating(key, names), concurrency)

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated to; asked for once an hour.

        While they are known, a VideoTranslate to another one is refused before it is paid for.

        Raises:
            APIError: Keevx refused to tell.
            ConnectionFailed: Keevx could not be reached.
        """
        rooms, offers = self._components(), self._setup.availability
        if (known := offers.values(LANGUAGES)) is None:
            known = await rooms.api.target_languages()
            offers.remember(LANGUAGES, known)
        return known

    async def upload(
        self, source: Destination | bytes | BinaryIO, *, filename: str | None = None
    ) -> str:
        """Upload an image or a video and return its URL.

        A file whose bytes this client has uploaded within the hour is not sent again.

        Args:
            source: a path, which is streamed from disk; the bytes; or a binary file, which is
                read into memory from where it stands. JPEG, PNG, WebP, BMP and GIF images of 20
                MB at most, and videos. Which of them a request takes depends on its kind.
            filename: what Keevx is told; by default the path's name, with the suffix of its type.

        Raises:
            UploadError: it cannot be read, is too large, empty, cut short or of another type.
                Nothing was sent.
        """
        return await self._components().uploads.upload(source, filename)

    async def download(
        self, task_or_url: Task | str, destination: Destination, *, overwrite: bool = False
    ) -> Path:
        """Download a result, captions beside it; each file is whole, or it is not there.

        What comes must be a video, an image or captions by its declared type and its first
        bytes. A page or an error in its place is asked for again by the retry policy, as is all
        that passes (408, 425, 429, 5xx; 403 and 404 of a task that has just ended). An expired
        URL is asked for anew, once. A cut download goes on where it was cut, in a later call
        too. Redirects are followed as they are given. The API key is sent to none of the hosts.

        Args:
            task_or_url: a task that succeeded, or the URL of a result.
            destination: a file, or a folder, which is made if need be; for a task also a
                template such as ``videos/{task_id}``.
            overwrite: whether to replace a file that is there.

        Raises:
            DownloadError: it could not be had whole, is not a result, or cannot be written.
            ConfigurationError: the environment names a proxy that cannot be used.
            APIError, ConnectionFailed: Keevx could not say where an expired result lies now.
        """
        what, where = _result_of(task_or_url), options.destination("destination", destination)
        return await self._components().jobs.download(what, where, overwrite=overwrite)

    def _fan_out(
        self, requests: Requests[R], work_of: Callable[[Jobs], Job], concurrency: int
    ) -> FanOut[R]:
        options.check_iterable(requests)
        concurrency = options.check_whole("concurrency", concurrency)
        grace = self._setup.retry.grace

        def begin() -> Job:
            return work_of(self._components().jobs)  # opens the journal

        fan: FanOut[R] = FanOut(requests, begin, concurrency=concurrency, grace=grace)
        self._fans.add(fan)
        return fan


def _result_of(value: object) -> Task | str:
    """Return what can be downloaded: a task, or a URL, be it an object of another library.

    Raises:
        DownloadError: it is something else, such as a list of tasks.
    """
    found = url_text(value)
    if isinstance(found, Task | str):
        return found
    raise DownloadError(f"must be a Task or the URL of a result (got {shown(value)})")


async def check_credentials(api_key: str | None = None, **given: Any) -> None:
    """Ask about a task that is not there: tells a wrong key or host before anything is paid.

    Args:
        api_key: as of ``Keevx``.
        given: likewise.

    Raises:
        AuthenticationError: the key is refused.
        ConnectionFailed: Keevx could not be reached.
    """
    async with Keevx(api_key, retry=RetryPolicy(attempts=2, first_delay=0.2), **given) as keevx:
        try:
            await keevx.status("i2v-" + "0" * 32)
        except AuthenticationError:
            raise
        except APIError:
            return
