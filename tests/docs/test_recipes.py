"""The recipes of docs/examples, run against the Emulator: a service, its logs and its figures."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from keevx_async import CallbackReceiver, Journal
from keevx_async.events import Ended, Event, Submitted
from keevx_async.models.tasks import Task
from keevx_async.testing import Emulator, Faults
from tests.conftest import FakeClock
from tests.support.callbacks import loopback, under_uvicorn
from tests.support.client import a_request, keevx_of, some_requests
from tests.support.emulator import until
from tests.support.service import EXAMPLES, SECRET, Caller, a_process, ended

CREATE = "POST /v1/image_to_video"


@pytest.fixture(autouse=True)
def beside_the_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import each other, as files in one folder do."""
    monkeypatch.syspath_prepend(EXAMPLES)


def recipe(name: str) -> ModuleType:
    return import_module(name)


@asynccontextmanager
async def serving(emulator: Emulator, folder: Path) -> AsyncGenerator[Caller]:
    """The service in this process, under uvicorn, and someone who calls it."""
    bound, origin = loopback()
    journal = Journal(folder / "run.db")
    receiver = CallbackReceiver(f"{origin}/keevx", secret=SECRET)
    keevx = keevx_of(emulator, journal=journal, callbacks=receiver)
    app = recipe("service").create_app(keevx, receiver, str(folder))
    async with under_uvicorn(app, bound), aiohttp.ClientSession() as session:
        yield Caller(session, origin)


async def test_an_order_is_answered_with_its_ids_and_its_video_comes_home(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with serving(emulator, tmp_path) as caller:
        code, answer = await caller.order("order-1")
        (task_id,) = emulator.tasks
        assert (code, answer) == (202, {"key": "order-1", "task_ids": [task_id]})
        await until((tmp_path / f"{task_id}.mp4").exists)
        code, told = await caller.status(task_id)
        assert (code, told["task_id"], told["status"]) == (200, task_id, "SUCCEEDED")
        await until(lambda: emulator.callbacks == {"delivered": 1})
    assert (tmp_path / f"{task_id}.mp4").read_bytes() == emulator.video(task_id)


async def test_the_same_order_twice_at_once_and_again_is_paid_once(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with serving(emulator, tmp_path) as caller:
        answers = await asyncio.gather(*(caller.order("order-1") for _ in range(5)))
        answers.append(await caller.order("order-1"))
    assert all(answer == answers[0] for answer in answers)
    assert emulator.creates.total() == 1


async def test_a_bad_order_is_answered_with_what_to_fix(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults = Faults(refuse={"bad"}, refuse_status=400, refuse_code=100001)
    async with serving(emulator, tmp_path) as caller:
        refused = await caller.order("order-1", "bad")
        await caller.order("order-0", "of someone else")
        taken = await caller.order("order-0")
        invalid = await caller.order("order-2", duration=7)
        local = await caller.order("order-3", image_url="file:/etc/passwd")
        unknown = await caller.status("i2v-none")
        answers = (refused, taken, invalid, local, unknown)
        assert [one[0] for one in answers] == [502, 500, 422, 422, 404]
        assert "of someone else" not in repr(taken)
        assert "duration" in repr(invalid[1]["detail"])
        assert "refers to a file on this machine" in repr(local[1]["detail"])
    assert emulator.creates == {"of someone else": 1}


async def test_an_order_whose_answer_was_lost_gets_its_ids_when_the_callback_has_come(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.drop_after_create = 1
    async with serving(emulator, tmp_path) as caller:
        code, answer = await caller.order("order-1")
        assert (code, answer["error"]) == (504, "SubmissionUncertain")
        await until(lambda: emulator.callbacks == {"delivered": 1})
        # The receiver answers at once, and confirms the id with Keevx afterwards.
        async with asyncio.timeout(120):
            while code == 504:
                code, answer = await caller.order("order-1")
        assert (code, answer["task_ids"]) == (202, list(emulator.tasks))
    assert emulator.creates.total() == 1


async def test_a_restart_goes_on_with_what_was_under_way(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.seconds = 0.5
    async with serving(emulator, tmp_path) as caller:
        await caller.order("order-1")
    (task_id,) = emulator.tasks
    video = tmp_path / f"{task_id}.mp4"
    assert not video.exists()
    async with serving(emulator, tmp_path):
        await until(video.exists)
    async with Journal(tmp_path / "run.db") as journal:
        record = await journal.find_task(task_id)
        assert record
        assert record.path == video.resolve()


@pytest.mark.slow
async def test_a_stopped_service_loses_no_create_in_flight_and_starts_none(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.latency = 1.0
    async with a_process(emulator, tmp_path) as (process, caller):
        orders = [
            asyncio.ensure_future(caller.order(f"order-{number}", f"prompt {number}"))
            for number in range(60)
        ]
        await until(lambda: emulator.requests[CREATE] >= 5)
        async with caller.session.get(f"{caller.origin}/metrics") as figures:
            assert "keevx_operations_in_flight" in await figures.text()
        process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*orders, return_exceptions=True)
        await ended(process)
    in_flight = emulator.requests[CREATE]
    made = [one[1] for one in answers if not isinstance(one, BaseException) and one[0] == 202]
    async with Journal(tmp_path / "videos.db") as journal:
        entries = {
            entry.key: (entry.state, list(entry.task_ids)) async for entry in journal.entries()
        }
    assert entries == {one["key"]: ("submitted", one["task_ids"]) for one in made}
    assert {task_id for one in made for task_id in one["task_ids"]} == set(emulator.tasks)
    assert 5 <= in_flight == len(made) < len(orders)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[ReadableSpan, ...]]]:
    """The spans there are, in an environment that asks for every header to be captured."""
    for side in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{side}", ".*")
    tracing, exporter, provider = recipe("tracing"), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.trace_exchanges(provider)
    yield exporter.get_finished_spans
    tracing.AioHttpClientInstrumentor().uninstrument()
    provider.shutdown()


async def test_every_exchange_has_a_span_and_none_holds_the_key(
    spans: Callable[[], tuple[ReadableSpan, ...]], emulator: Emulator, tmp_path: Path
) -> None:
    async with keevx_of(emulator) as keevx:
        (task,) = await keevx.generate(a_request())
        await keevx.download(task, tmp_path)
        await keevx.download(f"{task.video_url}?signature=secret", tmp_path / "again.mp4")
    told = [span.to_json() for span in spans()]
    of_the_api = [one for one in told if emulator.url in one]
    assert len(of_the_api) >= 2
    assert len(told) - len(of_the_api) == 2
    assert all("keevx_async/" in one for one in of_the_api), "headers were to be captured"
    assert not [one for one in told if "test-key" in one or "signature" in one]


async def test_logs_have_a_line_for_each_kind_of_event_and_no_secret() -> None:
    faults = Faults(
        drop_after_create={"prompt 1"}, refuse={"prompt 2"}, refuse_status=400, refuse_code=100001
    )
    with capture_logs() as lines:
        async with (
            Emulator(0.02, faults=faults) as emulator,
            keevx_of(emulator, on_event=recipe("logs").log_event) as keevx,
        ):
            await keevx.generate_many(some_requests(3), key=lambda request: request.prompt)
    by_event = {line["event"]: line for line in lines}
    (task_id,) = by_event["submitted"]["task_ids"]
    assert (by_event["ended"]["task_id"], by_event["ended"]["status"]) == (task_id, "SUCCEEDED")
    assert (by_event["uncertain"]["key"], by_event["refused"]["key"]) == ("prompt 1", "prompt 2")
    assert by_event["uncertain"]["log_level"] == by_event["refused"]["log_level"] == "warning"
    assert by_event["polled"]["log_level"] == "debug"
    assert "http" not in repr(lines)


def test_logs_know_every_kind_of_event() -> None:
    source = (EXAMPLES / "logs.py").read_text()
    assert [
        one.__name__ for one in Event.__subclasses__() if f"case {one.__name__}" not in source
    ] == []


def test_figures_of_tasks_in_flight_and_of_how_long_they_took(clock: FakeClock) -> None:
    registry = CollectorRegistry()
    metrics, value = recipe("metrics").Metrics(registry, clock), registry.get_sample_value
    metrics(Submitted("order-1", ("i2v-1", "i2v-2")))
    clock.advance(90)
    metrics(Ended(Task(task_id="i2v-1", status="SUCCEEDED")))
    metrics(Ended(Task(task_id="of an earlier run", status="SUCCEEDED")))
    assert value("keevx_tasks_in_flight") == 1
    assert value("keevx_task_seconds_sum", {"status": "SUCCEEDED"}) == 90
    assert value("keevx_task_seconds_count", {"status": "SUCCEEDED"}) == 1
    assert value("keevx_task_seconds_bucket", {"status": "SUCCEEDED", "le": "60.0"}) == 0
    assert value("keevx_task_seconds_bucket", {"status": "SUCCEEDED", "le": "120.0"}) == 1


async def test_figures_add_up(emulator: Emulator) -> None:
    registry = CollectorRegistry()
    emulator.faults.drop_after_create = {"prompt 0"}
    hook = recipe("metrics").Metrics(registry)
    async with keevx_of(emulator, on_event=hook) as keevx:
        await keevx.generate_many(some_requests(10))

    def count(event: str) -> float | None:
        return registry.get_sample_value("keevx_events_total", {"event": event})

    assert (count("submitted"), count("ended"), count("uncertain")) == (9, 9, 1)
    assert registry.get_sample_value("keevx_tasks_in_flight") == 0
