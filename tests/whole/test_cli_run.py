"""`keevx run` as scripts and services use it: what goes in, what comes out, what is kept."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import attrs
import pytest

from keevx_async import ImageToVideo, Journal
from keevx_async.cli.input.estimate import estimate_prompts
from keevx_async.cli.input.prompts import Job, Prompts
from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, PNG, at, end_of, fed, keevx, line_with, start, written
from tests.support.cli_run import CREATE, lines, results, takes
from tests.support.emulator import until
from tests.support.journal import writing

CSV = (
    "model,prompt,aspect_ratio,aspect_resolution,duration,image_url\n"
    'V,"A dog,\nrunning",16:9,1080p,6,start.png\n'
)
JSONL = json.dumps({**GOOD, "prompt": "A dog,\nrunning", "image_url": "start.png"})


@pytest.mark.parametrize("given", [CSV, f"\n{JSONL}\n\n"], ids=["csv", "jsonl"])
async def test_standard_input_is_taken_and_its_images_lie_in_the_folder(
    tmp_path: Path, given: str
) -> None:
    (tmp_path / "start.png").write_bytes(PNG)
    async with Emulator(seconds=0.02) as emulator:
        ran = await fed(given.encode(), "run", "-", cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        assert emulator.creates == {"A dog,\nrunning": 1}
        assert len(emulator.uploads) == 1


async def test_a_fault_of_standard_input_is_named_with_its_line(tmp_path: Path) -> None:
    header = b"model,prompt,aspect_ratio,aspect_resolution,duration,image_url"
    row = b"V,A d\xf6g,16:9,1080p,6,https://example.com/a.jpg"
    ran = await fed(header + b"\n" + row, "run", "-", cwd=tmp_path, KEEVX_API_KEY="k")
    assert ran.code == 2
    assert "stdin:2: is not UTF-8" in ran.err
    assert "nothing was sent" in ran.err


async def test_of_a_thousand_faults_the_first_are_printed(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", ({**GOOD, "duration": 100 + n} for n in range(1000)))
    ran = await keevx("run", file, cwd=tmp_path, KEEVX_API_KEY="k")
    assert ran.code == 2
    assert len(ran.err.splitlines()) < 60
    assert "and 950 more" in ran.err


async def test_a_dry_run_leaves_out_what_the_journal_knows_of(tmp_path: Path) -> None:
    rows = [*takes(3), {**GOOD, "prompt": "mine", "key": "my key"}]
    run = ("run", "p.jsonl", "--journal", "run.db", "--json")
    written(tmp_path / "p.jsonl", rows)
    faults = Faults(drop_after_create={"take 0"})
    async with Emulator(seconds=0.02, faults=faults, fail_prompts={"mine"}) as emulator:
        assert (await keevx(*run, cwd=tmp_path, **at(emulator))).code == 3
    written(tmp_path / "p.jsonl", [*rows, *rows[:2]])
    for more, counts in (
        ([], (2, 3, 1)),  # the second take 0 and take 1: each equal to one that was made
        (["--retry-failed"], (3, 2, 1)),
        (["--retry-failed", "--on-uncertain", "resubmit"], (4, 2, 0)),
    ):
        ran = await keevx(*run, "--dry-run", *more, cwd=tmp_path)
        (plan,) = lines(ran.out)
        assert (plan["requests"], plan["submitted"], plan["uncertain"]) == counts


async def test_a_dry_run_waits_for_no_key_that_it_took_itself(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(1, key="a"))
    run = ("run", file, "--journal", "run.db")
    async with Emulator(seconds=0.02, fail_prompts={"take 0"}) as emulator:
        assert (await keevx(*run, cwd=tmp_path, **at(emulator))).code == 1
    request = ImageToVideo.from_dict({**GOOD, "prompt": "take 0"})
    twice = Prompts([Job(1, request, "a"), Job(2, attrs.evolve(request), "a~2")])
    journal = Journal(tmp_path / "run.db", on_failed="resubmit")
    async with asyncio.timeout(60):
        estimate = await estimate_prompts(twice, journal)
    assert estimate.requests.total() == 2


async def test_steps_go_to_stdout_for_machines_and_to_stderr_for_people(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(4))
    faults = Faults(drop_after_create={"take 2"})
    async with Emulator(seconds=0.02, faults=faults, fail_prompts={"take 1"}) as emulator:
        ran = await keevx("run", file, "--out", "out", "--json", cwd=tmp_path, **at(emulator))
    events = lines(ran.out)
    by_name = {
        name: [event for event in events if event["event"] == name]
        for name in ("submitted", "ended", "downloaded", "failed", "uncertain")
    }
    assert {name: len(those) for name, those in by_name.items()} == {
        "submitted": 3, "ended": 3, "downloaded": 2, "failed": 1, "uncertain": 1,
    }  # fmt: skip
    assert [event["line"] for event in by_name["failed"] + by_name["uncertain"]] == [2, 3]
    for event in by_name["downloaded"]:
        (path,) = event["paths"]
        assert (tmp_path / path).is_file()
    summary = events[-1]
    assert summary["event"] == "summary"
    assert (summary["done"], summary["failed"], summary["uncertain"]) == (2, 1, 1)
    assert (ran.code, summary["exit"]) == (3, 3)
    assert "2 of 4 done" in ran.err


async def test_quiet_prints_errors_and_the_last_line(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(3))
    async with Emulator(seconds=0.02, fail_prompts={"take 1"}) as emulator:
        ran = await keevx("run", file, "--quiet", cwd=tmp_path, **at(emulator))
    assert ran.code == 1
    error, last = ran.err.splitlines()
    assert not ran.out
    assert error.startswith(f"{file}:2: task i2v-")
    assert last.startswith("2 of 3 done, 1 failed, 0 uncertain; ")


async def test_failed_items_are_reported_again_and_made_again_on_request_only(
    tmp_path: Path,
) -> None:
    rows = [*takes(3), {**GOOD, "prompt": "mine", "key": "my key"}]
    file, out = written(tmp_path / "p.jsonl", rows), tmp_path / "out"
    run = ("run", file, "--journal", tmp_path / "run.db", "--out", out)
    async with Emulator(seconds=0.02, fail_prompts={"take 1", "mine"}) as emulator:
        first = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert first.code == 1
        was = results(out)
        assert [was[one]["status"] for one in was if one in ("take 1", "mine")] == ["failed"] * 2
        again = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert again.code == 1
        assert "--retry-failed" in again.err
        assert results(out) == was
        assert set(emulator.creates.values()) == {1}
        emulator.fail_prompts = ()
        retried = await keevx(*run, "--retry-failed", cwd=tmp_path, **at(emulator))
        assert retried.code == 0, retried.err
        made = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert made.code == 0
        assert emulator.creates == {"take 0": 1, "take 1": 2, "take 2": 1, "mine": 2}
    now = results(out)
    assert {one["status"] for one in now.values()} == {"done"}
    assert {name: one["key"] for name, one in now.items()} == {
        name: one["key"] for name, one in was.items()
    }
    assert now["mine"]["key"] == "my key"
    assert now["take 1"]["task_ids"] != was["take 1"]["task_ids"]


async def test_failed_items_cannot_be_found_without_a_journal(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(1))
    run = ("run", file, "--retry-failed", "--no-journal")
    ran = await keevx(*run, cwd=tmp_path, KEEVX_API_KEY="k")
    assert ran.code == 2
    assert "--retry-failed cannot be used with --no-journal" in ran.err


async def test_rows_with_a_callback_url_are_refused_beside_callbacks(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "callback_url": "https://example.com/mine"}]
    file = written(tmp_path / "p.jsonl", rows)
    run = ("run", file, "--callbacks", "https://example.com/hook", "--listen", "127.0.0.1:0")
    async with Emulator() as emulator:
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert not emulator.requests
    assert ran.code == 2
    assert ran.err.startswith(f"{file}:2: callback_url: ")


async def test_advice_is_true_of_what_was_made(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(2, generate_count=3))
    async with Emulator(seconds=0.02, fail_prompts={"take 1"}) as emulator:
        run = ("run", file, "--journal", "run.db", "--on-uncertain", "resubmit")
        failed = await keevx(*run, cwd=tmp_path, **at(emulator))
    assert "Retry 1 failed, which pays for 3 tasks again:\n  keevx run" in failed.err
    assert "--on-uncertain" not in failed.err
    async with Emulator(
        faults=Faults(refuse=1.0, refuse_status=400, refuse_code=400, once=False)
    ) as emulator:
        none = await keevx("run", file, "--no-journal", cwd=tmp_path, **at(emulator))
    assert "With --no-journal" in none.err
    assert "the ids so far" not in none.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_one_signal_lets_creates_end_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(200)), tmp_path / "out"
    run = ("run", file, "--journal", tmp_path / "run.db", "--out", out, "--concurrency", "4")
    async with Emulator(seconds=30, faults=Faults(latency=0.1)) as emulator:
        process = await start(*run, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 8, process)
        process.send_signal(number)
        shown, err = await end_of(process)
        assert process.returncode == 130, err
        assert b"Traceback" not in err
        assert b"nothing new starts" in err
        assert f"Resume without paying twice:\n  keevx run {file}" in err.decode()
        assert len(emulator.tasks) < 200
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)
        assert all(task_id.encode() in shown for task_id in emulator.tasks)
        assert {item["status"] for item in results(out).values()} == {"unfinished"}


async def test_a_second_signal_ends_the_grace_and_what_was_sent_is_uncertain(
    tmp_path: Path,
) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(4)), tmp_path / "out"
    async with Emulator(faults=Faults(silent_after_create=1.0)) as emulator:
        process = await start("run", file, "--out", out, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 4, process)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        await line_with(process.stderr, "stopping")
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 20)  # the grace is 30
        assert process.returncode == 130
        assert b"ending now" in err
        assert {item["status"] for item in results(out).values()} == {"uncertain"}
        assert len(results(out)) == 4


async def test_a_file_that_is_spoilt_meanwhile_ends_the_run_with_all_kept(tmp_path: Path) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(2000)), tmp_path / "out"
    run = ("run", file, "--out", out, "--concurrency", "2", "--journal", tmp_path / "run.db")
    async with Emulator(seconds=0.02, faults=Faults(latency=0.01)) as emulator:
        process = await start(*run, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 2, process)
        file.write_text("spoilt\n" * 2000)
        _, err = await end_of(process)
        assert process.returncode == 2, err
        assert b"the file changed while it was being read: line " in err
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)


async def test_a_journal_that_is_held_is_one_clear_line(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(2))
    async with Emulator() as emulator:
        async with writing(tmp_path / "run.db"):
            run = ("run", file, "--journal", "run.db")
            ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert not emulator.requests[CREATE]
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "held by another process" in ran.err


async def test_a_tilde_that_the_shell_left_is_the_home_folder(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    written(home / "p.jsonl", takes(1))
    async with Emulator(seconds=0.02) as emulator:
        env = {**at(emulator), "HOME": str(home)}
        run = ("run", "~/p.jsonl", "--journal=~/run.db", "--out=~/videos")
        ran = await keevx(*run, cwd=cwd, **env)
        assert ran.code == 0, ran.err
        assert len(list((home / "videos").glob("*.mp4"))) == 1
        for command in (("journal", "~/run.db"), ("check", "~/p.jsonl")):
            ran = await keevx(*command, cwd=cwd, **env)
            assert ran.code == 0, ran.err
        ran = await keevx("wait", *emulator.tasks, "--download=~/more", cwd=cwd, **env)
        assert ran.code == 0, ran.err
        assert len(list((home / "more").iterdir())) == 1
    assert not list(cwd.iterdir())
    ran = await keevx("journal", "~nobody/run.db", cwd=cwd, **env)
    assert ran.err == "keevx: no journal at ~nobody/run.db; pass the journal file of a run\n"
