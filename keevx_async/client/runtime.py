"""The components of a client on one event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from weakref import WeakSet

from attrs import evolve, field, frozen

from ..errors import (
    APIError,
    AuthenticationError,
    ConnectionFailed,
    RateLimitError,
    ResponseError,
    ServerError,
)
from ..events import Emit, Span
from ..http.queries import ApiClient, Host
from ..http.retry import Retrier, Retryable
from ..http.transport import AiohttpTransport
from ..journal.owner import Owner
from ..journal.protocol import JournalProtocol
from ..models.bounded import BoundedDict
from ..models.tasks import Task
from ..polling.poller import Poller
from ..settings import PollPolicy, RetryPolicy
from ..submission.adaptive_rate import AdaptiveRate
from ..submission.availability import LANGUAGES, Availability
from ..submission.pending import PendingCreates
from ..submission.recall import Recall
from ..submission.reconciler import Reconciler
from ..submission.reservations import Reservations
from ..submission.submitter import MAX_OWNED, Submitter
from ..submission.throttle import SharedLimit, Throttle
from ..transfer.downloads import Downloads
from ..transfer.fitting import Fit
from ..transfer.probe import Verify
from ..transfer.uploads import UploadCache, Uploads
from .duration_store import DurationStore
from .jobs import Jobs
from .kind_lookup import KindResolver
from .local_files import Sources
from .result_files import Results
from .task_waiter import NO_SPAN, TaskWaiter

if TYPE_CHECKING:
    from ..submission.callbacks import CallbackReceiver  # imports aiohttp.web, which few need

SHORTEST_FACTOR, LONGEST_FACTOR = 20.0, 30.0
"""Factors for the shortest and longest time between polls when callbacks are expected."""
CHECK_POLICY = RetryPolicy(attempts=4, first_delay=0.2)
POLLS_WITH_CALLBACKS = 1.0
"""Polls per task in that case, once durations are learned; counts the poll after a callback."""


@frozen(kw_only=True)
class ClientConfig:
    """A client's configuration, and the state it keeps when its event loop changes.

    Attributes:
        transport: sends requests; opens a connection pool on each loop.
        retry: when, and how often, a request is sent again.
        polling: when tasks are polled.
        rate: paces creates; its measurements are kept across loops.
        max_connections: the maximum number of creates in flight.
        journal: the durable record.
        owner: returns the host and account that the journal is used for; None without a journal.
        reservations: enforce the budget.
        callbacks: signs callback URLs and receives callbacks; None for polling alone.
        emit: receives events; None without ``on_event``.
        span: entered around operations; None unless ``on_event`` is an ``Observer``.
        kinds: resolves the kind of a task.
        fit: how local images are adapted.
        verify: how downloaded videos are verified.
        availability: the values that the edition offers.
        durations: how long tasks take, as learned so far.
        uploaded: files that were uploaded within the last hour.
        owners: the key of the create that each task id belongs to.
        shared_limit: a rate limit shared with other processes.
    """

    transport: AiohttpTransport
    retry: RetryPolicy
    polling: PollPolicy
    rate: AdaptiveRate
    max_connections: int
    journal: JournalProtocol
    owner: Callable[[], Owner] | None
    reservations: Reservations
    callbacks: CallbackReceiver | None
    emit: Emit | None
    span: Span | None
    kinds: KindResolver
    fit: Fit
    verify: Verify
    availability: Availability
    durations: DurationStore
    uploaded: UploadCache = field(factory=UploadCache)
    owners: BoundedDict[str, str] = field(factory=lambda: BoundedDict[str, str](MAX_OWNED))
    shared_limit: SharedLimit | None = None


class Components:
    """The components of a client on the running event loop.

    Args:
        config: the client's configuration.
        shared: the components of the client that ``with_options`` was called on; None if this
            client is not derived from another.

    Attributes:
        loop: the event loop that they belong to.
        process: the id of the process that created them.
        host: the host at the base URL.
        api: sends free queries.
        uploads: uploads files.
        poller: polls tasks until they end.
        reconciler: settles uncertain creates from callbacks; None without a receiver.
        submitter: makes creates.
        creates: creates that other calls may join.
        downloads: downloads results.
        waits: waits for tasks.
        jobs: runs whole jobs, using the components above.
        kinds: resolves the kind of a task.
    """

    def __init__(self, config: ClientConfig, shared: Components | None = None) -> None:
        key, emit = config.transport.key, config.emit
        transport, retrier = config.transport, Retrier(config.retry, emit=emit, key=key)
        host = Host(transport, transport.host, transport.base_url, transport.secrets)
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.shared = shared
        self.kinds = config.kinds
        self.host = host
        self.api = ApiClient(transport, retrier, host, config.kinds.resolve)
        self.uploads = Uploads(self.api, retrier, config.uploaded)
        self.downloads = Downloads(transport, retrier, config.span)
        self._key, self._span = key, config.span
        self._durations, self._availability = config.durations, config.availability
        self._reservations = config.reservations
        polling = config.polling if config.callbacks is None else with_callbacks(config.polling)
        self.poller = Poller(self._poll, polling, emit, config.durations.durations)
        sources = Sources(self.uploads, config.journal, emit, config.fit)
        if shared is None:
            # Weak references: with_options() may create a client per call. Pollers and transfers
            # keep themselves alive while work is under way.
            self._pollers: WeakSet[Poller] = WeakSet()
            self._transfers: WeakSet[Uploads | Downloads] = WeakSet()
            self.reconciler = (
                Reconciler(config.callbacks, self.api.status, self._wake, config.journal)
                if config.callbacks
                else None
            )
            self.submitter = Submitter(
                transport=transport,
                retrier=retrier,
                throttle=Throttle(
                    config.rate,
                    config.max_connections,
                    config.retry.deadline,
                    emit,
                    config.shared_limit,
                ),
                sources=sources,
                journal=config.journal,
                reconciler=self.reconciler,
                availability=config.availability,
                reservations=config.reservations,
                host=host,
                owners=config.owners,
                register=self.poller.register,
                remember_kind=config.kinds.remember,
                emit=emit,
                span=config.span,
            )
            self.creates = PendingCreates(self.submitter, config.retry.grace)
        else:
            # Both clients share their knowledge of the host, and permits, claims and callbacks.
            host.is_keevx = shared.host.is_keevx
            self._pollers, self._transfers = shared._pollers, shared._transfers
            self.reconciler = shared.reconciler
            self.submitter = evolve(
                shared.submitter,
                transport=transport,
                retrier=retrier,
                sources=sources,
                host=host,
                register=self.poller.register,
            )
            self.creates = evolve(
                shared.creates, submitter=self.submitter, grace=config.retry.grace
            )
        self._pollers.add(self.poller)
        self._transfers.update((self.uploads, self.downloads))
        self.waiter = TaskWaiter(
            poller=self.poller,
            journal=config.journal,
            kinds=config.kinds,
            durations=config.durations,
            timeout=config.polling.timeout,
            span=config.span,
        )
        self.jobs = Jobs(
            submitter=self.submitter,
            recall=None
            if config.owner is None or config.span is not None or self.reconciler is not None
            else Recall(
                journal=config.journal,
                owners=config.owners,
                register=self.poller.register,
                remember_kind=config.kinds.remember,
            ),
            creates=self.creates,
            register=self.poller.register,
            waiter=self.waiter,
            results=Results(self.downloads, self.api, config.journal, config.verify, config.emit),
            journal=config.journal,
            reconciler=self.reconciler,
            kinds=config.kinds,
            fuse=config.retry.fuse,
        )

    def _wake(self, task_id: str) -> None:
        """Poll a task at once, if anyone is waiting for it."""
        for poller in list(self._pollers):
            poller.wake(task_id)

    async def _poll(self, task_id: str) -> Task:
        """Query a task, unless the reconciler just did so because of a callback."""
        ended = self.reconciler.end_of(task_id) if self.reconciler is not None else None
        if ended is not None:
            return ended
        with self._span("poll", task_id, None) if self._span else NO_SPAN:
            if self._key is not None:
                return await self._key.retry_refused(self.api.status_once, task_id)
            return await self.api.status_once(task_id)

    async def check_credentials(self) -> None:
        """Query a task that does not exist, in at most four attempts whatever the RetryPolicy says.

        Any response from Keevx except a refused key shows that the host and the key are right.

        Raises:
            AuthenticationError: Keevx refused the key.
            ServerError: something in front of Keevx failed, and Keevx has not responded yet.
            ConfigurationError: the host at the base URL is not Keevx.
            ConnectionFailed: Keevx could not be reached.
        """

        async def query() -> None:
            try:
                await self.api.status_once("i2v-" + "0" * 32)
            except (ConnectionFailed, ResponseError, RateLimitError, ServerError) as error:
                raise Retryable(error) from error

        try:
            await Retrier(CHECK_POLICY, key=self._key).run(query)
        except AuthenticationError:
            raise
        except APIError:
            if not self.host.is_keevx:
                raise

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated into, cached for an hour."""
        if (languages := self._availability.values(LANGUAGES)) is None:
            languages = await self.api.target_languages()
            self._availability.remember(LANGUAGES, languages)
        return languages

    def stop(self) -> None:
        """Stop sending single creates."""
        self.submitter.stop()
        self.creates.stop()

    async def drain(self) -> None:
        """End single creates. Those in flight get ``RetryPolicy.grace`` seconds for a response."""
        if self.loop is asyncio.get_running_loop():  # else the loop has ended, and so have they
            await asyncio.gather(self.submitter.drain(), self.creates.drain())

    def detach(self) -> None:
        """Stop receiving callbacks: the event loop is left behind."""
        if self.reconciler is not None:
            self.reconciler.detach()

    async def close(self) -> None:
        """Stop every poll, upload, download and callback, then save the learned durations.

        All of this happens even if it is cancelled. It does not wait for creates under way;
        `Submitter.drain` does that.
        """
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._durations.save)
            last_first.push_async_callback(self._reservations.save)
            for poller in list(self._pollers):
                last_first.push_async_callback(poller.close)
            for transfers in list(self._transfers):
                last_first.push_async_callback(transfers.close)
            if self.reconciler is not None:
                last_first.push_async_callback(self.reconciler.close)


def with_callbacks(policy: PollPolicy) -> PollPolicy:
    """Return the policy to use with callbacks: it polls rarely, for those that never arrive."""
    return evolve(
        policy,
        shortest=SHORTEST_FACTOR * policy.shortest,
        longest=LONGEST_FACTOR * policy.longest,
        polls_per_task=min(POLLS_WITH_CALLBACKS, policy.polls_per_task),
    )
