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
from ..journal import JournalProtocol
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
from ..transfer.uploads import Uploaded, Uploads
from .jobs import Jobs
from .kind_lookup import Kinship

if TYPE_CHECKING:
    from ..submission.callbacks import CallbackReceiver  # brings aiohttp.web along, which few need

DURATIONS = "durations"
QUIET, SELDOM = 20.0, 30.0
"""By how much the shortest and the longest time between polls grow when callbacks are due."""
FEW = 1.0
"""Polls per task then, the one that a callback causes included, once durations are known."""


@frozen
class Setup:
    """What outlives an event loop."""

    transport: AiohttpTransport
    retry: RetryPolicy
    polling: PollPolicy
    pacer: AdaptiveRate
    max_connections: int
    journal: JournalProtocol
    callbacks: CallbackReceiver | None
    emit: Emit | None
    kinship: Kinship
    offers: Availability
    uploaded: Uploaded = field(factory=Uploaded)
    owners: Owners = field(factory=Owners)
    gate: SharedLimit | None = None


class Lessons:
    """What earlier runs learned of how long tasks last, and this one; never worth an error.

    Args:
        journal: keeps it between runs.
    """

    def __init__(self, journal: JournalProtocol) -> None:
        self.durations: Durations = Durations()
        self._journal = journal
        self._read = False

    async def read(self) -> None:
        """Take in what earlier runs learned; call it before a task is scheduled."""
        if self._read:
            return
        with suppress(JournalError):  # keep() must not replace what could not be read
            known = _parsed(await self._journal.get_note(DURATIONS))
            if not self._read:  # else another did so meanwhile, and more was learned since
                self._read = True
                self.durations.load(known)

    async def keep(self) -> None:
        """Keep what was learned for the next run."""
        if self._read:
            with suppress(JournalError):
                await self._journal.set_note(DURATIONS, json.dumps(self.durations.dump()))


class Runtime:
    """The rooms of one event loop."""

    def __init__(self, setup: Setup, lessons: Lessons) -> None:
        transport, retrier = setup.transport, Retrier(setup.retry, emit=setup.emit)
        patience = setup.retry.deadline
        lane = Throttle(setup.pacer, setup.max_connections, patience, setup.emit, setup.gate)
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.kinship = setup.kinship
        host = Host(transport, transport.host, transport.base_url, transport.secrets)
        self.querier = ApiClient(transport, retrier, host, setup.kinship)
        self.uploads = Uploads(self.querier, retrier, setup.uploaded)
        polling = setup.polling if setup.callbacks is None else seldom(setup.polling)
        self.watcher = Poller(self._ask, polling, setup.emit, lessons.durations)
        self.settlements = (
            Reconciler(setup.callbacks, self.querier.status, self.watcher.wake, setup.journal)
            if setup.callbacks
            else None
        )
        creator = Submitter(
            transport,
            retrier,
            lane,
            self.uploads.files,
            setup.journal,
            self.settlements,
            setup.offers,
            host,
            setup.owners,
            setup.emit,
        )
        self.downloads = Downloads(transport, retrier)
        self.jobs = Jobs(
            creator,
            self.watcher,
            self.querier,
            self.downloads,
            setup.journal,
            self.settlements,
            setup.kinship,
            lessons.read,
            setup.polling.timeout,
        )
        self._lessons = lessons

    async def _ask(self, task_id: str) -> Task:
        """Ask about a task, unless that was just done because a callback told of it."""
        known = self.settlements.end_of(task_id) if self.settlements is not None else None
        return known or await self.querier.status_once(task_id)

    def leave(self) -> None:
        """Take no more callbacks: the event loop is left behind."""
        if self.settlements is not None:
            self.settlements.detach()

    async def close(self) -> None:
        """Stop all that asks, uploads, downloads or takes callbacks, even where it is cancelled."""
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._lessons.keep)
            last_first.push_async_callback(self.watcher.close)
            last_first.push_async_callback(self.downloads.close)
            last_first.push_async_callback(self.uploads.close)
            if self.settlements is not None:
                last_first.push_async_callback(self.settlements.close)


def _parsed(text: str | None) -> object:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def seldom(policy: PollPolicy) -> PollPolicy:
    """Return a policy for tasks whose callbacks are due: it checks on those that never come."""
    return evolve(
        policy,
        shortest=QUIET * policy.shortest,
        longest=SELDOM * policy.longest,
        polls_per_task=min(FEW, policy.polls_per_task),
    )
