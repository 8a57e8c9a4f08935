"""The settings of a worker, and the name and connection of a fleet's docket."""

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
"""The suffix of the name of a fleet's docket."""
MAX_CONNECTIONS = 10_000
"""The most connections to Redis. redis-py's default of 100 breaks a worker with 200 slots."""


@frozen(kw_only=True)
class WorkerSettings:
    """The settings of a worker.

    Attributes:
        api_key: the API key; by default from ``KEEVX_API_KEY``.
        base_url: as for ``Keevx``.
        rate: the most creates per second of the whole fleet, from 0.001 to 10,000. It applies to
            all workers at once, until another worker sets a rate. None keeps the rate that was set
            last; if none was set, the fleet sends as many as Keevx accepts.
        concurrency: the most creates in flight in this worker.
        on_uncertain: what to do with a create whose worker died while sending it. ``"report"``
            leaves it unchanged; ``"resubmit"`` sends it again, although it may have been charged.
        budget: the most that the whole fleet may make; set the same budget for every worker.
            Creates that do not fit stay in the fleet's journal, and are retried from time to time.
        retry: as for ``Keevx``.
        polling: as for ``Keevx``.
        timeout: seconds for one HTTP exchange.

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
"""The settings of the tasks' clients; if unset, the defaults apply."""


def docket_of(name: str, url: str) -> Docket:
    """Return a fleet's docket. It stores no results, since the journal is the record.

    Args:
        name: the fleet's name.
        url: the URL of Redis; its password may be in KEEVX_REDIS_PASSWORD.
    """
    login = login_of(url)
    return Docket(
        f"{name}{CREATES}",
        with_connection_options(login.url),
        execution_ttl=timedelta(0),
        credential_provider=login.provider,
    )


def fleet_of(docket: str) -> str:
    """Return the name of the fleet that a docket belongs to."""
    return docket.removesuffix(CREATES)


def with_connection_options(url: str) -> str:
    """Return a Redis URL with the options that a worker needs; options in the URL are kept."""
    # Enough connections, and one repetition of a command whose connection was lost. In a URL,
    # redis-py offers only this option for it. After an outage every pooled connection is dead, and
    # the first command would end Docket's loop and leave the jobs it had to the redelivery.
    if url.startswith("memory:"):
        return url
    for option in (f"max_connections={MAX_CONNECTIONS}", "retry_on_timeout=true"):
        if f"{option.partition('=')[0]}=" not in url:
            url += f"{'&' if '?' in url else '?'}{option}"
    return url
