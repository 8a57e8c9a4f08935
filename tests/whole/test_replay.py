"""A run is recorded to a file that may be committed, and the Emulator replays it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keevx_async import APIError, ConfigurationError, Keevx, SubmissionUncertain, Task
from keevx_async.testing import Emulator, Faults
from tests.support.callbacks import in_aiohttp
from tests.support.client import RETRY, a_request, keevx_of

FULL = Path("/dev/full")
SIGNED = "https://user:word@bucket.example/a.png?X-Amz-Signature=5ec2e7"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def order(emulator: Emulator, **settings: Any) -> list[Task]:
    """What a user does: three orders, of which the second is busy at first and the last fails."""
    tasks: list[Task] = []
    async with keevx_of(emulator, **settings) as keevx:
        for prompt in ("waves", "busy", "storm"):
            submission = await keevx.submit(a_request(prompt, image_url=SIGNED))
            tasks.extend([task async for task in keevx.wait_many(submission.task_ids)])
    return tasks


@pytest.fixture
async def recorded(tmp_path: Path) -> tuple[Path, list[Task]]:
    """A recording, and what its run saw."""
    path = tmp_path / "run.jsonl"
    faults = Faults(refuse={"busy"}, refuse_status=503)
    async with Emulator(0.1, faults=faults, fail_prompts={"storm"}) as emulator:
        return path, await order(emulator, record=path, api_key="sk-the-secret-key")


async def test_the_replay_answers_as_the_recorded_run_was_answered(
    recorded: tuple[Path, list[Task]], tmp_path: Path
) -> None:
    path, seen = recorded
    async with Emulator(replay=path, speed=5) as emulator:
        again = await order(emulator, record=tmp_path / "again.jsonl")
        assert emulator.refused == {"recorded": 1}  # the 503
        async with keevx_of(emulator) as keevx:
            (video, *_) = (task for task in again if task.succeeded)
            file = await keevx.download(video, tmp_path / "video.mp4")
        assert file.read_bytes() == emulator.video(video.task_id)
    assert [task.task_id for task in again] == [task.task_id for task in seen]
    assert [task.status for task in again] == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    assert again[2].error_message == seen[2].error_message
    creates = [
        [(line["status"], line["response"]) for line in lines_of(file) if line["method"] == "POST"]
        for file in (path, tmp_path / "again.jsonl")
    ]
    assert creates[0] == creates[1]


async def test_statuses_come_when_they_came(tmp_path: Path) -> None:
    task_id = "i2v-1"
    body = json.loads(json.dumps(a_request("waves").to_dict()))
    lines = [
        {"at": 100.0, "method": "POST", "path": "/v1/image_to_video", "request": body}
        | {"status": 200, "response": {"code": 0, "data": {"task_ids": [task_id]}}}
    ]
    for after, status in ((10, "PENDING"), (20, "PROCESSING"), (60, "SUCCEEDED")):
        data = {"task_id": task_id, "status": status}
        lines.append(
            {"at": 100.0 + after, "method": "GET", "path": f"/v1/image_to_video/{task_id}"}
            | {"status": 200, "response": {"code": 0, "data": data}}
        )
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps({"seconds": 0} | line) + "\n" for line in lines))
    async with Emulator(replay=path, speed=2) as emulator:
        now = 0.0
        emulator.clock = lambda: now
        async with keevx_of(emulator) as keevx:
            await keevx.submit(a_request("waves"))
            seen: dict[float, str] = {}
            for now in (0.0, 5.0, 9.9, 10.0, 29.9, 30.0, 99.0):
                seen[now] = (await keevx.status(task_id)).status
    assert seen == dict.fromkeys((0.0, 5.0, 9.9), "PENDING") | dict.fromkeys(
        (10.0, 29.9), "PROCESSING"
    ) | dict.fromkeys((30.0, 99.0), "SUCCEEDED")


async def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    path, secret = tmp_path / "run.jsonl", "sk-the-secret-key"
    async with (
        Emulator(0.05) as emulator,
        in_aiohttp() as receiver,
        keevx_of(
            emulator,
            api_key=secret,
            record=path,
            callbacks=receiver,
            headers={"X-Tenant": "tenant-secret"},
        ) as keevx,
    ):
        image = await keevx.upload(b"\x89PNG\r\n\x1a\n" + bytes(100), filename="a.png")
        await keevx.generate(a_request("waves", image_url=SIGNED, end_image_url=image))
        with pytest.raises(APIError):
            await keevx.request("GET", "/v1/echo", json=None)
        (task,) = emulator.tasks.values()
        token = task.body["callback_url"].rpartition("/")[2]
    text = path.read_text(encoding="utf-8")
    for hidden in (secret, "tenant-secret", token, "Signature", "5ec2e7", "user:word"):
        assert hidden not in text
    assert "https://bucket.example/a.png" in text
    assert "waves" in text


async def test_an_answer_that_echoes_the_key_is_recorded_without_it(tmp_path: Path) -> None:
    path, secret = tmp_path / "run.jsonl", "sk-the-secret-key"
    busy = Faults(refuse=1.0, refuse_status=400, refuse_message=f"bad token {secret}")
    async with (
        Emulator(faults=busy) as emulator,
        keevx_of(emulator, api_key=secret, record=path) as keevx,
    ):
        with pytest.raises(APIError):
            await keevx.submit(a_request())
    (line,) = lines_of(path)
    assert line["response"]["msg"] == "bad token ***"


async def test_a_lost_answer_is_lost_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lost = Faults(drop_after_create=1.0)
    async with Emulator(faults=lost) as emulator, keevx_of(emulator, record=path) as keevx:
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request())
    async with Emulator(replay=path) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request())


async def test_a_create_that_was_not_recorded_is_refused(
    recorded: tuple[Path, list[Task]],
) -> None:
    path, _ = recorded
    async with Emulator(replay=path) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(APIError, match="has no answer to this create"):
            await keevx.submit(a_request("another"))
        assert not emulator.tasks


async def test_uploads_have_other_urls_in_the_replay(tmp_path: Path) -> None:
    path, image = tmp_path / "run.jsonl", tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    async with Emulator() as emulator, keevx_of(emulator, record=path) as keevx:
        first = await keevx.submit(a_request(image_url=image))
    async with Emulator(replay=path) as emulator, keevx_of(emulator) as keevx:
        assert (await keevx.submit(a_request(image_url=image))).task_ids == first.task_ids


async def test_callbacks_come_in_the_replay_too(recorded: tuple[Path, list[Task]]) -> None:
    path, seen = recorded
    async with (
        Emulator(replay=path) as emulator,
        in_aiohttp() as receiver,
        keevx_of(emulator, callbacks=receiver) as keevx,
    ):
        (task,) = await keevx.generate(a_request("waves", image_url=SIGNED))
        assert emulator.callbacks == {"delivered": 1}
    assert task.task_id == seen[0].task_id


async def test_a_client_with_other_options_is_recorded_too(
    emulator: Emulator, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    async with keevx_of(emulator, record=path) as keevx:
        await keevx.with_options(timeout=5).submit(a_request("waves"))
    (line,) = lines_of(path)
    assert line["request"]["prompt"] == "waves"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
async def test_a_full_disk_ends_the_recording_and_no_create(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with keevx_of(emulator, record=FULL) as keevx:
        for _ in range(2):
            assert (await keevx.submit(a_request())).task_ids
    assert caplog.text.count("stopped recording to /dev/full: ") == 1


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot record to .*missing"):
        Keevx("key", record=tmp_path / "missing" / "run.jsonl", retry=RETRY)
    with pytest.raises(ConfigurationError, match=r"record must be a path \(got 5\)"):
        Keevx("key", record=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"at": "x", "seconds": 1}'])
def test_a_file_that_is_not_a_recording_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=r"run\.jsonl, line 1, is not a line of a recording"):
        Emulator(replay=path)
    with pytest.raises(ValueError, match="speed must be"):
        Emulator(speed=0)


def test_the_commands_record_and_replay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "model,prompt,aspect_ratio,aspect_resolution,duration,image_url\n"
        "V,waves,16:9,720p,4,https://example.com/a.png\n"
        "V,a storm,16:9,720p,4,https://example.com/a.png\n"
    )
    keevx = [sys.executable, "-m", "keevx_async.cli"]

    def run(emulator: list[str], out: str, *more: str) -> str:
        command = [*keevx, "emulator", *emulator, "--", "keevx", "run", "a.csv", "--out", out]
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / out / "results.jsonl").read_text()

    def ids(results: str) -> dict[str, list[str]]:
        rows = map(json.loads, results.splitlines())
        return {row["key"]: row["task_ids"] for row in rows}

    first = run(["--seconds", "0.3"], "one", "--record", "run.jsonl")
    again = run(["--replay", "run.jsonl", "--speed", "3"], "two")
    assert ids(first) == ids(again) != {}
