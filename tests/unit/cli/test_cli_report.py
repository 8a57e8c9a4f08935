"""What a run counts, shows and keeps, without a run."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from keevx_async import DownloadError, ImageToVideo, Outcome, SubmissionUncertain, Task, WaitTimeout
from keevx_async.cli.commands import worker as fleet
from keevx_async.cli.input.prompts import Job
from keevx_async.cli.output.console import masked
from keevx_async.cli.output.counters import (
    Counters,
    Status,
    format_duration,
    format_rate,
    status_of,
)
from keevx_async.cli.output.progress import progress, progress_display, progress_line
from keevx_async.cli.output.records import record
from keevx_async.cli.output.report import Report
from keevx_async.cli.output.results_file import Results
from keevx_async.errors import ConfigurationError, ConnectionFailed, JournalError
from keevx_async.events import Ended, Paused, Polled, Submitted
from tests.support.client import a_request
from tests.support.simulated import simulated


def ended(task_id: str, status: str = "SUCCEEDED") -> Ended:
    return Ended(Task(task_id=task_id, status=status))


def test_waiting_counts_tasks_of_earlier_runs_too() -> None:
    tally = Counters(3, 0.0)
    tally.on_event(Submitted("a", ("1", "2")), 0.0)
    tally.on_event(
        Polled("3", "PROCESSING"), 1.0
    )  # of an earlier run: it was not submitted in this
    assert (tally.submitted, tally.waiting) == (1, 3)
    for event in (Polled("3", "SUCCEEDED"), ended("3"), ended("1", "FAILED"), ended("1")):
        tally.on_event(event, 2.0)
    assert (tally.submitted, tally.waiting) == (1, 1)


def test_the_rate_is_that_of_late() -> None:
    tally = Counters(1000, 0.0)
    assert tally.remaining(5.0) is None
    for second in range(100):
        tally.add(Status.DONE, float(second))
    assert tally.rate(100.0) == pytest.approx(1.0, rel=0.05)
    assert tally.remaining(100.0) == pytest.approx(900, rel=0.05)
    assert tally.rate(200.0) == 0  # a minute and more without an end
    assert tally.remaining(200.0) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "done"),
        (SubmissionUncertain(None, "k", "lost"), "uncertain"),
        (WaitTimeout(["i2v-1"]), "unfinished"),
        (DownloadError("cut"), "unfinished"),
        (ConnectionFailed("host", "refused"), "failed"),
    ],
)
def test_what_was_paid_and_can_go_on_is_not_failed(error: Exception | None, status: str) -> None:
    assert status_of(error).value == status


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (61, "1:01"), (59.6, "1:00"), (3600, "1:00:00")],
)
def test_times_are_shown_as_people_read_them(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_slow_rates_are_shown_per_minute() -> None:
    assert (format_rate(2.0), format_rate(0.25)) == ("2.0/s", "15.0/min")


@given(
    width=st.integers(20, 200),
    counts=st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
    held=st.floats(0, 1000),
)
def test_the_screen_fits_any_terminal(width: int, counts: list[int], held: float) -> None:
    tally = Counters(max(1, sum(counts)), 0.0)
    tally.ended.update(dict(zip(Status, counts, strict=True)))
    tally.on_event(Paused(held), 0.0)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(progress_display(tally, 0.0, width))
    words = [text for text, _ in tally.parts()]
    shown_lines = shown.get().splitlines()
    assert max(map(len, shown_lines)) <= max(width, *map(len, words))
    for word in words:  # none is broken in two
        assert any(word in line for line in shown_lines)


@simulated
async def test_where_nobody_looks_a_plain_line_comes_now_and_then() -> None:
    clock = asyncio.get_running_loop().time
    tally, heard = Counters(10, clock()), io.StringIO()
    with progress(Console(file=heard, soft_wrap=True, highlight=False), tally, clock):
        await asyncio.sleep(35)
    await asyncio.sleep(100)
    told = heard.getvalue().splitlines()
    assert [line.rpartition(", ")[2] for line in told] == [f"0:{n}0 elapsed" for n in (1, 2, 3)]
    assert told[0].startswith("keevx: 0/10, 0 submitted, 0 waiting, 0 done, 0 failed")
    tally.add(Status.DONE, clock())
    assert progress_line(tally, clock()).endswith(" left")


def item(key: str, status: str = "done", **more: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {"task_ids": [], "paths": [], "mismatches": [], "error": None}
    return {"key": key, "kind": "image_to_video", "prompt": "p", **blank, "status": status, **more}


def test_a_later_line_replaces_an_earlier_one_and_strangers_keys_stay(tmp_path: Path) -> None:
    for run in ([item("a", "failed"), item("b")], [item("c"), item("a")], [item("c", "failed")]):
        results = Results(tmp_path)
        for one in run:
            results.add(one)
            last = (tmp_path / "results.jsonl").read_text().splitlines()[-1]
            assert json.loads(last) == one
        results.close()
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert kept == [item("b"), item("a"), item("c", "failed")]
    assert os.listdir(tmp_path) == ["results.jsonl"]


def test_a_line_that_a_killed_run_left_torn_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(item("a")) + "\n" + json.dumps(item("b"))[:20])
    results = Results(tmp_path)
    results.add(item("c"))
    results.close()
    kept = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert kept == ["a", "c"]


def test_items_without_a_key_are_not_taken_for_one(tmp_path: Path) -> None:
    results = Results(tmp_path)
    told = [item("", "failed", error=text) for text in ("one", "two")] + [item("a"), item("a")]
    for one in told:
        results.add(one)
    results.close()
    text = (tmp_path / "results.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == told[:-1]


def test_results_are_written_by_one_at_a_time(tmp_path: Path) -> None:
    first = Results(tmp_path)
    with pytest.raises(ConfigurationError, match=r"keevx run is writing to .*results\.jsonl"):
        Results(tmp_path)
    first.close()
    Results(tmp_path).close()


def test_a_run_of_nothing_leaves_no_file(tmp_path: Path) -> None:
    Results(tmp_path / "out").close()
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigurationError, match="choose another --out"):
        Results(tmp_path / "out")


def test_text_that_is_not_utf8_is_kept_as_json_allows(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add(item("a", error="no \udcff text"))
    results.close()
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == "no \udcff text"


@pytest.mark.parametrize(
    ("named", "journal", "key"),
    [(None, "digest-1~2", "digest-1"), ("mine", "mine~2", "mine"), ("take~7", "take~7", "take~7")],
)
def test_an_item_keeps_its_key_when_it_is_made_again(
    named: str | None, journal: str, key: str
) -> None:
    request: ImageToVideo = a_request()
    told = record(Outcome(0, request, journal, ("i2v-1",)), Job(1, request, named))
    assert told.items() >= item(key, prompt=request.prompt, task_ids=["i2v-1"]).items()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:s3cret@h/0", "redis://:***@h/0"),
        ("redis://me:s3@cret@h/0", "redis://me:***@h/0"),
        ("redis://h/0?password=s3cret&db=1", "redis://h/0?password=***&db=1"),
        ("redis://h:6379/0?a=b@c", "redis://h:6379/0?a=b@c"),
    ],
)
def test_a_password_is_hidden_wherever_a_url_holds_it(url: str, told: str) -> None:
    assert masked(url) == told


async def test_a_fleet_that_cannot_be_watched_for_a_while_is_watched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "PROGRESS_INTERVAL", 0.0)
    asked = Mock(has_workers=AsyncMock(return_value=True))
    asked.progress = AsyncMock(side_effect=[JournalError("Redis is away"), {"planned": 2}])
    report = Report(2, "prompts.jsonl", quiet=True)
    with pytest.raises(StopAsyncIteration):
        await fleet.watch_progress(asked, "redis://h", report)
    assert report.counters.fleet == "2 planned"
