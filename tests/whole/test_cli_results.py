"""What `keevx run` leaves in its folder, the first time and the second."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from keevx_async.cli.output.items import COLUMNS
from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, written
from tests.support.cli_run import CREATE, lines, results, takes


async def test_a_second_run_finds_the_same_files_and_shows_the_same_paths(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.02, fail_prompts={"take 1"}) as emulator:
        runs = [await keevx("run", file, cwd=tmp_path, **at(emulator)) for _ in range(2)]
        assert emulator.creates.total() == 3
        shown = [
            {row["prompt"]: row["paths"] for row in table(ran.out) if row["status"] == "done"}
            for ran in runs
        ]
        for prompt, path in shown[0].items():
            number = prompt[-1]
            assert re.fullmatch(rf"videos/000{number}-take-{number}-i2v-\w{{4}}\.mp4", path)
            (task_id,) = results(tmp_path / "videos")[prompt]["task_ids"]
            assert (tmp_path / path).read_bytes() == emulator.video(task_id)
            assert (tmp_path / "videos" / "thumbnails" / f"{task_id}.webp").is_file()
    assert shown[0] == shown[1]
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2
    for ran in runs:
        assert "2 of 3 done, 1 failed" in ran.err
        assert "View the results: videos/index.html" in ran.err
    assert {one["submitted_at"] is None for one in results(tmp_path / "videos").values()} == {False}


def table(text: str) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in text.splitlines()]


async def test_all_outputs_say_the_same_and_none_holds_the_key(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(4))
    async with Emulator(seconds=0.02, fail_prompts={"take 1"}) as emulator:
        ran = await keevx("run", file, "--json", cwd=tmp_path, **at(emulator))
    out = tmp_path / "videos"
    kept = {one["index"]: one for one in lines((out / "results.jsonl").read_text())}
    told = {one["line"] - 1: one for one in lines(ran.out) if "line" in one}
    assert {index: one["paths"] for index, one in told.items()} == {
        index: one["paths"] for index, one in kept.items()
    }
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as cells:
        assert {int(row["index"]): row["status"] for row in csv.DictReader(cells)} == {
            index: one["status"] for index, one in kept.items()
        }
    for path in out.rglob("*"):
        if path.suffix in {".jsonl", ".csv", ".html"}:
            assert "test-key" not in path.read_text(encoding="utf-8-sig")
    page = (out / "index.html").read_text()
    (out / "index.html").unlink()
    made = await keevx("gallery", out, cwd=tmp_path)
    assert (made.code, made.out.split()) == (0, ["videos/index.html", "videos/results.csv"])
    again = (out / "index.html").read_text()
    rows = re.compile(r'^\{"i".*', re.MULTILINE)
    assert rows.findall(again) == rows.findall(page)
    assert len(rows.findall(page)) == 4


async def test_names_hold_columns_of_the_input(tmp_path: Path) -> None:
    rows = [{**GOOD, "prompt": f"take {n}", "Scene": f"s/{n}"} for n in range(2)]
    file = written(tmp_path / "p.jsonl", rows)
    async with Emulator(seconds=0.02) as emulator:
        run = ("run", file, "--out", "v/{row[scene]}-{line}")
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        assert {path.name for path in (tmp_path / "v").glob("*.mp4")} == {"s_0-1.mp4", "s_1-2.mp4"}
        assert {one["scene"] for one in results(tmp_path / "v").values()} == {"s/0", "s/1"}
        creates = emulator.requests[CREATE]
        bad = await keevx("run", file, "--out", "v/{row[no]}-{id}", cwd=tmp_path, **at(emulator))
        assert emulator.requests[CREATE] == creates
    assert bad.code == 2
    assert "Scene" in bad.err or "there is no column 'no'" in bad.err


async def test_a_gallery_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps({"prompt": "mine"}) + "\n")
    for argument in ((), ("results.jsonl",), ("no.jsonl",)):
        ran = await keevx("gallery", *argument, cwd=tmp_path)
        assert ran.code == 2
        assert "is not a keevx results file" in ran.err
