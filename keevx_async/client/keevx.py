"""The Keevx client: its methods, which delegate to the client's components."""

from __future__ import annotations

import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..events import Event, guarded, guarded_span
from ..journal.protocol import JournalProtocol
from ..models.outcomes import R, Submission
from ..models.request import Request, check_request
from ..models.tasks import Task
from ..models.validators import task_id_of, task_ids_of
from ..settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_CONNECTIONS,
    DEFAULT_TIMEOUT,
    NOT_GIVEN,
    Budget,
    NotGiven,
    PollPolicy,
    RetryPolicy,
)
from ..submission.adaptive_rate import AdaptiveRate
from ..submission.availability import Availability
from ..transfer.fitting import Fit, check_fit
from ..transfer.output_paths import Destination, OutputNames
from ..transfer.probe import Verify, check_verify
from . import options
from .base import BaseClient
from .duration_store import DurationStore
from .fanout import FanOut, Job
from .jobs import Jobs, KeyOf, raise_for_failed
from .kind_lookup import KindResolver
from .runtime import ClientConfig

if TYPE_CHECKING:
    import aiohttp

    from ..submission.callbacks import CallbackReceiver

log = logging.getLogger("keevx_async.client")

Requests = Iterable[R] | AsyncIterable[R]


class Keevx(BaseClient):
    """An asynchronous client for the Keevx API.

    ``async with Keevx() as keevx:`` opens the journal and the connection pool, and closes them on
    exit. Without ``async with``, the first call opens them; call ``await keevx.close()`` when you
    are done. If its event loop ends, the client opens a new connection pool on the next loop.

    Args:
        api_key: the bearer token, or a function, sync or async, that returns it; by default from
            ``KEEVX_API_KEY``. The function is called before the first request (with a journal,
            when the journal is opened), and again when the key is refused: if it then returns a
            different key, the request is sent once more.
        base_url: the API's URL; by default ``KEEVX_BASE_URL``, or the vendor's. The China
            edition is ``settings.CHINA``; values that it does not offer are refused.
        account: the account's name in the journal; by default a salted digest of the key.
        journal: a path or a Journal, for one host and account. Its creates are not sent again.
        budget: limits what this client may make; with a journal, what all runs sharing it may make.
        callbacks: gives every create a signed callback URL; see CallbackReceiver.
        retry: the policy for retrying requests.
        polling: the policy for polling tasks.
        rate: the maximum number of creates per second; by default as many as Keevx accepts.
        fit: how to adapt local images (``images`` extra). ``crop`` and ``pad`` send them
            upright, as JPEG or PNG, within 20 MB; frames get the request's aspect ratio.
        verify: ``probe`` compares each downloaded video with its request (``probe`` extra).
        timeout: seconds for one exchange, or an ``aiohttp.ClientTimeout``.
        max_connections: the maximum number of creates that wait for their response.
        headers: additional headers for every API call.
        session: your own session, never closed by the client. Its connector, headers, proxy
            settings and trace configs are used; ``trust_env`` adds environment proxies. A login for
            the API's host, from ``auth=`` or netrc, is refused.
        on_event: called with each event (``keevx_async.events``); must not block. An ``Observer``,
            such as ``contrib.otel.Telemetry``, also follows operations.
        record: a file to which API exchanges are appended, without keys and signatures, for the
            Emulator to replay. Writing blocks the event loop, so use it only in development.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        *,
        base_url: str | None = None,
        account: str | None = None,
        journal: str | Path | JournalProtocol | None = None,
        budget: Budget | None = None,
        callbacks: CallbackReceiver | None = None,
        retry: RetryPolicy | None = None,
        polling: PollPolicy | None = None,
        rate: float | None = None,
        fit: Fit = "none",
        verify: Verify = "content",
        timeout: float | aiohttp.ClientTimeout = DEFAULT_TIMEOUT,
        max_connections: int = DEFAULT_CONNECTIONS,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        on_event: Callable[[Event], object] | None = None,
        record: str | Path | None = None,
    ) -> None:
        url, kept = options.base_url(base_url), options.journal(journal)
        secret, emit = options.api_key(api_key), guarded(options.hook("on_event", on_event))
        config = ClientConfig(
            transport=options.transport_type(record)(
                url,
                options.api_headers(secret, headers),
                options.timeout(timeout),
                options.session(session),
                None if isinstance(secret, str) else secret,
                emit,
            ),
            retry=options.policy("retry", retry, RetryPolicy),
            polling=options.policy("polling", polling, PollPolicy),
            rate=AdaptiveRate(None if rate is None else options.check_positive("rate", rate)),
            max_connections=options.check_whole("max_connections", max_connections),
            journal=kept,
            owner=options.owner(url, secret, account, kept),
            reservations=options.reservations(budget, kept),
            callbacks=callbacks,
            emit=emit,
            span=guarded_span(on_event),
            kinds=KindResolver(kept),
            availability=Availability(options.edition_values(url)),
            durations=DurationStore(kept),
            fit=check_fit(fit),
            verify=check_verify(verify),
        )
        super().__init__(config)

    async def submit(
        self, request: R, *, key: str | None = None, timeout: float | None = None
    ) -> Submission[R]:
        """Submit one request, sending at most one paid create.

        If the call is cancelled, a create in flight gets ``RetryPolicy.grace`` seconds to receive
        its response. If the journal has the create, or this client made one with the same ``key``,
        nothing is sent: the submission has the existing ids and is marked ``reused``.

        Args:
            request: the request to submit.
            key: the create's key; by default, a digest of the request and a running number. If a
                create with this key is in progress, the call joins it.
            timeout: seconds for this call. The create itself continues; ``close`` waits for it.

        Raises:
            BudgetExceeded: the request does not fit in the budget; nothing was sent.
            SubmissionPending: the timeout passed. Submit with the same key to join the create.
            SubmissionUncertain: the response to the create was lost. The create is not sent again.
            APIError, ConnectionFailed: Keevx refused the request, or could not be reached.
        """
        jobs, limit = self._components().jobs, options.call_timeout(timeout)
        plan, ids = await jobs.submit(check_request(request), options.key(key), limit)
        reused = plan.entry is not None and plan.entry.is_submitted
        return Submission(request, plan.key, ids, reused)

    def submit_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Submit many requests. Nothing starts until the FanOut is awaited or iterated over.

        Args:
            requests: any iterable or async iterable, consumed lazily.
            concurrency: the maximum number of creates in progress.
            key: a function that returns the key for each request's create.

        Raises:
            ConfigurationError: an argument is invalid, such as a single request instead of a list.
        """
        options.hook("key", key)
        return self._fan_out(requests, lambda jobs: jobs.submitting(key), concurrency)

    async def status(self, task_id: str, *, kind: str | None = None) -> Task:
        """Query one task. The query is free, and is retried under the RetryPolicy.

        Args:
            task_id: the task's id.
            kind: the task's kind, such as ``image_to_video``; needed only if this client did not
                submit the task, and neither the id's prefix nor the journal shows the kind.

        Raises:
            InvalidRequest, NotFoundError: the task's kind is unknown, or there is no such task.
            APIError, ConnectionFailed: Keevx refused the query, or could not be reached.
        """
        components = self._components()
        (task_id,) = components.kinds.remember_as([task_id_of("task_id", task_id)], kind)
        return await components.api.status(task_id)

    async def wait(
        self,
        task_id: str,
        *,
        timeout: float | NotGiven | None = NOT_GIVEN,
        kind: str | None = None,
    ) -> Task:
        """Wait until a task has ended. Cancelling the wait does not stop the task.

        Args:
            task_id: the task's id.
            timeout: seconds; None for no limit; by default ``PollPolicy.timeout``.
            kind: see ``status``.

        Raises:
            TaskFailed: the task ended without a result.
            WaitTimeout: the task did not end in time.
        """
        ended = self.wait_many([task_id_of("task_id", task_id)], timeout=timeout, kind=kind)
        return raise_for_failed(tuple([task async for task in ended]))[0]

    async def wait_many(
        self,
        task_ids: Iterable[str],
        *,
        timeout: float | NotGiven | None = NOT_GIVEN,
        kind: str | None = None,
    ) -> AsyncGenerator[Task]:
        """Yield tasks as they end, including failed tasks. All waits share one poll scheduler.

        Args:
            task_ids: task ids from any submissions, of any kinds.
            timeout: seconds for all tasks together; see ``wait``.
            kind: the kind of all tasks; see ``status``.

        Raises:
            InvalidRequest: task_ids is not a list of ids (for example, a single id).
            WaitTimeout: some tasks did not end in time.
            KeevxError: a task can no longer be queried; raised once the other tasks have ended.
        """
        components, limit = self._components(), options.wait_timeout(timeout)
        ids = components.kinds.remember_as(task_ids_of(task_ids), kind)
        async for task in components.waiter.wait_many(ids, limit):
            yield task

    async def generate(
        self,
        request: Request,
        *,
        key: str | None = None,
        timeout: float | NotGiven | None = NOT_GIVEN,
        download: Destination | None = None,
    ) -> list[Task]:
        """Submit one request, wait for all of its tasks, and download the results.

        With ``callbacks=``, it also waits for callbacks to report an uncertain create's ids.

        Args:
            request: the request to submit.
            key: the create's key; see ``submit``.
            timeout: seconds for the whole call; None for no limit; see ``wait`` for the default.
            download: where to save the results; see ``generate_many``.

        Raises:
            TaskFailed: a task ended without a result; the error's ``tasks`` has all tasks.
            SubmissionPending, WaitTimeout: the timeout passed during the submit or the wait.
            DownloadError: the timeout passed during the download, or a download failed.
            KeevxError: see ``submit``.
        """
        jobs, limit = self._components().jobs, options.wait_timeout(timeout)
        names = options.names(download)
        return await jobs.generate(check_request(request), options.key(key), limit, names)

    def generate_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        download: Destination | None = None,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Submit many requests, wait for their tasks, and download the results; see FanOut.

        Args:
            requests: any iterable or async iterable, consumed lazily.
            concurrency: the maximum number of creates in progress, not counting waits or downloads.
            download: a folder (or ``s3://``, ``gs://``, ``az://``), or a path template such as
                ``videos/{index:05d}-{task_id}``, with the fields ``index`` (in the input),
                ``task_id``, ``key`` and ``model``. A path without a suffix gets the result's
                suffix; the second of two equal paths gets ``-2``. Write ``{{`` and ``}}`` for
                braces.
            key: a function that returns the key for each request's create.

        Raises:
            ConfigurationError: an argument or template is invalid, or the bucket is not writable.
        """
        options.hook("key", key)
        names = options.names(download)
        return self._fan_out(requests, lambda jobs: jobs.generating(key, names), concurrency, names)

    def follow_unfinished(self, *, download: Destination | None = None) -> FanOut[Any]:
        """Wait for tasks that earlier runs submitted but did not finish; see FanOut.

        Call it when a service starts. It submits nothing. A create whose response was lost ends
        with ``SubmissionUncertain`` once no callback can settle it any more. A create that was
        never sent has no outcome: submit it again with the same key.

        Args:
            download: where to save the results; see ``generate_many``; None to download nothing.
        """
        names = options.names(download)

        async def entries() -> AsyncGenerator[Any]:
            async for entry in self._components().jobs.unfinished(download=names is not None):
                yield entry

        return self._fan_out(
            entries(), lambda jobs: jobs.resuming(names), DEFAULT_CONCURRENCY, names
        )

    async def request(
        self, method: str, path: str, *, json: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> Any:
        """Send a request to a Keevx endpoint that this version does not know.

        A GET is retried under the RetryPolicy. Any other request is sent once, since it may be
        charged; it is neither recorded in the journal nor delayed by the limiter.

        Args:
            method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
            path: the path below the base URL, percent-encoded, such as ``/v1/account?detail=1``.
            json: the body.

        Returns:
            The envelope's ``data``, or its ``result`` if there is no ``data``.

        Raises:
            InvalidRequest: the request is invalid or a create (use ``submit``); nothing was sent.
            APIError: Keevx refused the request.
            ConnectionFailed: nothing was sent, or a GET received no response.
            SubmissionUncertain: a request other than a GET was sent, but its response was lost.
        """
        call = options.api_request(method, path, json)
        return await self._components().api.request(call)

    async def ping(self) -> float:
        """Check the host and the API key, free of charge; return the elapsed seconds.

        It queries a task that does not exist, at most four times.

        Raises:
            AuthenticationError: Keevx refused the key.
            ConfigurationError: the host at the base URL is not Keevx.
            ServerError: a server in front of Keevx failed.
            ConnectionFailed: Keevx could not be reached.
        """
        began = time.monotonic()
        await self._components().check_credentials()
        return time.monotonic() - began

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated into. The list is cached for an hour.

        During that hour, a VideoTranslate into any other language is refused before it is sent.

        Raises:
            APIError, ConnectionFailed: Keevx refused the query, or could not be reached.
        """
        return await self._components().target_languages()

    async def upload(
        self, source: Destination | bytes | BinaryIO, *, filename: str | None = None
    ) -> str:
        """Upload an image or a video and return its URL. Uploads are free, and are retried.

        A file is not sent again if this client has uploaded the same bytes in the last hour.

        Args:
            source: a path (streamed), bytes, or a binary file (read from its current position):
                a JPEG, PNG, WebP, BMP or GIF image of at most 20 MB, or a video.
            filename: the name to send; by default the path's name with the suffix for its type.

        Raises:
            UploadError: the file is unreadable, empty, truncated, too large or of another type;
                nothing was sent.
        """
        return await self._components().uploads.upload(source, filename)

    async def download(
        self, task_or_url: Task | str, destination: Destination, *, overwrite: bool = False
    ) -> Path:
        """Download a result, and its captions next to it. A partial file never gets the final name.

        A response must be a video, an image or captions, by its declared type and first bytes. If
        not, the URL is requested again under the RetryPolicy, as after any transient error (408,
        425, 429, 5xx; 403 and 404 for a task that just ended). An expired URL is renewed once. An
        interrupted download is resumed, even by a later call. The API key is never sent.

        Args:
            task_or_url: a task that succeeded, or the URL of a result.
            destination: a file, a folder, or an address in object storage; for a task, also a
                template such as ``videos/{task_id}``.
            overwrite: whether to replace an existing file.

        Raises:
            DownloadError: the download or the write failed, or the response is not a result.
            ConfigurationError: the environment names a proxy that cannot be used.
            KeevxError: the URL of an expired result could not be renewed.
        """
        result = options.result("task_or_url", task_or_url)
        target = options.destination("destination", destination)
        return await self._components().jobs.results.download(result, target, overwrite=overwrite)

    def _fan_out(
        self,
        requests: Requests[R],
        work: Callable[[Jobs], Job],
        concurrency: int,
        names: OutputNames | None = None,
    ) -> FanOut[R]:
        options.check_iterable(requests)
        fan: FanOut[R] = FanOut(  # the journal is opened when it starts
            requests,
            lambda: work(self._components().jobs),
            concurrency=options.check_whole("concurrency", concurrency),
            grace=self._config.retry.grace,
            prepare=lambda: self._components().jobs.check_destination(names),
        )
        self._fans.add(fan)
        return fan


async def unfinished_ids(keevx: Keevx, *, download: bool) -> AsyncGenerator[tuple[str, ...]]:
    """Yield the task ids of each create that ``follow_unfinished`` would resume.

    Args:
        keevx: an open client.
        download: whether to include creates whose results have not been downloaded.
    """
    jobs = keevx._components().jobs  # pyright: ignore[reportPrivateUsage] - beside it
    async for entry in jobs.unfinished(download=download):
        yield entry.task_ids
