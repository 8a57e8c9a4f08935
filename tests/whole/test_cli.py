"""The `keevx` command as a user runs it: a real process, the Emulator as Keevx."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, PNG, at, keevx, start, written


@pytest.mark.smoke
@pytest.mark.asyncio
async def test_the_demo_ends_with_twenty_ids_and_twenty_whole_files(tmp_path: Path) -> None:
    ran = await keevx("demo", "--out", "here", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert len(set(re.findall(r"^i2v-[0-9a-f]{32}", ran.out, re.MULTILINE))) == 20
    files = list((tmp_path / "here").glob("*.mp4"))
    assert len(files) == 20
    assert {file.stat().st_size for file in files} == {200_000}
    assert "20 of 20 done" in ran.err
    assert "0 of them twice" in ran.out


@pytest.mark.asyncio
async def test_a_file_of_prompts_comes_home(tmp_path: Path) -> None:
    (tmp_path / "start.png").write_bytes(PNG)
    rows = [{**GOOD, "prompt": f"take {n}"} for n in range(9)] + [
        {**GOOD, "image_url": "start.png"}
    ]
    file = written(tmp_path / "prompts.jsonl", rows)
    async with Emulator(seconds=0.05) as emulator:
        out = tmp_path / "out" / "{task_id}"
        ran = await keevx("run", file, "--out", out, cwd=Path("/"), **at(emulator))
        assert ran.code == 0, ran.err
        assert set(emulator.creates.values()) == {1}
        assert len(emulator.creates) == 10
        assert len(emulator.uploads) == 1
        for task_id in emulator.tasks:
            assert (tmp_path / "out" / f"{task_id}.mp4").read_bytes() == emulator.video(task_id)


@pytest.mark.asyncio
async def test_a_csv_of_prompts_comes_home(tmp_path: Path) -> None:
    header = (
        "model,prompt,aspect_ratio,aspect_resolution,duration,reference_images,generate_audio\n"
    )
    row = "V,A dog,16:9,4k,8,https://example.com/1.jpg https://example.com/2.jpg,yes\n"
    (tmp_path / "prompts.csv").write_text(header + row)
    async with Emulator(seconds=0.05) as emulator:
        ran = await keevx("run", "prompts.csv", cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        (task,) = emulator.tasks.values()
        assert task.body["reference_images"] == [
            "https://example.com/1.jpg",
            "https://example.com/2.jpg",
        ]
        assert task.body["generate_audio"] is True


BROKEN = [
    pytest.param('{"model": ', "prompts.jsonl:2: invalid JSON", id="broken line"),
    pytest.param("[1]", "prompts.jsonl:2: must be a JSON object", id="no object"),
    pytest.param(
        json.dumps({**GOOD, "model": "Z"}),
        "2: model: must be one of V, KL, S (got 'Z')",
        id="model",
    ),
    pytest.param(
        json.dumps({**GOOD, "promt": "x"}),
        "2: unknown field 'promt': did you mean 'prompt'?",
        id="unknown field",
    ),
    pytest.param(
        json.dumps({**GOOD, "image_url": "gone.png"}),
        "gone.png is neither a URL nor a file",
        id="file",
    ),
    pytest.param(
        json.dumps({**GOOD, "image_url": "prompts.jsonl"}),  # a file, and no image
        "prompts.jsonl is not a JPEG, PNG or WebP file (by its first bytes)",
        id="no image",
    ),
    pytest.param(
        json.dumps({**GOOD, "image_url": "data:image/png;base64," + "A" * 5000}),
        "prompts.jsonl:2: image_url: data: URIs are not supported",
        id="data",
    ),
    pytest.param(
        json.dumps({**GOOD, "image_url": "A" * 5000}), "prompts.jsonl:2: image_url: ", id="long"
    ),
    pytest.param(json.dumps({**GOOD, "key": 7}), "2: key: must be a string (got 7)", id="key"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("line", "said"), BROKEN)
async def test_a_bad_line_is_named_and_nothing_is_sent(
    tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "prompts.jsonl").write_text(f"{json.dumps(GOOD)}\n{line}\n")
    async with Emulator() as emulator:
        ran = await keevx("run", "prompts.jsonl", cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert said in ran.err
        assert "nothing was sent" in ran.err
        assert not emulator.requests


@pytest.mark.asyncio
async def test_a_missing_key_and_a_refusing_host_are_one_clear_line_each(tmp_path: Path) -> None:
    file = written(tmp_path / "prompts.jsonl", [GOOD])
    ran = await keevx("run", file, cwd=tmp_path)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "KEEVX_API_KEY" in ran.err
    async with Emulator() as emulator:
        refused = emulator.url
    ran = await keevx("run", file, cwd=tmp_path, KEEVX_API_KEY="k", KEEVX_BASE_URL=refused)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "could not reach" in ran.err
    assert "KEEVX_BASE_URL" in ran.err


@pytest.mark.asyncio
async def test_a_wrong_key_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    file = written(tmp_path / "prompts.jsonl", [GOOD])
    async with Emulator(api_key="right") as emulator:
        ran = await keevx("run", file, cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert "test-key" not in ran.err + ran.out
        assert emulator.requests["POST /v1/image_to_video"] == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("faults", "code", "sum_"),
    [
        (Faults(drop_after_create=1.0), 3, "0 failed, 3 uncertain"),
        (Faults(), 1, "3 failed, 0 uncertain"),
    ],
)
async def test_the_exit_code_tells_failed_from_uncertain(
    tmp_path: Path, faults: Faults, code: int, sum_: str
) -> None:
    file = written(tmp_path / "p.jsonl", ({**GOOD, "prompt": f"take {n}"} for n in range(3)))
    async with Emulator(seconds=0.02, faults=faults, fail_prompts=1.0) as emulator:
        ran = await keevx("run", file, cwd=tmp_path, **at(emulator))
        assert ran.code == code
        assert sum_ in ran.err
        assert set(emulator.creates.values()) == {1}


@pytest.mark.asyncio
async def test_an_interrupt_ends_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", ({**GOOD, "prompt": f"take {n}"} for n in range(200)))
    async with Emulator(seconds=30, faults=Faults(latency=0.1)) as emulator:
        process = await start("run", file, "--concurrency", "4", cwd=tmp_path, **at(emulator))
        while len(emulator.tasks) < 8:  # noqa: ASYNC110 - the emulator's books ring no bell
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert process.returncode == 130, err
        assert b"Traceback" not in err
        assert len(emulator.tasks) < 200
        for task_id in emulator.tasks:
            assert task_id in out.decode()


@pytest.mark.asyncio
async def test_a_typing_error_is_explained(tmp_path: Path) -> None:
    ran = await keevx("run", "p.jsonl", "--concurency", "3", cwd=tmp_path)
    assert ran.code == 2
    assert "--concurrency" in ran.err + ran.out


@pytest.mark.asyncio
async def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cyclopts.py").write_text("raise ModuleNotFoundError(name='cyclopts')")
    ran = await keevx("demo", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert ran.code == 1
    assert "pip install 'keevx_async[cli]'" in ran.err
