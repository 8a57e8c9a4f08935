"""A SQLite that fails at every statement: nothing is paid twice, no id is lost, no raw error.

For n = 1, 2, … the n-th statement of a run fails, before or after it did its work, once or from
then on. The same program then runs again on what is left, and the emulator's book judges.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keevx_async import FanOut, Journal, KeevxError, SubmissionUncertain
from keevx_async.testing import Emulator
from tests.test_client import keevx_of, some_requests

ITEMS = 4
FAULTS = {
    "locked": (sqlite3.OperationalError, "database is locked", sqlite3.SQLITE_BUSY),
    "full": (sqlite3.OperationalError, "database or disk is full", sqlite3.SQLITE_FULL),
    "broken": (sqlite3.DatabaseError, "database disk image is malformed", sqlite3.SQLITE_CORRUPT),
}


class Fault:
    """What happens at which statement, and how many there were."""

    def __init__(self, kind: str, at: int, when: str, lasts: bool) -> None:
        self.kind, self.at, self.when, self.lasts = kind, at, when, lasts
        self.seen = 0

    def error(self) -> sqlite3.Error:
        error, message, code = FAULTS[self.kind]
        raised: Any = error(message)
        raised.sqlite_errorcode = code
        return raised  # type: ignore[no-any-return]

    def around(self, statement: Any) -> Any:
        self.seen += 1
        fails = self.seen == self.at or (self.lasts and self.seen > self.at)
        if fails and self.when == "before":
            raise self.error()
        result = statement()
        if fails:
            result.close()  # else the traceback would keep the statement, and its lock, alive
            raise self.error()
        return result


@contextmanager
def failing(fault: Fault) -> Iterator[None]:
    class Failing(sqlite3.Connection):
        def execute(self, *given: Any) -> Any:
            return fault.around(lambda: sqlite3.Connection.execute(self, *given))

        def executemany(self, *given: Any) -> Any:
            return fault.around(lambda: sqlite3.Connection.executemany(self, *given))

    real = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, factory=Failing, **k))
        yield


def ids_of(error: BaseException | None) -> tuple[str, ...]:
    return getattr(error, "task_ids", ())


async def run(emulator: Emulator, path: Path, count: int = ITEMS) -> tuple[set[str], list[Any]]:
    """Run the program; return the ids that it told of, and its errors."""
    fan: FanOut[Any] | None = None
    told: set[str] = set()
    try:
        async with keevx_of(emulator, journal=path) as keevx:
            fan = keevx.submit_many(some_requests(count), concurrency=2)
            await fan
    except KeevxError as error:
        told.update(ids_of(error))
        if fan is None or not fan.outcomes:
            return told, [error]
    assert fan is not None
    for one in fan.errors:
        told.update(ids_of(one))
    return told | set(fan.task_ids), list(fan.errors)


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("known", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.asyncio
async def test_sqlite_fails_at_every_statement(
    tmp_path: Path, kind: str, when: str, lasts: bool, known: int
) -> None:
    at, fault = 0, Fault(kind, 0, when, lasts)
    while fault.seen >= at:
        at += 1
        path, fault = tmp_path / f"{at}.db", Fault(kind, at, when, lasts)
        async with Emulator() as emulator:
            if known:
                await run(emulator, path, known)
            with failing(fault):
                told, errors = await run(emulator, path)
            assert all(isinstance(one, KeevxError) for one in errors)
            assert set(emulator.creates.values()) <= {1}, f"paid twice at statement {at}"
            assert told <= set(emulator.tasks)

            again, errors = await run(emulator, path)
            assert set(emulator.creates.values()) == {1}, f"{at}: {errors}"
            assert all(type(one) is SubmissionUncertain for one in errors), errors
            assert len(again) + len(errors) == ITEMS
            async with Journal(path) as journal:
                kept = {one async for entry in journal.entries() for one in entry.task_ids}
            assert set(emulator.tasks) <= kept | told, f"ids lost at statement {at}"
            if not lasts and kind == "locked":
                assert set(emulator.tasks) <= kept
    assert at > 20
