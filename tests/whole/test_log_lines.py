"""Every log line that concerns one create carries its key, whatever became of the create."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keevx_async import KeevxError, SubmissionPending, SubmissionUncertain
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, keevx_of
from tests.support.settling import called_back, until

FIELDS = {"key", "attempt", "elapsed_ms", "status", "request_id"}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """All lines of the package, down to DEBUG."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Collector()
    logger = logging.getLogger("keevx_async")
    logger.addHandler(handler)
    with caplog.at_level(logging.DEBUG, "keevx_async"):
        yield records
    logger.removeHandler(handler)


def check(lines: list[logging.LogRecord], *expected: str) -> None:
    """Check that each line has the fields of create order-1, and that some contain these texts."""
    ours = [line for line in lines if line.name.startswith("keevx_async")]
    for line in ours:
        assert vars(line).keys() >= FIELDS, line.getMessage()
        assert vars(line)["key"] == "order-1", line.getMessage()
    for text in expected:
        assert any(text in line.getMessage() for line in ours), text


@asynccontextmanager
async def a_client(faults: Faults, **settings: Any) -> AsyncIterator[tuple[Emulator, Any]]:
    async with Emulator(faults=faults) as emulator, keevx_of(emulator, **settings) as keevx:
        yield emulator, keevx


async def test_a_create_that_the_throttle_holds(lines: list[logging.LogRecord]) -> None:
    busy = Faults(refuse=1.0, refuse_status=429)
    async with a_client(busy) as (_, keevx):
        await keevx.submit(a_request(), key="order-1")
    check(lines, "HTTP 429; all creates are held for", "attempt 1 failed", "accepted, i2v-")
    (held,) = (line for line in lines if "are held for" in line.getMessage())
    assert (vars(held)["status"], vars(held)["attempt"]) == (429, 1)
    assert vars(held)["request_id"]


async def test_a_create_whose_account_waits_for_funds(lines: list[logging.LogRecord]) -> None:
    poor = Faults(no_funds_after=0, retry_after=1)
    async with a_client(poor) as (_, keevx):
        with pytest.raises(KeevxError):
            await keevx.submit(a_request(), key="order-1")
    check(lines, "HTTP 402; all creates are held for 1.0 s", "insufficient balance")


@pytest.mark.parametrize(
    "fault", ["drop_before_create", "error_after_create", "garbage_after_create", "half_answer"]
)
async def test_a_create_whose_answer_is_lost(lines: list[logging.LogRecord], fault: str) -> None:
    async with a_client(Faults()) as (emulator, keevx):
        setattr(emulator.faults, fault, 1.0)
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request(), key="order-1")
    check(lines, "POST /v1/image_to_video")


async def test_a_create_that_is_answered_after_its_call(lines: list[logging.LogRecord]) -> None:
    async with a_client(Faults(latency=0.2)) as (emulator, keevx):
        with pytest.raises(SubmissionPending):
            await keevx.submit(a_request(), key="order-1", timeout=0.02)
        await until(lambda: any("its call timed out" in line.getMessage() for line in lines))
        assert len(emulator.tasks) == 1
    check(lines, "create order-1 ended after its call timed out")
    (late,) = (line for line in lines if "its call timed out" in line.getMessage())
    assert vars(late)["elapsed_ms"] >= 20


async def test_a_create_that_is_answered_after_a_cancellation(
    lines: list[logging.LogRecord],
) -> None:
    async with a_client(Faults(latency=0.1)) as (emulator, keevx):
        call = asyncio.create_task(keevx.submit(a_request(), key="order-1"))
        await until(lambda: emulator.creates.total() == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        (task_id,) = emulator.tasks
    check(lines, "create order-1 ended after its call was cancelled", task_id)


async def test_a_wait_that_is_interrupted(lines: list[logging.LogRecord]) -> None:
    async with Emulator(60) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(KeevxError):
            await keevx.generate(a_request(), key="order-1", timeout=0.1)
        await until(lambda: any("interrupted" in line.getMessage() for line in lines))
    # Status queries are free and concern a task; their lines name its path.
    check(
        [line for line in lines if getattr(line, "method", "") != "GET"],
        "create order-1: a wait was interrupted",
    )


async def test_a_create_that_a_callback_settles(lines: list[logging.LogRecord]) -> None:
    lost = Faults(drop_after_create=1.0)
    async with called_back(faults=lost) as (emulator, keevx, receiver):
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request(), key="order-1")
        body = json.loads(next(iter(emulator.tasks.values())).raw)
        data = {"task_id": "i2v-of-someone-else", "status": "SUCCEEDED"}
        report = json.dumps({"code": 0, "task_type": "image_to_video", "data": data})
        token = body["callback_url"].rpartition("/")[2]
        await receiver.receive(token, report.encode())
        await until(lambda: any("does not belong" in line.getMessage() for line in lines))
    check(
        [line for line in lines if getattr(line, "method", "") != "GET"],
        "create order-1: a callback reported task i2v-of-someone-else",
    )
