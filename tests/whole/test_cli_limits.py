"""What limits a run: budgets and rows; duplicates are named, and amounts are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, written
from tests.support.cli_run import lines, results, takes

PRICES = '{"V/1080p": 0.1, "image_generate": 0.05}'


def priced(folder: Path, text: str = PRICES, name: str = "prices.json") -> Path:
    path = folder / name
    path.write_text(text)
    return path


async def test_a_run_stops_at_its_budget_and_the_next_goes_on_where_it_may(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(9))
    run = ("run", file, "--out", "o", "--journal", "run.db")
    async with Emulator(seconds=0.01) as emulator:
        env = at(emulator)
        ran = await keevx(*run, "--max-videos", "4", cwd=tmp_path, **env)
        assert ran.code == 4
        assert "stopped with 5 of 9 not started: the budget has been reached" in ran.err
        assert "(videos: 4 of 4 spent, 1 more needed)" in ran.err
        assert "made 4 videos, 24 s; to come 5 videos, 30 s" in ran.err
        again = await keevx(*run, "--max-videos", "4", cwd=tmp_path, **env)
        assert (again.code, len(emulator.tasks)) == (4, 4)
        assert len(results(tmp_path / "o")) == 4
        more = await keevx(*run, "--max-videos", "9", "--json", cwd=tmp_path, **env)
        assert (more.code, len(emulator.tasks)) == (0, 9)
        summary = lines(more.out)[-1]
        assert summary["made"] == {"videos": 9, "images": 0, "seconds": 54}
        assert summary["to_come"] == {"videos": 0, "images": 0, "seconds": 0}


@pytest.mark.parametrize(
    ("limits", "made"),
    [
        (("--max-seconds", "13"), 2),
        (("--max-cost", "1.3", "--prices", "prices.json"), 2),
        (("--limit", "3"), 3),
        (("--sample", "4"), 4),
        (("--limit", "5", "--sample", "2"), 2),
    ],
)
async def test_each_limit(tmp_path: Path, limits: tuple[str, ...], made: int) -> None:
    file = written(tmp_path / "p.jsonl", takes(9))
    priced(tmp_path)
    async with Emulator(seconds=0.01) as emulator:
        run: tuple[str | Path, ...] = ("run", file, "--out", "o", "--journal", "run.db", *limits)
        for _ in range(2):  # a sample takes the same rows again
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
            assert ran.code == (4 if limits[0].startswith("--max") else 0), ran.err
            assert len(emulator.tasks) == made


async def test_costs_are_printed_before_and_after(tmp_path: Path) -> None:
    rows = [*takes(2), {"kind": "image_generate", "prompt": "a dog", "generate_count": 3}]
    file, prices = written(tmp_path / "p.jsonl", rows), priced(tmp_path)
    async with Emulator(seconds=0.01) as emulator:
        for command in (["check"], ["run", "--dry-run"]):
            told = await keevx(*command, file, "--prices", prices, cwd=tmp_path)
            assert "3 requests, 2 videos, 3 images, 12 s, cost 1.35; nothing was sent" in told.out
        run = ("run", file, "--out", "o", "--journal", "run.db", "--prices", prices)
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert ran.code == 0
        assert "made 2 videos, 3 images, 12 s, cost 1.35" in ran.err
        costs = sorted(item["cost"] for item in results(tmp_path / "o").values())
        assert costs == [0.15, 0.6, 0.6]
        shown = await keevx("journal", "run.db", "--prices", prices, cwd=tmp_path)
        assert "spent: 2 videos, 3 images, 12 s, cost 1.35" in shown.out
        (total,) = lines((await keevx("journal", "run.db", "--json", cwd=tmp_path)).out)[-1:]
        assert total["made"] == {"videos": 2, "images": 3, "seconds": 12}


async def test_a_price_that_is_missing_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", [*takes(1), {**GOOD, "aspect_resolution": "4k"}])
    run = ("run", file, "--max-cost", "9", "--prices", priced(tmp_path))
    async with Emulator() as emulator:
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (ran.code, sum(emulator.requests.values())) == (2, 0)
    assert "'V/4k' or 'V' or 'image_to_video'" in ran.err


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.json", "[1]", "is not a valid price file: it must map names to prices"),
        ("p.json", "{", "is not a valid price file"),
        ("p.toml", "V = ", "is not a valid price file"),
        ("p.json", '{"V": -1}', "the price of V must be a number, 0 or more (got -1)"),
        ("q.json", None, "cannot read"),
    ],
)
async def test_prices_that_cannot_be_read(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    if text is not None:
        priced(tmp_path, text, name)
    file = written(tmp_path / "p.jsonl", takes(1))
    ran = await keevx("run", file, "--max-cost", "9", "--prices", name, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.err


async def test_a_toml_file_of_prices(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(1))
    prices = priced(tmp_path, '"V/1080p" = 0.125\n', "p.toml")
    ran = await keevx("check", file, "--prices", prices, "--json", cwd=tmp_path)
    assert json.loads(ran.out)["cost"] == 0.75


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-cost", "9"), "--max-cost needs --prices FILE"),
        (("--max-videos", "-1"), "--max-videos"),
        (("--limit", "0"), "--limit"),
        (("--rate", "0"), "--rate"),
        (("--docket", "redis://x", "--max-videos", "1"), "pass them to the fleet's workers"),
    ],
)
async def test_options_that_make_no_sense(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    file = written(tmp_path / "p.jsonl", takes(1))
    ran = await keevx("run", file, *options, cwd=tmp_path, KEEVX_API_KEY="k")
    assert ran.code == 2
    assert words in ran.err


async def test_equal_requests_are_named_before_they_are_paid_for(tmp_path: Path) -> None:
    rows = [*takes(3), *takes(2), *takes(1), {**GOOD, "prompt": "take 1", "key": "mine"}]
    file = written(tmp_path / "p.jsonl", rows)
    told = await keevx("check", file, cwd=tmp_path)
    assert "p.jsonl: lines 1, 4 and 6 are the same request: 3 videos" in told.err
    assert "p.jsonl: lines 2, 5 and 7 are the same request: 3 videos" in told.err
    assert told.code == 0
    async with Emulator(seconds=0.01) as emulator:
        run = ("run", file, "--out", "o")
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert "lines 1, 4 and 6 are the same request" in ran.err
        assert len(emulator.tasks) == 7
        few = await keevx(*run, "--limit", "3", cwd=tmp_path, **at(emulator))
        assert "same request" not in few.err


async def test_a_rate(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.01) as emulator:
        run = ("run", file, "--out", "o", "--rate", "1000")
        assert (await keevx(*run, cwd=tmp_path, **at(emulator))).code == 0


async def test_nobody_is_asked_where_nobody_can_answer(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(101))
    async with Emulator(seconds=0.01) as emulator:
        ran = await keevx("run", file, "--out", "o", cwd=tmp_path, **at(emulator))
        assert (ran.code, len(emulator.tasks)) == (0, 101)
