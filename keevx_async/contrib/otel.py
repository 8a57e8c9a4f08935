"""OpenTelemetry spans and metrics for a client. Requires the ``otel`` extra.

Pass ``Keevx(on_event=Telemetry())``. Names follow OpenTelemetry's conventions for HTTP and
generative AI; all other names start with ``keevx``. No span or attribute contains the API key, a
prompt, or a result's URL, which may be signed.

====================  =========  ==============================================================
span                  kind       covers
====================  =========  ==============================================================
``submit V``          internal   one create: rate limit, journal, and every attempt
``wait``              internal   one call that waits for tasks
``poll``              internal   one status query made by a wait
``download``          internal   the download of one result
``POST /v1/…``        client     one exchange with the API, as a child of one of the above
====================  =========  ==============================================================

``keevx.spent.results``, ``.seconds`` and ``.cost`` count in the same way as a ``Budget``: they
include the results that uncertain creates may have made. ``keevx.task.lag`` is an upper bound on
the delay before a task's end was noticed: the time since the previous status query or, if there was
none, since the create's response.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer

from ..errors import APIError, SubmissionUncertain, TaskFailed
from ..events import (
    Ended,
    Event,
    Exchange,
    Operation,
    Paused,
    Polled,
    Refused,
    Retrying,
    Submitted,
    Uncertain,
)
from ..models.bounded import BoundedDict
from ..models.registry import kind_by_id
from ..models.request import Request
from ..models.usage import usage_group
from ..settings import VERSION, Budget
from ..submission.budget import Valuation

NAME = "keevx_async"
PROVIDER = "keevx"
MAX_TASKS = 100_000
"""Maximum number of tasks whose start times are remembered; the oldest are forgotten first."""


class Telemetry:
    """An ``on_event`` hook that creates spans and metrics. Clients may share it.

    Args:
        tracer_provider: the tracer provider; the global one by default.
        meter_provider: the meter provider; the global one by default.
        on_event: another hook, which also receives every event.
        budget: the client's budget, whose prices are used for ``keevx.spent.cost``.
        clock: returns the time in seconds; tests pass their own.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        on_event: Callable[[Event], object] | None = None,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_event = on_event
        self._clock = clock
        self._tracer = get_tracer(NAME, VERSION, tracer_provider)
        meter = get_meter(NAME, VERSION, meter_provider)
        self._creates = meter.create_counter(
            "keevx.creates", "{create}", "Creates that ended, by outcome."
        )
        self._retries = meter.create_counter(
            "keevx.retries", "{retry}", "Attempts that failed and were followed by another."
        )
        self._pauses = meter.create_counter(
            "keevx.pauses", "{pause}", "Responses that paused all creates, such as 429."
        )
        self._in_flight = meter.create_up_down_counter(
            "keevx.operations.in_flight", "{operation}", "Operations in progress, by operation."
        )
        self._tasks = meter.create_up_down_counter(
            "keevx.tasks.in_flight", "{task}", "Tasks in this process that have not ended."
        )
        self._task_seconds = meter.create_histogram(
            "keevx.task.duration", "s", "Time from a create's response to the end of its task."
        )
        self._operation_seconds = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Duration of submit, wait and download."
        )
        self._exchange_seconds = meter.create_histogram(
            "http.client.request.duration", "s", "Duration of exchanges with the API."
        )
        self._lag = meter.create_histogram(
            "keevx.task.lag", "s", "Upper bound of how late a task's end was noticed."
        )
        self._spent_results = meter.create_counter(
            "keevx.spent.results", "{result}", "Results that were made or may have been made."
        )
        self._spent_seconds = meter.create_counter(
            "keevx.spent.seconds",
            "s",
            "Seconds of those results, where the request sets a duration.",
        )
        self._spent_cost = meter.create_counter(
            "keevx.spent.cost", "{money}", "Cost of those results for which the budget has a price."
        )
        self._valuation = None if budget is None else Valuation(budget)
        self._began: BoundedDict[str, float] = BoundedDict(MAX_TASKS)
        # The times of the last two queries of each task: the last one may notice its end.
        self._queried: BoundedDict[str, tuple[float | None, float]] = BoundedDict(MAX_TASKS)
        # Not stored by key, because clients that share a hook may use the same key for different
        # requests.
        self._submitting: ContextVar[Request | None] = ContextVar("submitting", default=None)

    @contextmanager
    def span(self, operation: Operation, subject: str, request: Request | None) -> Generator[None]:
        """Record an operation as a span, including its error if it fails.

        A wait's span is not made the current span, because the caller's code runs each time the
        wait yields a finished task. A poll's span starts a new trace.
        """
        model = str(getattr(request, "model", request.kind.name)) if request else None
        attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER}
        if model is not None:
            attributes["gen_ai.request.model"] = model
        span = self._tracer.start_span(
            f"{operation} {model}" if model else operation,
            # A poll may serve several waits for its task, so it belongs to no single trace.
            context=Context() if operation == "poll" else None,
            attributes={**attributes, SUBJECTS[operation]: subject},
        )
        began = self._clock()
        submitting = self._submitting.set(request) if operation == "submit" else None
        self._in_flight.add(1, attributes)
        try:
            if operation == "wait":
                yield
            else:
                with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    yield
        except BaseException as error:
            kind = type(error).__name__
            span.set_attribute("error.type", kind)
            if not isinstance(error, GeneratorExit):  # the caller stopped iterating: no error
                span.set_status(Status(StatusCode.ERROR, describe(error)))
            attributes["error.type"] = kind
            raise
        finally:
            if submitting is not None:
                self._submitting.reset(submitting)
            self._in_flight.add(-1, {k: v for k, v in attributes.items() if k != "error.type"})
            if operation != "poll":
                self._operation_seconds.record(self._clock() - began, attributes)
            span.end()

    def __call__(self, event: Event) -> None:
        """Update the metrics for an event. An exchange also becomes a span."""
        match event:
            case Exchange():
                self._exchange(event)
            case Submitted(key, task_ids):
                self._creates.add(1, {"keevx.outcome": "submitted"})
                self._spend(len(task_ids))
                self._tasks.add(len(task_ids))
                for task_id in task_ids:
                    self._began[task_id] = self._clock()
                trace.get_current_span().set_attribute("gen_ai.response.id", ",".join(task_ids))
            case Refused(_, error):
                code = getattr(error, "status", None) or type(error).__name__
                self._creates.add(1, {"keevx.outcome": "refused", "error.type": str(code)})
            case Uncertain():
                self._creates.add(1, {"keevx.outcome": "uncertain"})
                self._spend(0)
            case Retrying(key, attempt, delay, error):
                kind = type(error).__name__
                self._retries.add(1, {"error.type": kind})
                facts: dict[str, str | int | float] = {
                    "keevx.attempt": attempt,
                    "keevx.delay": delay,
                    "error.type": kind,
                }
                if key:
                    trace.get_current_span().add_event("retry", facts)
            case Paused():
                self._pauses.add(1)
            case Polled(task_id):
                _, before = self._queried.get(task_id, (None, self._began.get(task_id)))
                self._queried[task_id] = before, self._clock()
            case Ended(task):
                before, _ = self._queried.pop(task.task_id, (None, None))
                if before is not None:
                    self._lag.record(self._clock() - before)
                began = self._began.pop(task.task_id, None)
                if began is not None:
                    self._tasks.add(-1)
                    seconds = self._clock() - began
                    self._task_seconds.record(seconds, {"keevx.status": task.status})
            case _:
                pass
        if self._on_event is not None:
            self._on_event(event)

    def _spend(self, ids: int) -> None:
        """Count the results that a create made or may have made, in the same way as a budget."""
        request = self._submitting.get()
        if request is None:
            return
        group, count = usage_group(request), max(ids, request.count)
        attributes = {"gen_ai.request.model": group.model or group.kind}
        if group.resolution:
            attributes["keevx.resolution"] = group.resolution
        self._spent_results.add(count, attributes)
        self._spent_seconds.add(count * group.duration, attributes)
        price = self._valuation.price(group) if self._valuation is not None else None
        if price is not None:
            self._spent_cost.add(float(count * price), attributes)

    def _exchange(self, event: Exchange) -> None:
        route = template(event.path)
        attributes: dict[str, str | int] = {
            "http.request.method": event.method,
            "url.template": route,
        }
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        failed = event.status is None or event.status >= 400 or bool(event.reason)
        if failed:
            attributes["error.type"] = str(event.status or "no response")
        self._exchange_seconds.record(event.seconds, attributes)
        more: dict[str, str | int] = {"url.path": event.path.partition("?")[0]}
        if event.attempt > 1:
            more["http.request.resend_count"] = event.attempt - 1
        if event.key:
            more["keevx.key"] = event.key
        if event.request_id:
            more["keevx.request_id"] = event.request_id
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{event.method} {route}",
            kind=SpanKind.CLIENT,
            attributes=attributes | more,
            start_time=end - int(event.seconds * 1e9),
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR, event.reason))
        span.end(end)


SUBJECTS: dict[Operation, str] = {
    "submit": "keevx.key",
    "wait": "keevx.task_id",
    "poll": "keevx.task_id",
    "download": "keevx.file",
}
"""The span attribute that contains the subject of each operation."""


def template(path: str) -> str:
    """Return a path with any task id replaced by ``{task_id}``, to limit the number of names."""
    path = path.partition("?")[0]
    parent, _, last = path.rpartition("/")
    return f"{parent}/{{task_id}}" if kind_by_id(last) is not None else path


def describe(error: BaseException) -> str:
    """Describe an error for a span, without any text from the caller or from Keevx."""
    if isinstance(error, APIError):
        return f"HTTP {error.status}, code {error.code}"
    if isinstance(error, SubmissionUncertain):
        return "the create's response was lost"
    if isinstance(error, TaskFailed):
        return f"the task ended with status {error.task.status}"
    return type(error).__name__
