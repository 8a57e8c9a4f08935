"""A kind of job that the vendor ships tomorrow: one small class, and one row of the table."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import field, frozen

from keevx_async import InvalidRequest, Journal, Task
from keevx_async.cli.input.estimate import Estimate
from keevx_async.cli.input.prompts import Job, jobs
from keevx_async.client.duration_store import DURATIONS
from keevx_async.models.converters import as_video
from keevx_async.models.kinds import Kind
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.models.validators import Check, check_range, check_url
from keevx_async.testing import Emulator, Faults, api
from keevx_async.testing import endpoints as kinds
from keevx_async.testing.records import Kind as EmulatedKind
from tests.support.client import keevx_of
from tests.support.settling import called_back


@frozen(kw_only=True)
class Upscale(Request):
    """Makes a video larger."""

    kind: ClassVar[Kind] = Kind(
        name="video_upscale",
        path="/v1/video_upscale",
        prefix="vu-",
        results=("video_url",),
        max_seconds=60.0,
    )
    source_fields: ClassVar[tuple[str, ...]] = ("video_url",)
    duration_fields: ClassVar[tuple[str, ...]] = ("factor",)
    rules: ClassVar[Mapping[str, Check]] = {
        "video_url": check_url,
        "factor": partial(check_range, minimum=2, maximum=4),
        "callback_url": check_url,
    }

    video_url: str | Path = field(converter=as_video)
    factor: int = 2
    callback_url: str | None = None


ROW = EmulatedKind(
    name="video_upscale",
    path="/v1/video_upscale",
    prefix="vu-",
    rules=lambda body: None,
    fields=frozenset({"video_url", "factor", "callback_url"}),
    blank={"video_url": ""},
    result=lambda task, url: {"video_url": f"{url}/videos/{task.task_id}/large.mp4"},
    announced=("video_url",),
    subject=lambda body: str(body["video_url"]),
)
VIDEO = Task(task_id="i2v-1", status="SUCCEEDED", video_url="https://example.com/a.mp4")


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUESTS, "video_upscale", Upscale)
    monkeypatch.setattr(api, "KINDS", (*kinds.KINDS, ROW))


async def test_it_goes_the_whole_way(tmp_path: Path) -> None:
    request = Upscale(video_url=VIDEO, factor=4)
    async with Emulator(0.02) as emulator:
        for _ in range(2):
            async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
                fan = await keevx.generate_many([request], download=tmp_path)
                fan.raise_for_errors()
                assert (await keevx.status(fan.task_ids[0])).succeeded
        (task_id,) = emulator.tasks
        assert emulator.creates == {"https://example.com/a.mp4": 1}
        assert (tmp_path / f"{task_id}.mp4").read_bytes() == emulator.video(task_id)
    async with Journal(tmp_path / "run.db") as journal:
        (entry,) = [one async for one in journal.entries()]
        learned = json.loads(await journal.get_note(DURATIONS) or "")
    assert list(learned["groups"]) == ["video_upscale/4"]
    assert json.loads(entry.body) == {"factor": 4, "video_url": f"task:{VIDEO.task_id}"}
    assert REQUESTS[entry.kind].from_dict(request.to_dict()) == request


async def test_a_lost_answer_is_settled_by_its_callback() -> None:
    faults = Faults(drop_after_create=1.0)
    async with called_back(0.1, faults=faults) as (emulator, keevx, _):
        tasks = await keevx.generate(Upscale(video_url=VIDEO))
        assert [task.task_id for task in tasks] == list(emulator.tasks)
        assert emulator.creates.total() == 1


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text("kind,video_url,factor\nvideo_upscale,https://example.com/a.mp4,3\n")
    (job,) = jobs(file)
    assert isinstance(job, Job)
    assert job.request == Upscale(video_url="https://example.com/a.mp4", factor=3)
    estimate = Estimate()
    estimate.add(job.request, None)
    assert estimate.requests == {("video_upscale", (3,)): 1}


def test_its_rules_are_held() -> None:
    wrong: dict[str, Any] = {"video_url": "a.mp4", "factor": 5}
    with pytest.raises(InvalidRequest) as refused:
        Upscale(**wrong)
    assert {one.field for one in refused.value.violations} == {"video_url", "factor"}
