"""Prometheus metrics of a client's events: Keevx(on_event=Metrics(REGISTRY)).

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
        registry: where Prometheus collects the metrics from.
        clock: returns the time in seconds.
    """

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._events = Counter("keevx_events", "Events, by type.", ["event"], registry=registry)
        self._ended = Histogram(
            "keevx_task_seconds",
            "Time from a create's response to the end of its task, in seconds.",
            ["status"],
            buckets=MINUTES,
            registry=registry,
        )
        in_flight = Gauge(
            "keevx_tasks_in_flight", "Created by this process, not yet ended.", registry=registry
        )
        in_flight.set_function(lambda: len(self._began))

    def __call__(self, event: Event) -> None:
        """Count an event."""
        self._events.labels(type(event).__name__.lower()).inc()
        if isinstance(event, Submitted):
            self._began.update(dict.fromkeys(event.task_ids, self._clock()))
        elif isinstance(event, Ended):
            began = self._began.pop(event.task.task_id, None)
            if began is not None:
                self._ended.labels(event.task.status).observe(self._clock() - began)
