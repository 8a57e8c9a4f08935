"""Spans and metrics of OpenTelemetry: what they cover, how they nest, and what they never hold."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keevx_async import APIError, Budget, BudgetExceeded, SubmissionUncertain
from keevx_async.contrib.otel import Telemetry
from keevx_async.events import Ended, Event, Observer, Polled, Submitted
from keevx_async.models.tasks import Task
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, busy, keevx_of, some_requests


class Seen(NamedTuple):
    """A hook, and what OpenTelemetry received from it."""

    telemetry: Telemetry
    tracer: trace.Tracer
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    meters: MeterProvider

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def points(self, name: str) -> dict[Any, Any]:
        """The sum, or the count of a histogram, by attributes."""
        return {
            tuple(sorted(point.attributes.items())): getattr(point, "value", None)
            if hasattr(point, "value")
            else point.count
            for point in self._points(name)
        }

    def sums(self, name: str) -> list[float]:
        """The sums of a histogram."""
        return [point.sum for point in self._points(name)]

    def _points(self, name: str) -> list[Any]:
        data: Any = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def seen() -> Any:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters)
    yield Seen(telemetry, tracers.get_tracer("test"), exporter, reader, meters)
    tracers.shutdown()
    meters.shutdown()


def test_it_is_an_observer(seen: Seen) -> None:
    observer: Observer = seen.telemetry
    assert callable(observer.span)


async def test_a_create_that_is_retried_is_one_trace_below_the_callers_span(seen: Seen) -> None:
    async with (
        Emulator(faults=busy(2)) as emulator,
        keevx_of(emulator, on_event=seen.telemetry) as keevx,
    ):
        with seen.tracer.start_as_current_span("an order"):
            submission = await keevx.submit(a_request(), key="order-1")
    (order,), (submit,) = seen.named("an order"), seen.named("submit V")
    exchanges = seen.named("POST /v1/image_to_video")
    assert submit.parent is not None
    assert submit.parent.span_id == order.context.span_id
    assert [each.parent and each.parent.span_id for each in exchanges] == [
        submit.context.span_id
    ] * 3
    statuses = [dict(each.attributes or {}).get("http.response.status_code") for each in exchanges]
    assert statuses == [503, 503, 200]
    resent = [dict(each.attributes or {}).get("http.request.resend_count") for each in exchanges]
    assert resent == [None, 1, 2]
    attributes = dict(submit.attributes or {})
    assert attributes["keevx.key"] == "order-1"
    assert attributes["gen_ai.request.model"] == "V"
    assert attributes["gen_ai.response.id"] == ",".join(submission.task_ids)
    assert [each.name for each in submit.events] == ["retry", "retry"]
    assert all(
        (submit.start_time or 0) <= (each.start_time or 0) <= (each.end_time or 0)
        for each in exchanges
    )


async def test_fan_outs_have_a_span_for_each_operation(seen: Seen, tmp_path: Path) -> None:
    async with Emulator(0.02) as emulator, keevx_of(emulator, on_event=seen.telemetry) as keevx:
        with seen.tracer.start_as_current_span("a batch"):
            fan = await keevx.generate_many(some_requests(4), download=tmp_path)
    assert [outcome.ok for outcome in fan.outcomes] == [True] * 4
    (batch,) = seen.named("a batch")
    for name in ("submit V", "wait", "download"):
        spans = seen.named(name)
        assert len(spans) == 4
        assert {span.context.trace_id for span in spans} == {batch.context.trace_id}
    polls = seen.named("poll")
    assert polls
    assert all(poll.parent is None for poll in polls)
    queries = seen.named("GET /v1/image_to_video/{task_id}")
    ids = {span.context.span_id for span in polls}
    assert {query.parent.span_id for query in queries if query.parent} == ids
    assert sum(seen.points("keevx.creates").values()) == 4
    assert set(seen.points("keevx.operations.in_flight").values()) == {0}
    assert set(seen.points("keevx.tasks.in_flight").values()) == {0}
    assert seen.points("keevx.task.duration") == {(("keevx.status", "SUCCEEDED"),): 4}


async def test_creates_are_counted_by_how_they_ended(seen: Seen) -> None:
    faults = Faults(drop_after_create={"prompt 0"}, refuse={"prompt 1"}, refuse_status=400)
    async with (
        Emulator(faults=faults) as emulator,
        keevx_of(emulator, on_event=seen.telemetry) as keevx,
    ):
        await keevx.submit_many(some_requests(3))
    assert seen.points("keevx.creates") == {
        (("keevx.outcome", "submitted"),): 1,
        (("keevx.outcome", "uncertain"),): 1,
        (("error.type", "400"), ("keevx.outcome", "refused")): 1,
    }
    errors = [dict(span.attributes or {}).get("error.type") for span in seen.named("submit V")]
    assert set(errors) == {None, SubmissionUncertain.__name__, APIError.__name__}
    assert {span.status.description for span in seen.named("submit V")} == {
        None,
        "the create's response was lost",
        "HTTP 400, code 100001",
    }


async def test_no_span_and_no_metric_holds_a_secret(seen: Seen, tmp_path: Path) -> None:
    async with Emulator(0.02) as emulator, keevx_of(emulator, on_event=seen.telemetry) as keevx:
        (task,) = await keevx.generate(a_request("a prompt of mine"))
        await keevx.download(f"{task.video_url}?signature=secret", tmp_path / "a.mp4")
        with pytest.raises(APIError):
            await keevx.request("GET", "/v1/unknown?token=hidden")
    written = "".join(span.to_json() for span in seen.spans) + str(seen.reader.get_metrics_data())
    for secret in ("test-key", "a prompt of mine", "signature", str(task.video_url), "start.jpg"):
        assert secret not in written
    assert "hidden" not in written


async def test_a_cancelled_wait_ends_its_span(seen: Seen) -> None:
    async with Emulator(60) as emulator, keevx_of(emulator, on_event=seen.telemetry) as keevx:
        submission = await keevx.submit(a_request())
        wait = asyncio.ensure_future(keevx.wait(submission.task_ids[0]))
        await asyncio.sleep(0.05)
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
        async for _ in keevx.wait_many([], timeout=1):
            pass
    (span,) = seen.named("wait")
    assert dict(span.attributes or {})["error.type"] == "CancelledError"


@pytest.mark.parametrize("when", ["began", "ended"])
async def test_an_observer_that_fails_costs_nothing(
    when: str, emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __call__(self, event: Event) -> None:
            raise RuntimeError

        def span(self, *_: object) -> Any:
            return self

        def __enter__(self) -> None:
            if when == "began":
                raise RuntimeError

        def __exit__(self, *_: object) -> bool:
            if when == "ended":
                raise RuntimeError
            return True  # an error must not be suppressed

    async with keevx_of(emulator, on_event=Broken()) as keevx:
        fan = await keevx.generate_many(some_requests(2), download=tmp_path)
        with pytest.raises(APIError):
            await keevx.status("i2v-unknown")
    assert [outcome.ok for outcome in fan.outcomes] == [True] * 2
    assert f"on_event.span failed when submit {when}" in caplog.text


async def test_another_hook_receives_every_event(emulator: Emulator) -> None:
    events: list[Event] = []
    async with keevx_of(emulator, on_event=Telemetry(on_event=events.append)) as keevx:
        await keevx.submit(a_request())
    assert [each for each in events if isinstance(each, Submitted)]


def spending(seen: Seen, budget: Budget | None = None) -> Telemetry:
    return Telemetry(meter_provider=seen.meters, budget=budget)


async def test_what_may_be_paid_is_spent_as_the_budget_counts_it(seen: Seen) -> None:
    budget = Budget(videos=5, prices={"V/1080p": 0.25})
    faults = Faults(drop_after_create={"prompt 0"}, refuse={"prompt 1"}, refuse_status=400)
    async with (
        Emulator(faults=faults) as emulator,
        keevx_of(emulator, on_event=spending(seen, budget), budget=budget) as keevx,
    ):
        await keevx.submit_many(some_requests(3, generate_count=2))
        assert emulator.tasks
        with pytest.raises(BudgetExceeded) as caught:
            await keevx.submit(a_request(generate_count=2))
    group = (("gen_ai.request.model", "V"), ("keevx.resolution", "1080p"))
    assert seen.points("keevx.spent.results") == {group: 4} == {group: caught.value.spent["videos"]}
    assert seen.points("keevx.spent.seconds") == {group: 24}
    assert seen.points("keevx.spent.cost") == {group: 6.0}


async def test_an_id_of_an_earlier_run_is_not_spent_again(seen: Seen, tmp_path: Path) -> None:
    async with Emulator() as emulator:
        for _ in range(2):
            journal = tmp_path / "run.db"
            async with keevx_of(emulator, on_event=spending(seen), journal=journal) as keevx:
                await keevx.submit(a_request(), key="order-1")
    assert sum(seen.points("keevx.spent.results").values()) == 1
    assert seen.points("keevx.spent.cost") == {}


def test_lag_is_counted_from_the_query_before_the_one_that_saw_the_end(seen: Seen) -> None:
    now = [0.0]
    telemetry = Telemetry(meter_provider=seen.meters, clock=lambda: now[0])
    events = [
        (0.0, Submitted("order-1", ("i2v-1", "i2v-2"))),
        (60.0, Polled("i2v-1", "PROCESSING")),
        (90.0, Polled("i2v-1", "SUCCEEDED")),
        (90.0, Ended(Task(task_id="i2v-1", status="SUCCEEDED"))),
        (100.0, Polled("i2v-2", "SUCCEEDED")),
        (100.0, Ended(Task(task_id="i2v-2", status="SUCCEEDED"))),
        (100.0, Polled("of an earlier run", "SUCCEEDED")),
        (100.0, Ended(Task(task_id="of an earlier run", status="SUCCEEDED"))),
    ]
    for seconds, event in events:
        now[0] = seconds
        telemetry(event)
    assert seen.sums("keevx.task.lag") == [30.0 + 100.0]
    assert seen.points("keevx.task.lag") == {(): 2}
