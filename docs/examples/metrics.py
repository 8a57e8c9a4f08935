"""Prometheus figures of what a client does: Keevx(on_event=Metrics(REGISTRY)).

pip install keevx_async prometheus-client
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from keevx_async.events import Ended, Event, Submitted

MINUTES = tuple(60 * minutes for minutes in (0.5, 1, 2, 3, 5, 8, 12, 20, 30))


class Metrics:
    """The ``on_event`` hook of one client.

    Args:
        registry: where the figures are collected from.
        clock: tells the time in seconds.
    """

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._events = Counter(
            "keevx_events", "What happened, by kind of event.", ["event"], registry=registry
        )
        self._ended = Histogram(
            "keevx_task_seconds",
            "From a create's answer until its task was seen to have ended.",
            ["status"],
            buckets=MINUTES,
            registry=registry,
        )
        under_way = Gauge(
            "keevx_tasks_in_flight", "Created in this process, not seen to end.", registry=registry
        )
        under_way.set_function(lambda: len(self._began))

    def __call__(self, event: Event) -> None:
        """Count an event."""
        self._events.labels(type(event).__name__.lower()).inc()
        if isinstance(event, Submitted):
            self._began.update(dict.fromkeys(event.task_ids, self._clock()))
        elif isinstance(event, Ended):
            began = self._began.pop(event.task.task_id, None)
            if began is not None:
                self._ended.labels(event.task.status).observe(self._clock() - began)
