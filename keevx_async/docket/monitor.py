"""Monitor a fleet: publish gauges for its operator, and log when the fleet is stuck."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from attrs import evolve, frozen
from docket import Docket
from docket.instrumentation import healthcheck_server, metrics_server
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from redis.exceptions import RedisError

from ..errors import ConfigurationError, JournalError
from ..journal.redis.journal import RedisJournal
from ..journal.redis.scripts import STATUS

log = logging.getLogger("keevx_async.docket")

INTERVAL = 5.0
"""Seconds between checks of the fleet."""
STUCK = 60.0
"""Seconds without progress after which a fleet that has work counts as stuck."""


@frozen
class FleetStatus:
    """The current status of a fleet.

    Attributes:
        counts: the number of creates in each state, and the numbers of tasks that succeeded and
            failed.
        rate: the maximum number of creates per second; 0 if there is no limit.
        held_seconds: how long creates have been paused by a 429; 0 if they are not paused.
        throttled: the number of 429 responses so far.
        oldest_seconds: the age of the oldest job that is due but not done; 0 if no create is
            waiting.
    """

    counts: Mapping[str, int]
    rate: float = 0.0
    held_seconds: float = 0.0
    throttled: int = 0
    oldest_seconds: float = 0.0

    @property
    def done(self) -> tuple[int, ...]:
        """The counts that show progress: if none has changed, the fleet has made no progress."""
        names = ("submitted", "refused", "uncertain", "succeeded", "failed")
        return tuple(self.counts[name] for name in names)

    @property
    def is_waiting(self) -> bool:
        """Whether any create is planned or being sent."""
        return self.counts["planned"] + self.counts["sending"] > 0


GAUGES: Mapping[str, tuple[str, str, Callable[[FleetStatus], float]]] = {
    "keevx_fleet_planned": ("1", "Creates to be made", lambda s: s.counts["planned"]),
    "keevx_fleet_sending": ("1", "Creates in flight", lambda s: s.counts["sending"]),
    "keevx_fleet_uncertain": ("1", "Creates without a response", lambda s: s.counts["uncertain"]),
    "keevx_fleet_refused": ("1", "Creates that failed", lambda s: s.counts["refused"]),
    "keevx_fleet_submitted": ("1", "Creates that were made", lambda s: s.counts["submitted"]),
    "keevx_fleet_rate": ("1/s", "Creates per second at most; 0: no limit", lambda s: s.rate),
    "keevx_fleet_held": ("s", "How long a 429 has held the creates", lambda s: s.held_seconds),
    "keevx_fleet_throttled": ("1", "429 responses so far", lambda s: s.throttled),
    "keevx_fleet_oldest_job": ("s", "Age of the oldest waiting job", lambda s: s.oldest_seconds),
}
"""Each gauge's unit, description and value. All workers of a fleet report the same values."""


async def read_status(journal: RedisJournal, creates: Docket) -> FleetStatus:
    """Return a fleet's status.

    Raises:
        JournalError: Redis cannot be used.
    """
    status = FleetStatus(await journal.counts())
    now = round(1000 * time.time())
    throttled, rate, held = await journal.connection.run(
        "the fleet's status could not be read", STATUS, "", now
    )
    with suppress(RedisError):
        async with creates.redis() as redis:
            raw: Any = redis
            # Docket's stream contains the jobs that are due and not yet done, oldest first.
            oldest = await raw.xrange(creates.stream_key, count=1)
        if oldest and status.is_waiting:
            added = int(oldest[0][0].split(b"-")[0])
            status = evolve(status, oldest_seconds=max(0.0, (now - added) / 1000))
    return evolve(
        status,
        throttled=int(throttled or 0),
        rate=float(rate or 0),
        held_seconds=max(0.0, int(held) / 1000),
    )


class StuckDetector:
    """Decides whether a fleet that has work is stuck.

    Args:
        after: seconds without progress after which the fleet is stuck.
    """

    def __init__(self, after: float = STUCK) -> None:
        self._after = after
        self._last: tuple[int, ...] = ()
        self._since = 0.0
        self._reported = False

    def observe(self, status: FleetStatus, now: float) -> str:
        """Return a message to log, or an empty string if there is nothing to report.

        Args:
            status: the fleet's current status.
            now: the time on a monotonic clock, in seconds.
        """
        # 1. The fleet made progress or has nothing to do, so it is not stuck. If it was reported as
        #    stuck, its recovery is reported too.
        # 2. The fleet has made no progress for long enough: this is reported once.
        if status.done != self._last or not status.is_waiting:
            was_reported, self._reported = self._reported, False
            self._last, self._since = status.done, now
            return "the fleet is making progress again" if was_reported else ""
        if self._reported or now - self._since < self._after:
            return ""
        self._reported = True
        counts = status.counts
        cause = (
            f"a 429 has held its creates for {status.held_seconds:.0f} s"
            if status.held_seconds
            else f"its rate is {status.rate:g} per second"
            if status.rate
            else "it has no rate"
        )
        return (
            f"the fleet is stuck: nothing has ended for {now - self._since:.0f} s, "
            f"{counts['planned']:,} creates are planned and {counts['sending']:,} are being sent; "
            f"{cause}"
        )


class Monitor:
    """Watches a fleet, updates its gauges, and logs when it is stuck.

    Args:
        journal: the fleet's journal.
        creates: the docket that contains the fleet's creates.
        fleet: the fleet's name, which labels the gauges.
    """

    def __init__(self, journal: RedisJournal, creates: Docket, fleet: str) -> None:
        self._journal = journal
        self._creates = creates
        self._fleet = fleet
        self._status: FleetStatus | None = None
        meter = metrics.get_meter("keevx_async")
        for name, (unit, description, value) in GAUGES.items():
            callback = self._callback(value)
            meter.create_observable_gauge(name, [callback], unit=unit, description=description)

    def _callback(
        self, value: Callable[[FleetStatus], float]
    ) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            if self._status is None:
                return []
            return [Observation(value(self._status), {"fleet": self._fleet})]

        return observe

    async def run(self) -> None:
        """Watch the fleet until cancelled."""
        loop, detector = asyncio.get_running_loop(), StuckDetector()
        while True:
            with suppress(JournalError):  # those who do the work report that Redis is unavailable
                self._status = await read_status(self._journal, self._creates)
                if message := detector.observe(self._status, loop.time()):
                    log.warning("%s", message)
            await asyncio.sleep(INTERVAL)


@contextmanager
def servers(metrics_port: int | None, health_port: int | None) -> Generator[None]:
    """Serve Docket's metrics and health check while the ``with`` block runs.

    Raises:
        ConfigurationError: a port cannot be used, or Docket's ``metrics`` extra is not installed.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(healthcheck_server(port=health_port))
            stack.enter_context(metrics_server(port=metrics_port))
        except ImportError:
            raise ConfigurationError(
                "--metrics-port needs Docket's metrics extra; run: pip install 'pydocket[metrics]'"
            ) from None
        except (OSError, OverflowError) as error:
            ports = f"--metrics-port {metrics_port}, --health-port {health_port}"
            raise ConfigurationError(f"cannot listen on one of {ports}: {error}") from None
        yield
