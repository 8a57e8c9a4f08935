"""`keevx run` and its neighbours with files of mixed kinds: one path for all three."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from keevx_async import ImageGenerate
from keevx_async.cli.input.csv_types import parse_cells
from keevx_async.models.registry import REQUESTS
from keevx_async.testing import Emulator
from tests.support.cli import GOOD, PNG, at, fed, keevx, written
from tests.support.cli_mixed import judged
from tests.support.cli_run import lines, results
from tests.support.family import URL

IMAGE: dict[str, Any] = {"kind": "image_generate", "prompt": "A lighthouse"}
DUB: dict[str, Any] = {
    "kind": "video_translate",
    "target_languages": ["English"],
    "video_url": URL,
    "enable_caption": True,
}


async def test_a_file_of_all_kinds_comes_home(tmp_path: Path) -> None:
    (tmp_path / "start.png").write_bytes(PNG)
    rows = [
        {**GOOD, "image_url": "start.png"},
        {**GOOD, "kind": "image_to_video", "prompt": "Another"},
        {**IMAGE, "reference_images": ["start.png"], "generate_count": 2},
        {**DUB, "key": "dub"},
    ]
    file, out = written(tmp_path / "mixed.jsonl", rows), tmp_path / "out"
    async with Emulator(seconds=0.05) as emulator:
        ran = await keevx("run", file, "--out", out / "{task_id}", cwd=Path("/"), **at(emulator))
        assert ran.code == 0, ran.err
        assert set(emulator.creates.values()) == {1}
        assert len(emulator.uploads) == 1, "each distinct image once, whatever the kind"
        files = [path for path in out.iterdir() if path.suffix in {".mp4", ".png", ".ass"}]
        assert {judged(emulator, path) for path in files} == set(emulator.tasks)
        assert sorted(path.suffix for path in files) == [".ass", *[".mp4"] * 3, *[".png"] * 2]
    told = {one["prompt"]: one for one in results(out).values()}
    assert [told[one]["kind"] for one in ("A dog", "A lighthouse")] == [
        "image_to_video",
        "image_generate",
    ]
    dub = told[f"English: {URL}"]
    assert (dub["kind"], dub["key"], len(dub["paths"])) == ("video_translate", "dub", 2)
    for one in [path for item in told.values() for path in item["paths"]]:
        assert one in ran.out


CELLS = """\
kind,model,prompt,aspect_ratio,aspect_resolution,duration,image_url,module,reference_images,\
generate_count,target_languages,video_url,enable_caption,speaker_num
,V,A dog,16:9,1080p,6,start.png,,,,,,,
image_generate,,A lighthouse,,,,,pro,start.png https://example.com/2.jpg,3,,,,
video_translate,,,,,,,,,,Old English,https://example.com/a.mp4,yes,0
video_translate,,,,,,,,,,English,https://example.com/a.mp4,yes,0
"""


async def test_cells_are_what_the_field_of_their_kind_takes(tmp_path: Path) -> None:
    (tmp_path / "start.png").write_bytes(PNG)
    async with Emulator(seconds=0.02) as emulator:
        ran = await fed(CELLS.encode(), "run", "-", cwd=tmp_path, **at(emulator))
        assert "target_languages: ('Old English',) is not offered" in ran.err
        bodies = {task.kind.name: task.body for task in emulator.tasks.values()}
        assert bodies["image_to_video"]["duration"] == 6
        assert bodies["image_generate"]["generate_count"] == 3
        uploaded, given = bodies["image_generate"]["reference_images"]
        assert uploaded.startswith(emulator.storage_url)
        assert given == "https://example.com/2.jpg"
        assert bodies["video_translate"] == {
            "target_languages": ["English"],
            "video_url": URL,
            "enable_caption": True,
            "speaker_num": 0,
        }


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_row_of_texts_makes_the_request_it_was_written_from(kind: str) -> None:
    given = {"image_to_video": GOOD | {"generate_audio": True}, "image_generate": IMAGE}
    fields: dict[str, Any] = {**given.get(kind, DUB), "kind": kind}
    texts = {
        name: value[0] if isinstance(value, list) else str(value) for name, value in fields.items()
    }
    assert parse_cells(texts) == fields


@pytest.mark.parametrize("text", ["--3", "-", "3-", "9" * 5000, "²", "3.5"])
def test_a_cell_that_is_not_a_number_is_left_for_the_rules_to_refuse(text: str) -> None:
    assert parse_cells({"kind": "image_generate", "generate_count": text})["generate_count"] == text


async def test_an_unsupported_language_is_reported_before_it_is_sent(
    tmp_path: Path,
) -> None:
    rows = [IMAGE, DUB, {**DUB, "target_languages": ["Klingon"]}]
    file = written(tmp_path / "mixed.jsonl", rows)
    async with Emulator(seconds=0.05) as emulator:
        ran = await keevx("run", file, cwd=tmp_path, **at(emulator))
    assert (ran.code, "2 of 3 done, 1 failed" in ran.err) == (1, True), ran.err
    assert "mixed.jsonl:3: target_languages: ('Klingon',) is not offered; choose from" in ran.err
    assert emulator.creates.total() == 2
    assert emulator.requests["GET /v1/video_translate/target_languages"] == 1


async def test_the_estimate_counts_every_kind(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "generate_audio": True, "generate_count": 2}, DUB]
    rows += [{**IMAGE, "generate_count": 8}, {**IMAGE, "module": "pro"}]
    written(tmp_path / "p.jsonl", rows)
    for command in (("check", "p.jsonl"), ("run", "p.jsonl", "--dry-run")):
        ran = await keevx(*command, cwd=tmp_path)
        assert ran.code == 0, ran.err
        assert "p.jsonl: 5 requests, 4 videos, 9 images, 18 s; nothing was sent" in ran.out
        rows_told = [line.split() for line in ran.out.splitlines()]
        assert ["image_to_video", "V", "1080p", "6", "s", "generate_audio", "1", "2"] in rows_told
        assert ["image_generate", "std", "2K", "1", "8"] in rows_told
        assert ["video_translate", "1", "1"] in rows_told
        told = await keevx(*command, "--json", cwd=tmp_path)
        (plan,) = lines(told.out)
        assert (plan["requests"], plan["videos"], plan["images"]) == (5, 4, 9)
        assert os.listdir(tmp_path) == ["p.jsonl"]
        assert {
            "kind": "image_generate",
            "module": "pro",
            "image_quality": "2K",
            "requests": 1,
            "images": 1,
        } in plan["groups"]


async def test_lines_of_results_from_before_kinds_are_known_as_ours(tmp_path: Path) -> None:
    blank: dict[str, Any] = {"task_ids": [], "status": "done", "paths": [], "error": None}
    written(tmp_path / "results.jsonl", [{"key": "old", "prompt": "p", **blank}])
    written(tmp_path / "p.jsonl", [{**IMAGE, "key": "new"}])
    async with Emulator(seconds=0.02) as emulator:
        ran = await keevx("run", "p.jsonl", "--out", ".", cwd=tmp_path, **at(emulator))
    assert ran.code == 0, ran.err
    assert [one["key"] for one in lines((tmp_path / "results.jsonl").read_text())] == ["old", "new"]


async def test_single_commands_take_a_kind_for_an_id_that_does_not_show_it(tmp_path: Path) -> None:
    async with Emulator(seconds=0) as emulator:
        written(tmp_path / "p.jsonl", [IMAGE])
        assert (await keevx("run", "p.jsonl", cwd=tmp_path, **at(emulator))).code == 0
        (task_id,) = emulator.tasks
        odd = "odd-" + task_id
        emulator.tasks[odd] = attrs.evolve(emulator.tasks.pop(task_id), task_id=odd)
        for verb in ("status", "wait", "download"):
            ran = await keevx(verb, odd, cwd=tmp_path, **at(emulator))
            assert (ran.code, "has an unknown kind" in ran.err) == (2, True)
            ran = await keevx(verb, odd, "--kind", "video_stitch", cwd=tmp_path, **at(emulator))
            assert (ran.code, ran.out) == (2, "")
            assert "Must be one of image_to_video, image_generate, video_translate" in ran.err
        given = (odd, "--kind", "image_generate")
        for verb in ("status", "wait"):
            ran = await keevx(verb, *given, cwd=tmp_path, **at(emulator))
            assert (ran.code, ran.err) == (0, "")
            assert ran.out.split()[1:] == [
                "SUCCEEDED",
                emulator.report(emulator.tasks[odd])["image_url"],
            ]
        ran = await keevx("download", *given, "--out", "one", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (0, "")
        assert judged(emulator, tmp_path / ran.out.strip()) == odd


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("image_generate", ["--prompt", "A lighthouse", "--module", "pro"]),
        (
            "video_translate",
            ["--target-languages", "English", "--video-url", URL, "--no-translate-audio-only"],
        ),
    ],
)
async def test_submit_makes_a_create_of_each_kind(
    tmp_path: Path, kind: str, given: list[str]
) -> None:
    command = ("submit", kind, *given, "--download", "out", "--journal", "run.db")
    async with Emulator(seconds=0.02) as emulator:
        for said in ("", "keevx: nothing was sent: these ids are from an earlier run (run.db)\n"):
            ran = await keevx(*command, cwd=tmp_path, **at(emulator))
            assert (ran.code, ran.err) == (0, said)
        (task,) = emulator.tasks.values()
        assert task.kind.name == kind
        assert task.body.get("module", "std") == ("pro" if "--module" in given else "std")
        assert task.body.get("translate_audio_only", True) is (kind == "image_generate")
        (path,) = (tmp_path / "out").iterdir()
        assert judged(emulator, path) == task.task_id


@pytest.mark.parametrize("name", ["image-generate", "image_to_video", "image-to-video"])
async def test_submit_takes_a_kind_s_name_as_it_may_be_typed(tmp_path: Path, name: str) -> None:
    given = IMAGE if name == "image-generate" else GOOD
    options = [
        word
        for field, value in given.items()
        if field != "kind"
        for word in (f"--{field.replace('_', '-')}", value)
    ]
    async with Emulator(seconds=0.02) as emulator:
        ran = await keevx("submit", name, *options, cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (0, "")
        (task,) = emulator.tasks.values()
    assert task.kind.name == name.replace("-", "_")


async def test_a_kind_s_own_options_and_rules_hold(tmp_path: Path) -> None:
    said = await keevx("submit", "image_generate", "--help", cwd=tmp_path)
    for field in attrs.fields(ImageGenerate):
        assert f"--{field.name.replace('_', '-')} " in said.out
    assert "Up to five URLs or local files" in said.out
    assert "--model" not in said.out
    listed = await keevx("submit", "--help", cwd=tmp_path)
    assert all(kind in listed.out for kind in REQUESTS if kind != "image_to_video")
    for more, wrong in (
        (["--prompt", "A", "--module", "ultra"], "--module"),
        (["--prompt", "A", "--reference-images", "no.png"], "no.png is neither a URL nor a file"),
        (
            ["--prompt", "A", "--generate-count", "9"],
            "--generate-count: must be a whole number from 1 to 8 (got 9)",
        ),
    ):
        ran = await keevx("submit", "image_generate", *more, cwd=tmp_path, KEEVX_API_KEY="k")
        assert (ran.code, ran.out) == (2, "")
        assert wrong in ran.err
