"""A worker's settings, and the name and connection of a fleet's docket."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta
from typing import Literal

from attrs import field, frozen
from docket import Docket

from ..client.options import check_whole
from ..journal.protocol import is_resubmit
from ..journal.redis.credentials import login_of
from ..settings import DEFAULT_TIMEOUT, Budget, PollPolicy, RetryPolicy
from .rate_limit import check_rate

CREATES = "-create"
"""The suffix that turns a fleet's name into its docket's name."""
MAX_CONNECTIONS = 10_000
"""Maximum number of Redis connections. redis-py's default of 100 breaks a worker with 200 slots."""


@frozen(kw_only=True)
class WorkerSettings:
    """A worker's settings.

    Attributes:
        api_key: the API key; by default from ``KEEVX_API_KEY``.
        base_url: see ``Keevx``.
        rate: the whole fleet's maximum number of creates per second, from 0.001 to 10,000. It
            applies to all workers until another worker sets a rate. None keeps the current rate; if
            no rate was ever set, the fleet sends as many creates as Keevx accepts.
        concurrency: the maximum number of creates in flight in this worker.
        on_uncertain: what to do with a create whose worker died while sending it. ``"report"``
            leaves it unchanged; ``"resubmit"`` sends it again, although it may have been charged.
        budget: the whole fleet's budget; set the same budget for every worker. Creates that do not
            fit stay in the fleet's journal and are retried periodically.
        retry: see ``Keevx``.
        polling: see ``Keevx``.
        timeout: the timeout for one HTTP exchange, in seconds.

    Raises:
        ConfigurationError: a number is out of range.
        ValueError: ``on_uncertain`` is neither ``"report"`` nor ``"resubmit"``.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    rate: float | None = None
    concurrency: int = 64
    on_uncertain: Literal["report", "resubmit"] = "report"
    budget: Budget | None = None
    retry: RetryPolicy = field(factory=RetryPolicy)
    polling: PollPolicy = field(factory=PollPolicy)
    timeout: float = DEFAULT_TIMEOUT

    def __attrs_post_init__(self) -> None:
        if self.rate is not None:
            check_rate(self.rate)
        check_whole("concurrency", self.concurrency)
        is_resubmit("on_uncertain", self.on_uncertain)


worker_settings: ContextVar[WorkerSettings] = ContextVar("worker_settings")
"""The settings for the client that runs the tasks; if unset, the defaults apply."""


def docket_of(name: str, url: str) -> Docket:
    """Return a fleet's docket. It stores no results, because the journal records them.

    Args:
        name: the fleet's name.
        url: the Redis URL; the password may be in KEEVX_REDIS_PASSWORD instead.
    """
    login = login_of(url)
    return Docket(
        f"{name}{CREATES}",
        with_connection_options(login.url),
        execution_ttl=timedelta(0),
        credential_provider=login.provider,
    )


def fleet_of(docket: str) -> str:
    """Return the name of a docket's fleet, given the docket's name."""
    return docket.removesuffix(CREATES)


def with_connection_options(url: str) -> str:
    """Add the connection options that a worker needs to a Redis URL; existing options are kept."""
    # The options allow enough connections, and retry a command once if its connection was lost. (In
    # a URL, this is redis-py's only retry option.) After an outage every pooled connection is dead.
    # Without a retry, the first command would end Docket's loop, and its jobs would have to wait
    # for redelivery.
    if url.startswith("memory:"):
        return url
    for option in (f"max_connections={MAX_CONNECTIONS}", "retry_on_timeout=true"):
        if f"{option.partition('=')[0]}=" not in url:
            url += f"{'&' if '?' in url else '?'}{option}"
    return url
