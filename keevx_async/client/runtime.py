"""A client's components on one event loop."""

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
"""Multipliers for the shortest and longest time between polls when callbacks are expected."""
CHECK_POLICY = RetryPolicy(attempts=4, first_delay=0.2)
POLLS_WITH_CALLBACKS = 1.0
"""Polls per task when callbacks are expected, once durations are learned. The poll after a callback
is included."""


@frozen(kw_only=True)
class ClientConfig:
    """A client's configuration, and the state that it keeps when its event loop changes.

    Attributes:
        transport: sends requests; opens a connection pool for each loop.
        retry: the policy for retrying requests.
        polling: the policy for polling tasks.
        rate: paces creates; keeps its measurements when the loop changes.
        max_connections: the maximum number of creates in flight.
        journal: the durable record.
        owner: returns the journal's host and account; None if there is no journal.
        reservations: enforces the budget.
        callbacks: signs callback URLs and receives callbacks; None if ``callbacks=`` is not set.
        emit: receives events; None if ``on_event`` is not set.
        span: opens a span around each operation; None unless ``on_event`` is an ``Observer``.
        kinds: resolves a task's kind.
        fit: how to adapt local images.
        verify: how to verify downloaded videos.
        availability: the values offered by this edition of Keevx.
        durations: the task durations learned so far.
        uploaded: files uploaded within the last hour.
        owners: maps each task id to its create's key.
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
    """A client's components on the running event loop.

    Args:
        config: the client's configuration.
        shared: the components of the client that ``with_options`` was called on; None if this
            client is not derived from another.

    Attributes:
        loop: the components' event loop.
        process: the id of the process that created the components.
        host: the host at the base URL.
        api: sends free queries.
        uploads: uploads files.
        poller: polls tasks until they end.
        reconciler: settles uncertain creates from callbacks; None if there is no receiver.
        submitter: submits requests.
        creates: pending creates, which other calls may join.
        downloads: downloads results.
        waiter: waits for tasks.
        jobs: runs whole jobs, using the components above.
        kinds: resolves a task's kind.
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
            # keep themselves alive while they have work.
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
            # Both clients share permits, claims, callbacks, and what is known about the host.
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
        """Poll a task at once if anyone is waiting for it."""
        for poller in list(self._pollers):
            poller.wake(task_id)

    async def _poll(self, task_id: str) -> Task:
        """Query a task, unless the reconciler has just queried it after a callback."""
        ended = self.reconciler.end_of(task_id) if self.reconciler is not None else None
        if ended is not None:
            return ended
        with self._span("poll", task_id, None) if self._span else NO_SPAN:
            if self._key is not None:
                return await self._key.retry_refused(self.api.status_once, task_id)
            return await self.api.status_once(task_id)

    async def check_credentials(self) -> None:
        """Check the host and the key by querying a task that does not exist.

        Any response from Keevx, except a refusal of the key, shows that both are right. The query
        is sent at most four times, whatever the RetryPolicy says.

        Raises:
            AuthenticationError: Keevx refused the key.
            ServerError: a server in front of Keevx failed, and Keevx itself has never responded.
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
        """Return the languages a video can be translated into; the list is cached for an hour."""
        if (languages := self._availability.values(LANGUAGES)) is None:
            languages = await self.api.target_languages()
            self._availability.remember(LANGUAGES, languages)
        return languages

    def stop(self) -> None:
        """Stop sending creates outside of fan-outs."""
        self.submitter.stop()
        self.creates.stop()

    async def drain(self) -> None:
        """End creates outside of fan-outs, after at most ``RetryPolicy.grace`` seconds."""
        if self.loop is asyncio.get_running_loop():  # otherwise its creates ended with it
            await asyncio.gather(self.submitter.drain(), self.creates.drain())

    def detach(self) -> None:
        """Stop receiving callbacks, because the event loop is no longer used."""
        if self.reconciler is not None:
            self.reconciler.detach()

    async def close(self) -> None:
        """Stop all callbacks, transfers and polls, then save the reservations and durations.

        Every step runs even if the call is cancelled. It does not wait for creates in progress;
        call `drain` first.
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
    """Return a policy for use with callbacks: poll rarely, only in case a callback is lost."""
    return evolve(
        policy,
        shortest=SHORTEST_FACTOR * policy.shortest,
        longest=LONGEST_FACTOR * policy.longest,
        polls_per_task=min(POLLS_WITH_CALLBACKS, policy.polls_per_task),
    )
