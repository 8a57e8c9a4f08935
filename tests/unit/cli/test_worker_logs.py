"""The log of a worker: what each line has, and that an incident makes few of them."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from keevx_async.cli.output.logs import WINDOW, Formatter, OncePerIncident
from tests.conftest import FakeClock


def record_of(
    message: str, *args: object, name: str = "docket", error: Exception | None = None
) -> logging.LogRecord:
    exc_info = None
    if error is not None:
        try:
            raise error
        except type(error):
            exc_info = sys.exc_info()
    record = logging.LogRecord(name, logging.WARNING, "f.py", 1, message, args, exc_info)
    record.created = 1_764_176_000.25
    return record


def test_a_line_has_time_level_and_worker() -> None:
    line = Formatter("text", "host#1").format(record_of("held for %d s", 5))
    assert line == "2025-11-26T16:53:20.250+00:00 WARNING host#1 held for 5 s"


def test_an_error_is_on_the_same_line() -> None:
    line = Formatter("text", "w").format(record_of("failed", error=ValueError("one\ntwo")))
    assert line.endswith("failed: ValueError: one two")


def test_a_line_of_json_has_the_traceback_too() -> None:
    line = Formatter("json", "host#1").format(record_of("failed", error=ValueError("x")))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["worker"], fields["message"]) == ("WARNING", "host#1", "failed")
    assert fields["error"] == "ValueError: x"
    assert "Traceback" in fields["traceback"]


def test_an_incident_is_one_line_and_the_rest_is_counted(clock: FakeClock) -> None:
    once = OncePerIncident(clock)
    passed = [once.filter(record_of("create %d failed", n)) for n in range(100)]
    assert passed.count(True) == 1
    assert once.filter(record_of("another"))
    assert once.filter(record_of("create %d failed", 1, error=ValueError("x")))
    clock.advance(WINDOW)
    again = record_of("create %d failed", 100)
    assert once.filter(again)
    assert Formatter("text", "w").format(again).endswith("(99 more like it since the last one)")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_the_journal_says_of_paid_ids_is_never_left_out(form: str, clock: FakeClock) -> None:
    once = OncePerIncident(clock)
    lines = [record_of("task ids: %s", n, name="keevx_async.journal") for n in range(9)]
    assert all(map(once.filter, lines))
