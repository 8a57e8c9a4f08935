"""What the on_event hook is told, and that nothing it does harms what is paid."""

import logging
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    APIError,
    ConfigurationError,
    ConnectionFailed,
    FanOut,
    Journal,
    Keevx,
    SubmissionUncertain,
)
from keevx_async.events import (
    Downloaded,
    Ended,
    Event,
    Exchange,
    Paused,
    Polled,
    Refused,
    Retrying,
    Submitted,
    Uncertain,
)
from keevx_async.testing import Emulator, Faults
from tests.conftest import at_once
from tests.support.client import RETRY, a_request, awaited, keevx_of, some_requests
from tests.support.emulator import stop_clock_until_refused
from tests.support.journal import entry_of
from tests.support.ports import refusing

EVERY_KIND = {Downloaded, Ended, Exchange, Paused, Polled, Refused, Retrying, Submitted, Uncertain}


class Told(list[Event]):
    """The events that a hook received, but for the exchanges, which test_options counts."""

    def hear(self, event: Event) -> None:
        if not isinstance(event, Exchange):
            self.append(event)


async def test_a_create_that_never_reached_keevx_is_reported_once_after_its_retries() -> None:
    told = Told()
    with refusing() as where:
        async with Keevx("test-key", base_url=where, retry=RETRY, on_event=told.hear) as keevx:
            with pytest.raises(ConnectionFailed) as caught:
                await keevx.submit(a_request(), key="one")
    assert [type(event) for event in told] == [Retrying] * 5 + [Refused]
    assert told[-1] == Refused("one", caught.value)


async def test_each_create_ends_in_exactly_one_of_submitted_refused_and_uncertain() -> None:
    told = Told()
    faults = Faults(
        refuse={"prompt 1"}, refuse_status=400, refuse_code=100001, drop_after_create={"prompt 2"}
    )
    async with (
        Emulator(faults=faults) as emulator,
        keevx_of(emulator, on_event=told.hear) as keevx,
    ):
        await keevx.submit_many(some_requests(4), key=lambda request: request.prompt)
    ends = {
        event.key: type(event).__name__
        for event in told
        if isinstance(event, Submitted | Refused | Uncertain)
    }
    assert len(told) == 4
    assert ends == {
        "prompt 0": "Submitted",
        "prompt 1": "Refused",
        "prompt 2": "Uncertain",
        "prompt 3": "Submitted",
    }


async def test_a_hook_that_fails_at_every_event_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: set[type[Event]] = set()

    def fail(event: Event) -> None:
        told.add(type(event))
        raise RuntimeError("the hook is broken")

    faults = Faults(
        rate=200, burst=1, retry_after=0.01, drop_after_create={"prompt 2"}, refuse={"prompt 3"},
        refuse_status=400, refuse_code=100001,
    )  # fmt: skip
    with caplog.at_level(logging.ERROR, "keevx_async"):
        async with (
            Emulator(0.02, faults=faults) as emulator,
            keevx_of(emulator, on_event=fail, journal=tmp_path / "run.db") as keevx,
        ):
            stop_clock_until_refused(emulator)
            result = await awaited(keevx.generate_many(some_requests(12), download=tmp_path))
    assert told == EVERY_KIND
    assert {type(error) for error in result.errors} == {SubmissionUncertain, APIError}
    assert sum(len(outcome.paths) for outcome in result.outcomes) == 10
    assert emulator.creates.total() == 11
    assert max(emulator.creates.values()) == 1
    assert all("on_event failed" in record.message for record in caplog.records)


async def test_a_hook_may_read_the_journal_and_start_work_of_its_own(tmp_path: Path) -> None:
    """It is called outside of every lock, and after the ids are on disk."""
    journal = Journal(tmp_path / "run.db")
    found: list[bool] = []
    more: list[FanOut] = []

    async def read(event: Submitted) -> None:
        entry = await entry_of(journal, event.key)
        found.append(entry.task_ids == event.task_ids)

    def look(event: Event) -> None:
        if isinstance(event, Submitted):
            at_once(read(event))
            if not more:
                more.append(keevx.submit_many(some_requests(2)))

    async with (
        Emulator() as emulator,
        keevx_of(emulator, on_event=look, journal=journal, max_connections=1) as keevx,
    ):
        await keevx.submit(a_request())
        await more[0]
    assert found == [True] * 3


async def asynchronous(_: Event) -> None: ...


@pytest.mark.parametrize(
    ("hook", "advice"),
    [
        (asynchronous, r"must be a plain function .*have the function put them in a queue"),
        ("print", "must be a function"),
    ],
)
def test_a_hook_that_nobody_could_run_is_refused(hook: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        Keevx("test-key", on_event=hook)
