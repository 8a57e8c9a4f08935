"""results.csv, index.html and results.parquet, made from results.jsonl."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Outcome, Task
from keevx_async.cli.input.prompts import Job
from keevx_async.cli.output.names import shown_path
from keevx_async.cli.output.records import FIELDS, EventLog, record
from keevx_async.cli.output.results_file import Results
from keevx_async.cli.output.views import Views
from keevx_async.events import Downloaded, Ended, Submitted
from tests.support.client import a_request

NASTY = "</script><script>alert(1)</script><!-- \u2028 <b>&amp;"


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    request = a_request(f"take {number}")
    item = record(Outcome(number, request, f"k{number}", (f"i2v-{number}",)), Job(1, request))
    return item | changes


def written(folder: Path, *rows: dict[str, Any]) -> Views:
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return Views(path)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def page_rows(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "index.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text, re.S)
    rows: list[dict[str, Any]] = json.loads(data)
    return rows


def test_a_record_says_what_made_which_file() -> None:
    request = a_request("A dog", generate_count=1)
    task = Task(
        task_id="i2v-1", status="SUCCEEDED", video_url="https://c.example/v.mp4?sig=1",
        duration=6, width=1920, height=1080,
    )  # fmt: skip
    log = EventLog()
    log.on_event(Submitted("k~2", ("i2v-1",)), 1_000_000.0, 5.0)
    log.on_event(Ended(task), 1_000_060.0, 65.0)
    log.on_event(Downloaded("i2v-1", Path("v/a.mp4"), 17, "abc", 1_000_060.0), 1_000_061.0, 66.0)
    outcome = Outcome(3, request, "k~2", ("i2v-1",), (task,), (Path("v/a.mp4"),))
    job = Job(5, request, "k", {"prompt": "A dog", "scene": "night", "line": "mine"})
    item = record(outcome, job, log.take(outcome), 0.5)
    assert tuple(item)[: len(FIELDS)] == FIELDS
    assert item.items() >= {
        "index": 3, "line": 5, "key": "k", "attempts": 2, "bytes": [17], "sha256": ["abc"],
        "paths": [os.path.join("v", "a.mp4")], "seconds": 6, "pixels": "1920x1080", "cost": 0.5,
        "submitted_at": "1970-01-12T13:46:40Z", "ended_at": "1970-01-12T13:47:40Z",
        "urls_expire_at": "1970-01-19T13:47:40Z", "scene": "night", "input_line": "mine",
        "model": "V", "duration": 6,
    }.items()  # fmt: skip
    assert log.take(outcome).submitted_at is None  # nothing is kept of what was taken


def test_the_table_has_every_column_of_every_row(tmp_path: Path) -> None:
    assert written(tmp_path, row(0, scene="night"), row(1, paths=["a", "b"])).write()
    first, second = table(tmp_path)
    assert list(first)[: len(FIELDS)] == list(FIELDS)
    assert (first["scene"], second["scene"], second["paths"]) == ("night", "", "a; b")


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_is_never_a_formula(tmp_path: Path, start: str) -> None:
    written(tmp_path, row(prompt=start, cost=-1)).write()
    (cells,) = table(tmp_path)
    assert cells["prompt"] == f"'{start}"
    assert cells["cost"] == "-1"


def test_no_text_is_markup_in_the_page(tmp_path: Path) -> None:
    views = written(tmp_path, row(prompt=NASTY, error=NASTY, scene=NASTY, key=NASTY))
    views.write()
    text = views.page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert text.count("</script>") == 2
    (shown,) = page_rows(tmp_path)
    assert (shown["p"], shown["e"], shown["k"]) == (NASTY, NASTY, NASTY)


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    written(tmp_path, row()).write()
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=[\"']?(?!#)\w+:", text)
    assert "innerHTML" not in text


def test_the_last_line_of_a_key_counts_and_torn_lines_do_not(tmp_path: Path) -> None:
    views = written(tmp_path, row(0, status="failed"), row(1), row(0))
    with views.path.open("a") as file:
        file.write(json.dumps(row(2))[:30])
    views.write()
    assert [(each["i"], each["s"]) for each in page_rows(tmp_path)] == [(1, "done"), (0, "done")]
    assert len(table(tmp_path)) == 2
    assert sorted(os.listdir(tmp_path)) == ["index.html", "results.csv", "results.jsonl"]


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    assert not Views(tmp_path / "results.jsonl").write()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_moved_keeps_its_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moved" / "thumbnails").mkdir(parents=True)
    (tmp_path / "moved" / "é #1.mp4").write_bytes(b"v")
    (tmp_path / "moved" / "thumbnails" / "i2v-0.webp").write_bytes(b"t")
    monkeypatch.chdir(tmp_path)
    views = written(tmp_path / "moved", row(paths=["videos/é #1.mp4"]), row(1, paths=["s3://b/a"]))
    views.write(total=5)
    first, second = page_rows(tmp_path / "moved")
    assert first["f"] == ["%C3%A9%20%231.mp4"]
    assert first["t"] == ["thumbnails/i2v-0.webp"]
    assert second["f"] == ["s3://b/a"]
    assert "a run of 5 is in progress" in views.page.read_text(encoding="utf-8")


def test_a_later_run_keeps_when_an_item_was_submitted(tmp_path: Path) -> None:
    for at, task_id in (("2026-01-01T00:00:00Z", "i2v-1"), (None, "i2v-1"), (None, "i2v-2")):
        results = Results(tmp_path)
        results.add(row(0, submitted_at=at, task_ids=[task_id]))
        results.close()
        (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
        kept = json.loads(line)["submitted_at"]
        assert kept == ("2026-01-01T00:00:00Z" if task_id == "i2v-1" else None)


def test_parquet_keeps_numbers_and_lists(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    views = written(tmp_path, row(0, bytes=[17], mixed=1), row(1, mixed="a"))
    rows = parquet.read_table(views.write_parquet()).to_pylist()
    assert [each["index"] for each in rows] == [0, 1]
    assert rows[0]["bytes"] == [17]
    assert [each["mixed"] for each in rows] == ["1", "a"]


def test_a_path_is_shown_as_the_user_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for path in (Path("v/a.mp4"), tmp_path / "work" / "v" / "a.mp4"):
        assert shown_path(path) == os.path.join("v", "a.mp4")
    assert shown_path(tmp_path / "v" / "a.mp4") == os.path.join("..", "v", "a.mp4")
    assert shown_path(Path("/x/a.mp4")) == "/x/a.mp4"
