"""Outcomes as plain data: nested for JSON, flat for a table."""

import json
from pathlib import Path
from typing import Any

import pytest

from keevx_async import InsufficientFunds, NotStarted, Outcome, Task, WaitTimeout
from keevx_async.errors import SubmissionUncertain, UploadError
from keevx_async.models.outcomes import Counts
from tests.support.client import a_request

KITE = a_request(
    "a kite", reference_images=["https://example.com/a.jpg", "https://example.com/b.jpg"]
)
ENDED = Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://example.com/v.mp4")
STATES: list[tuple[Exception | None, str]] = [
    (None, "ok"),
    (UploadError("too large"), "failed"),
    (InsufficientFunds(402), "failed"),
    (SubmissionUncertain(KITE, "k", "lost"), "uncertain"),
    (WaitTimeout(["i2v-1"]), "unfinished"),
    (NotStarted("no funds"), "not_started"),
]


def outcome(error: Exception | None = None) -> Outcome[Any]:
    paths = (Path("v/a.mp4"), Path("v/b.mp4"))
    return Outcome(3, KITE, "k", ("i2v-1", "i2v-2"), (ENDED,), paths, error)


@pytest.mark.parametrize(("error", "state"), STATES)
def test_an_outcome_is_in_one_state_and_counted_there(error: Exception | None, state: str) -> None:
    item, counts = outcome(error), Counts(10, under_way=1)
    assert item.state == state
    counts.add(item)
    assert (getattr(counts, state), counts.under_way) == (1, 0)
    counts.remove(item)
    assert counts == Counts(10)


def test_to_dict_is_ready_for_json() -> None:
    data = outcome(WaitTimeout(["i2v-2"])).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["request"] == KITE.to_dict()
    assert data["paths"] == ["v/a.mp4", "v/b.mp4"]
    assert data["tasks"][0]["video_url"] == ENDED.video_url
    assert (data["state"], data["error"]["type"]) == ("unfinished", "WaitTimeout")
    assert "i2v-2" in data["error"]["message"]
    assert outcome().to_dict()["error"] is None


def test_a_record_is_flat() -> None:
    record = outcome(UploadError("too large")).to_record()
    assert all(isinstance(value, str | int | float | bool | None) for value in record.values())
    assert record["task_ids"] == "i2v-1 i2v-2"
    assert record["urls"] == "https://example.com/v.mp4"
    assert record["reference_images"] == "https://example.com/a.jpg https://example.com/b.jpg"
    assert (record["index"], record["key"], record["prompt"]) == (3, "k", "a kite")
    assert record["error"] == "too large"


def test_a_value_that_is_not_a_request_is_shown_as_it_is() -> None:
    item: Any = Outcome(0, 5)
    assert item.to_record()["request"] == "5"
    assert item.to_dict()["request"] == {"request": "5"}


def test_a_local_file_is_data_too(tmp_path: Path) -> None:
    item = Outcome(0, a_request(image_url=tmp_path / "a.png"))
    assert json.dumps(item.to_dict())
    assert str(tmp_path) in str(item.to_record()["image_url"])
