"""What a client is made of on one event loop: every room, furnished once."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from ..errors import JournalError
from ..events import Emit
from ..http.api import ApiClient, Host
from ..http.retry import Retrier
from ..http.transport import AiohttpTransport
from ..journal.protocol import JournalProtocol
from ..models.tasks import Task
from ..polling.durations import Durations
from ..polling.poller import Poller
from ..settings import PollPolicy, RetryPolicy
from ..submission.adaptive_rate import AdaptiveRate
from ..submission.availability import Availability
from ..submission.owners import Owners
from ..submission.reconciler import Reconciler
from ..submission.submitter import Submitter
from ..submission.throttle import SharedLimit, Throttle
from ..transfer.downloads import Downloads
from ..transfer.uploads import UploadCache, Uploads
from .jobs import Jobs
from .kind_lookup import KindResolver

if TYPE_CHECKING:
    from ..submission.callbacks import CallbackReceiver  # brings aiohttp.web along, which few need

DURATIONS = "durations"
QUIET, SELDOM = 20.0, 30.0
"""By how much the shortest and the longest time between polls grow when callbacks are due."""
FEW = 1.0
"""Polls per task then, the one that a callback causes included, once durations are known."""


@frozen
class ClientConfig:
    """What outlives an event loop."""

    transport: AiohttpTransport
    retry: RetryPolicy
    polling: PollPolicy
    rate: AdaptiveRate
    max_connections: int
    journal: JournalProtocol
    callbacks: CallbackReceiver | None
    emit: Emit | None
    kinds: KindResolver
    availability: Availability
    uploaded: UploadCache = field(factory=UploadCache)
    owners: Owners = field(factory=Owners)
    shared_limit: SharedLimit | None = None


class DurationStore:
    """What earlier runs learned of how long tasks last, and this one; never worth an error.

    Args:
        journal: keeps it between runs.
    """

    def __init__(self, journal: JournalProtocol) -> None:
        self.durations: Durations = Durations()
        self._journal = journal
        self._read = False

    async def load(self) -> None:
        """Take in what earlier runs learned; call it before a task is scheduled."""
        if self._read:
            return
        with suppress(JournalError):  # keep() must not replace what could not be read
            known = _parsed(await self._journal.get_note(DURATIONS))
            if not self._read:  # else another did so meanwhile, and more was learned since
                self._read = True
                self.durations.load(known)

    async def save(self) -> None:
        """Keep what was learned for the next run."""
        if self._read:
            with suppress(JournalError):
                await self._journal.set_note(DURATIONS, json.dumps(self.durations.dump()))


class Components:
    """The rooms of one event loop."""

    def __init__(self, setup: ClientConfig, lessons: DurationStore) -> None:
        transport, retrier = setup.transport, Retrier(setup.retry, emit=setup.emit)
        patience = setup.retry.deadline
        lane = Throttle(setup.rate, setup.max_connections, patience, setup.emit, setup.shared_limit)
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.kinds = setup.kinds
        host = Host(transport, transport.host, transport.base_url, transport.secrets)
        self.api = ApiClient(transport, retrier, host, setup.kinds.resolve)
        self.uploads = Uploads(self.api, retrier, setup.uploaded)
        polling = setup.polling if setup.callbacks is None else with_callbacks(setup.polling)
        self.poller = Poller(self._ask, polling, setup.emit, lessons.durations)
        self.reconciler = (
            Reconciler(setup.callbacks, self.api.status, self.poller.wake, setup.journal)
            if setup.callbacks
            else None
        )
        creator = Submitter(
            transport,
            retrier,
            lane,
            self.uploads.files,
            setup.journal,
            self.reconciler,
            setup.availability,
            host,
            setup.owners,
            setup.emit,
        )
        self.downloads = Downloads(transport, retrier)
        self.jobs = Jobs(
            creator,
            self.poller,
            self.api,
            self.downloads,
            setup.journal,
            self.reconciler,
            setup.kinds,
            lessons.load,
            setup.polling.timeout,
        )
        self._lessons = lessons

    async def _ask(self, task_id: str) -> Task:
        """Ask about a task, unless that was just done because a callback told of it."""
        known = self.reconciler.end_of(task_id) if self.reconciler is not None else None
        return known or await self.api.status_once(task_id)

    def detach(self) -> None:
        """Take no more callbacks: the event loop is left behind."""
        if self.reconciler is not None:
            self.reconciler.detach()

    async def close(self) -> None:
        """Stop all that asks, uploads, downloads or takes callbacks, even where it is cancelled."""
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._lessons.save)
            last_first.push_async_callback(self.poller.close)
            last_first.push_async_callback(self.downloads.close)
            last_first.push_async_callback(self.uploads.close)
            if self.reconciler is not None:
                last_first.push_async_callback(self.reconciler.close)


def _parsed(text: str | None) -> object:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def with_callbacks(policy: PollPolicy) -> PollPolicy:
    """Return a policy for tasks whose callbacks are due: it checks on those that never come."""
    return evolve(
        policy,
        shortest=QUIET * policy.shortest,
        longest=SELDOM * policy.longest,
        polls_per_task=min(FEW, policy.polls_per_task),
    )
