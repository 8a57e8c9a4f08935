"""A SQLite that fails at every statement: nothing is paid twice, no id is lost, no raw error.

For n = 1, 2, … the n-th statement of a run fails, before or after it did its work, once or from
then on. The same program then runs again on what is left, and the emulator's book judges.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from keevx_async import FanOut, Journal, KeevxError, SubmissionUncertain
from keevx_async.testing import Emulator
from tests.support.client import keevx_of, some_requests
from tests.support.thorough import rotated

ITEMS = 4
FAULTS = {
    "locked": (sqlite3.OperationalError, "database is locked", sqlite3.SQLITE_BUSY),
    "full": (sqlite3.OperationalError, "database or disk is full", sqlite3.SQLITE_FULL),
    "broken": (sqlite3.DatabaseError, "database disk image is malformed", sqlite3.SQLITE_CORRUPT),
}


class Fault:
    """What happens at which statement, and how many there were."""

    def __init__(self, kind: str, when: str, lasts: bool, at: int) -> None:
        self.kind, self.when, self.lasts, self.at = kind, when, lasts, at
        self.seen = 0

    def __str__(self) -> str:
        lasting = "from then on" if self.lasts else "once"
        return f"{self.kind} {self.when} statement {self.at}, {lasting}"

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
    """Run the program; return the ids that it reported, and its errors."""
    fan: FanOut[Any] | None = None
    reported: set[str] = set()
    try:
        async with keevx_of(emulator, journal=path) as keevx:
            fan = keevx.submit_many(some_requests(count), concurrency=2)
            await fan
    except KeevxError as error:
        reported.update(ids_of(error))
        if fan is None or not fan.outcomes:
            return reported, [error]
    assert fan is not None
    for one in fan.errors:
        reported.update(ids_of(one))
    return reported | set(fan.task_ids), list(fan.errors)


VARIANTS = list(product(FAULTS, ("before", "after"), (False, True)))


@pytest.mark.parametrize("known", [0, 2])
async def test_sqlite_fails_at_every_statement(tmp_path: Path, known: int) -> None:
    """Each statement with one variant, another in each run of the suite; or with all of them."""
    for at, variants in enumerate(rotated(VARIANTS), 1):
        reached = [await judged(tmp_path, known, Fault(*one, at=at)) for one in variants]
        if not any(reached):
            break
    assert at > 20


async def judged(folder: Path, known: int, fault: Fault) -> bool:
    """Run with the fault and again without; return whether the fault's statement was reached."""
    path = folder / f"{fault}.db"
    async with Emulator() as emulator:
        if known:
            await run(emulator, path, known)
        with failing(fault):
            reported, errors = await run(emulator, path)
        assert all(isinstance(one, KeevxError) for one in errors), fault
        assert set(emulator.creates.values()) <= {1}, f"paid twice: {fault}"
        assert reported <= set(emulator.tasks), fault

        again, errors = await run(emulator, path)
        assert set(emulator.creates.values()) == {1}, f"{fault}: {errors}"
        assert all(type(one) is SubmissionUncertain for one in errors), f"{fault}: {errors}"
        assert len(again) + len(errors) == ITEMS, fault
        async with Journal(path) as journal:
            kept = {one async for entry in journal.entries() for one in entry.task_ids}
        assert set(emulator.tasks) <= kept | reported, f"ids lost: {fault}"
        if not fault.lasts and fault.kind == "locked":
            assert set(emulator.tasks) <= kept, fault
    return fault.seen >= fault.at
