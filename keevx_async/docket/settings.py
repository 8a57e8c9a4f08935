"""What a worker is set up with, and how a fleet's docket is named and connected."""

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
"""How the name of a fleet's docket ends."""
MAX_CONNECTIONS = 10_000
"""Connections to Redis at most; redis-py's own limit of 100 breaks a worker of concurrency 200."""


@frozen(kw_only=True)
class WorkerSettings:
    """What a worker's client is set up with.

    Attributes:
        api_key: by default from ``KEEVX_API_KEY``.
        base_url: as for ``Keevx``.
        rate: creates per second at most, of the whole fleet, from 0.001 to 10,000. It counts for
            all workers at once, until another worker sets one. None keeps the rate that was set
            last; without any, as many as Keevx accepts.
        concurrency: creates in flight at most, in this worker.
        on_uncertain: what to do with a create whose worker died while sending it. ``"report"``
            leaves it as it is; ``"resubmit"`` sends it again, though it may have been paid for.
        budget: the most that the whole fleet may make; give every worker the same. What does not
            fit stays in the fleet's journal, and is tried again from time to time.
        retry: as for ``Keevx``.
        polling: as for ``Keevx``.
        timeout: seconds for one exchange.

    Raises:
        ConfigurationError: a number is out of range.
        ValueError: ``on_uncertain`` is neither of the two.
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
"""What the tasks' clients are set up with; if it is not set, with the defaults."""


def docket_of(name: str, url: str) -> Docket:
    """Return a fleet's docket.

    It keeps no results: the journal is the record.

    Args:
        name: the name of the fleet.
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
    """Return a Redis URL with what a worker's connections need, unless it says otherwise itself."""
    # As many as it needs; and one repetition of a command whose connection was lost, for which
    # redis-py has only this switch in a URL. After an outage each pooled connection is dead: the
    # first command on it would end Docket's loop, and leave what it had taken to the redelivery.
    if url.startswith("memory:"):
        return url
    for option in (f"max_connections={MAX_CONNECTIONS}", "retry_on_timeout=true"):
        if f"{option.partition('=')[0]}=" not in url:
            url += f"{'&' if '?' in url else '?'}{option}"
    return url
