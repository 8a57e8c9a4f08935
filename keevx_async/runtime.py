"""What a client is made of on one event loop: every room, furnished once."""

from __future__ import annotations

import asyncio

from attrs import frozen

from .creating import Creator, Lane
from .jobs import Jobs
from .media import Downloads
from .pacing import Pacer
from .polling import PollPolicy
from .querying import Querier
from .retry import Retrier
from .transport import Transport
from .verdict import RetryPolicy
from .waiting import Watcher


@frozen
class Setup:
    """What outlives an event loop."""

    transport: Transport
    retry: RetryPolicy
    polling: PollPolicy
    pacer: Pacer
    max_connections: int


class Runtime:
    """The rooms of one event loop."""

    def __init__(self, setup: Setup) -> None:
        transport, retrier = setup.transport, Retrier(setup.retry)
        lane = Lane(setup.pacer, setup.max_connections, setup.retry.deadline)
        self.loop = asyncio.get_running_loop()
        self.querier = Querier(transport, retrier, transport.host)
        self.watcher = Watcher(self.querier.status_once, setup.polling)
        self.jobs = Jobs(
            Creator(transport, retrier, lane, self.querier.upload_files, transport.host),
            self.watcher,
            self.querier,
            Downloads(transport, retrier),
            setup.polling.timeout,
        )
