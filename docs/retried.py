"""The create of docs/service.md that is retried twice: its log lines, its events, its trace.

``python -m docs.retried`` prints them as the page shows them; a test compares the two.
"""

import asyncio
import logging
import re
from typing import NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keevx_async import ImageToVideo, Keevx, RetryPolicy
from keevx_async.contrib.otel import Telemetry
from keevx_async.events import Event
from keevx_async.testing import Emulator, Faults

FIELDS = ("key", "attempt", "elapsed_ms", "status", "request_id")
STATUS, RESENT = "http.response.status_code", "http.request.resend_count"
REFUSALS = 2
_VARYING = re.compile(r"\d+\.\d+(e-\d+)?|(?<=i2v-)[0-9a-f]{32}| *\d+ ms")


class Shown(NamedTuple):
    """What the page shows, a block each."""

    logs: str
    events: str
    trace: str


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = " ".join(f"{name}={vars(record)[name]}" for name in FIELDS)
        self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}\n    {fields}")


async def run() -> Shown:
    """Make the create, which Keevx refuses twice."""
    logger, lines, events = logging.getLogger("keevx_async"), _Lines(), list[Event]()
    spans, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    refusals = iter(range(REFUSALS))
    faults = Faults(
        refuse=lambda _: next(refusals, None) is not None, refuse_status=503, once=False
    )
    request = ImageToVideo(
        model="V",
        prompt="waves roll in",
        image_url="https://example.com/beach.jpg",
        aspect_ratio="16:9",
        aspect_resolution="720p",
        duration=4,
    )
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(lines)
    try:
        async with (
            Emulator(faults=faults) as emulator,
            Keevx(
                "test-key",
                base_url=emulator.url,
                retry=RetryPolicy(first_delay=0.2),
                on_event=Telemetry(on_event=events.append, tracer_provider=tracers),
            ) as keevx,
        ):
            await keevx.submit(request, key="order-1")
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
        tracers.shutdown()
    # A span ends, and so is exported, after those below it.
    *exchanges, submit = spans.get_finished_spans()
    trace = [_line(submit, ""), *(_line(exchange, "    ") for exchange in exchanges)]
    seen = re.sub(r"(\d\.\d{4})\d*", r"\1", "\n".join(map(repr, events)))
    return Shown("\n".join(lines.lines), seen, "\n".join(trace))


def _line(span: ReadableSpan, indent: str) -> str:
    attributes = span.attributes or {}
    milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    names = [name for name in ("keevx.key", STATUS, RESENT) if name in attributes]
    what = [f"{name}={attributes[name]!r}".replace("'", "") for name in names]
    if span.events:
        what.append(f"events: {', '.join(event.name for event in span.events)}")
    return f"{indent + span.name:28} {milliseconds:4.0f} ms  {' '.join(what)}"


def masked(text: str) -> str:
    """Return a text without what differs from run to run: times and ids."""
    return _VARYING.sub("#", text)


if __name__ == "__main__":
    print(*asyncio.run(run()), sep="\n\n")
