"""Keevx, the client: its life, and its verbs, which its components carry out."""

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
    """An asynchronous client of the Keevx API.

    ``async with Keevx() as keevx:`` opens the journal and the connection pool, and closes them at
    the end. Without ``async with`` the first verb opens them; call ``await keevx.close()`` at the
    end. A client that outlives its event loop opens new ones on the next.

    Args:
        api_key: the bearer token, or a function, plain or async, that returns it; by default from
            ``KEEVX_API_KEY``. The function is called before the first request (with a journal,
            when that is opened), and again when the key is refused: if it then returns another, the
            request is sent once more.
        base_url: by default from ``KEEVX_BASE_URL``, or ``https://api.keevx.com``. The China
            edition is ``settings.CHINA``; what it does not list is refused before it is sent.
        account: names the account in the journal; by default a salted digest of the key does.
        journal: the file, or Journal, of one host and account: what it has is not submitted twice.
        budget: the most that may be made; with a journal, by all runs that use it.
        callbacks: gives every create a signed callback URL; see CallbackReceiver.
        retry: when, and how often, a request is sent again.
        polling: how tasks are waited for.
        rate: creates per second, at most; by default as many as Keevx accepts.
        fit: what happens to local images (extra ``images``): with ``crop`` or ``pad`` they are sent
            upright, as JPEG or PNG, in 20 MB, and frames in the request's ratio; see docs/media.md.
        verify: ``probe`` compares each downloaded video with its request (extra ``probe``).
        timeout: seconds for one exchange, or an ``aiohttp.ClientTimeout``.
        max_connections: creates in flight, at most.
        headers: sent along with every API call.
        session: your own session, never closed here. Its connector, headers, proxy settings and
            trace configs are used; ``trust_env`` adds environment proxies. A login for the API's
            host, by ``auth=`` or netrc, is refused.
        on_event: receives events of ``keevx_async.events``; must not block. One that is an
            ``Observer`` follows operations too, as ``contrib.otel.Telemetry`` does.
        record: a file to which exchanges with the API are added, without keys and signatures; the
            Emulator replays it. Written on the event loop, so for development only.

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
        """Submit one request. At most one paid create is sent.

        When cancelled, a create in flight gets ``RetryPolicy.grace`` seconds to be answered. What a
        journal has, or this client has for a ``key``, is not sent again: its ids are ``reused``.

        Args:
            request: what to make.
            key: names the create; by default a digest of the request and a running number. A
                create with the same key that is under way is joined.
            timeout: seconds for this call. The create goes on, and ``close`` waits for it.

        Raises:
            BudgetExceeded: it does not fit in the budget; nothing was sent.
            SubmissionPending: the timeout has passed. The same key joins the create.
            SubmissionUncertain: it was sent and its answer was lost. It is not sent again.
            APIError, ConnectionFailed: Keevx refused it, or could not be reached.
        """
        jobs = self._components().jobs
        key = None if key is None else options.key(key)
        limit = None if timeout is None else options.call_timeout(timeout)
        plan, ids = await jobs.submit(check_request(request), key, limit)
        reused = plan.entry is not None and plan.entry.is_submitted
        return Submission(request, plan.key, ids, reused)

    def submit_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Submit many requests; see FanOut. Nothing starts before it is awaited or iterated over.

        Args:
            requests: any iterable or async iterable, pulled lazily.
            concurrency: creates under way, at most.
            key: names each create; a function of the request.

        Raises:
            ConfigurationError: an argument is invalid, such as a request that is not in a list.
        """
        options.hook("key", key)
        return self._fan_out(requests, lambda jobs: jobs.submitting(key), concurrency)

    async def status(self, task_id: str, *, kind: str | None = None) -> Task:
        """Query one task. It is free, and retried by the RetryPolicy.

        Args:
            task_id: of any kind of job.
            kind: such as ``image_to_video``; needed only where neither its submission, nor the
                id's prefix, nor the journal names it.

        Raises:
            InvalidRequest, NotFoundError: its kind is unknown, or there is no such task.
            APIError, ConnectionFailed: Keevx refused to answer, or could not be reached.
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
            task_id: from a submission.
            timeout: seconds; None for no limit; by default ``PollPolicy.timeout``.
            kind: as for ``status``.

        Raises:
            TaskFailed: it ended without a result.
            WaitTimeout: it had not ended in time.
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
        """Yield tasks as they end, failed ones included. One scheduler polls for all waits.

        Args:
            task_ids: from any submissions, of any kinds.
            timeout: seconds for all of them; as for ``wait``.
            kind: of all of them; as for ``status``.

        Raises:
            InvalidRequest: task_ids is not a list of ids, such as a single id.
            WaitTimeout: some had not ended in time.
            KeevxError: Keevx no longer answers about one; raised when the others have ended.
        """
        components, limit = self._components(), options.wait_timeout(timeout)
        ids = components.kinds.remember_as(task_ids_of(task_ids), kind)
        async for task in components.jobs.wait_many(ids, limit):
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

        An uncertain create is waited for as well where ``callbacks=`` may still bring its ids.

        Args:
            request: what to make.
            key: names the create; as for ``submit``.
            timeout: seconds for all of it; None for no limit; by default as for ``wait``.
            download: as for ``generate_many``.

        Raises:
            TaskFailed: one ended without a result; ``tasks`` holds them all.
            SubmissionPending, WaitTimeout, DownloadError: too slow, in one of the three steps.
            KeevxError: as ``submit``.
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
            requests: any iterable or async iterable, pulled lazily.
            concurrency: creates under way, at most; waiting and downloading do not count.
            download: a folder (or ``s3://``, ``gs://``, ``az://``), or a template of paths such as
                ``videos/{index:05d}-{task_id}``, made of ``index`` (in the input), ``task_id``,
                ``key`` and ``model``. A path without a suffix gets the result's; the second of
                two equal paths gets ``-2``. Braces are written ``{{`` and ``}}``.
            key: names each create; a function of the request.

        Raises:
            ConfigurationError: the template is invalid, the bucket cannot be written to, or as
                ``submit_many``.
        """
        options.hook("key", key)
        names = options.names(download)
        return self._fan_out(requests, lambda jobs: jobs.generating(key, names), concurrency, names)

    def follow_unfinished(self, *, download: Destination | None = None) -> FanOut[Any]:
        """Wait for what earlier runs submitted and did not see to its end; see FanOut.

        Call it at the start of a service: it takes up what the journal knows, and submits nothing.
        Creates whose answer was lost are among the outcomes, as ``SubmissionUncertain``, once no
        callback can settle them any more. Their requests are as recorded. A create that was not
        sent yet has no outcome: whoever asked for it asks again, with the same key.

        Args:
            download: as of ``generate_many``; None to download nothing.
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
        """Send a request to an endpoint of Keevx that this version does not know.

        A GET is repeated by the RetryPolicy. Anything else is sent once, for it may be paid; it is
        neither recorded in the journal nor held back by the limiter.

        Args:
            method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
            path: below the base URL, such as ``/v1/account?detail=1``, percent-encoded.
            json: the body.

        Returns:
            The ``data`` of the answer's envelope; ``result`` where it has that instead.

        Raises:
            InvalidRequest: the method, path or body cannot be sent, or it is a create that
                ``submit`` makes. Nothing was sent.
            APIError: Keevx refused it.
            ConnectionFailed: nothing was sent, or a GET was not answered.
            SubmissionUncertain: anything but a GET was sent, and its answer was lost.
        """
        call = options.api_request(method, path, json)
        return await self._components().api.request(call)

    async def ping(self) -> float:
        """Check host and key, free of charge; return the seconds that it took.

        It queries a task that does not exist, four times at most.

        Raises:
            AuthenticationError: the key is refused.
            ConfigurationError: the host at the base URL is not Keevx.
            ServerError: something in front of Keevx failed.
            ConnectionFailed: Keevx could not be reached.
        """
        began = time.monotonic()
        await self._components().check_credentials()
        return time.monotonic() - began

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated to; queried once an hour.

        For that hour a VideoTranslate to another one is refused before it is paid for.

        Raises:
            APIError, ConnectionFailed: Keevx refused to answer, or could not be reached.
        """
        return await self._components().target_languages()

    async def upload(
        self, source: Destination | bytes | BinaryIO, *, filename: str | None = None
    ) -> str:
        """Upload an image or a video and return its URL. It is free, and retried.

        A file whose bytes this client has uploaded within the hour is not sent again.

        Args:
            source: a path, which is streamed; the bytes; or a binary file, read from where it
                stands. JPEG, PNG, WebP, BMP and GIF images of 20 MB at most, and videos.
            filename: sent to Keevx; by default the path's name, with the suffix of its type.

        Raises:
            UploadError: it cannot be read, is too large, empty, cut short or of another type.
                Nothing was sent.
        """
        return await self._components().uploads.upload(source, filename)

    async def download(
        self, task_or_url: Task | str, destination: Destination, *, overwrite: bool = False
    ) -> Path:
        """Download a result, with its captions beside it. Each file is whole or does not exist.

        A response must be a video, an image or captions by its declared type and first bytes, else
        it is requested again by the RetryPolicy, as after every passing error (408, 425, 429, 5xx;
        403 and 404 of a task that has just ended). An expired URL is renewed once. An interrupted
        download is resumed, by a later call too. The API key is never sent to these hosts.

        Args:
            task_or_url: a task that succeeded, or the URL of a result.
            destination: a file, a folder, or an address in object storage; for a task also a
                template such as ``videos/{task_id}``.
            overwrite: whether to replace an existing file.

        Raises:
            DownloadError: it could not be downloaded, is not a result, or cannot be written.
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
    """Yield the task ids of each create that ``follow_unfinished`` would take up.

    Args:
        keevx: an open client.
        download: whether also those whose results are not downloaded.
    """
    jobs = keevx._components().jobs  # pyright: ignore[reportPrivateUsage] - beside it
    async for entry in jobs.unfinished(download=download):
        yield entry.task_ids
