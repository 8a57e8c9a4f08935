"""keevx run that stops by itself, and errors as events: what a script reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, written

CREATE = "POST /v1/image_to_video"


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def prompts(tmp_path: Path, count: int) -> Path:
    rows = [GOOD | {"prompt": f"take {number}"} for number in range(count)]
    return written(tmp_path / "p.jsonl", rows)


async def test_without_funds_it_stops_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run = ("run", prompts(tmp_path, 60), "--journal", "run.db", "--concurrency", "4", "--json")
    async with Emulator(seconds=0.02) as emulator:
        emulator.faults.no_funds_after = 20
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert ran.code == 4, ran.err
        posts = emulator.requests[CREATE]
        assert posts <= 20 + 4
        *_, stopped, summary = events(ran.out)
        assert (stopped["event"], stopped["type"]) == ("stopped", "InsufficientFunds")
        assert stopped["not_started"] == summary["not_started"] == 39
        assert (summary["done"], summary["failed"], summary["exit"]) == (20, 1, 4)
        assert "39 of 60 not started" in ran.err
        assert "Add funds" in ran.err
        assert ran.err.count("insufficient balance") == 2  # the item's line, and why it stopped
        emulator.faults.no_funds_after = None
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (ran.code, events(ran.out)[-1]["done"]) == (0, 60)
        assert set(emulator.creates.values()) == {1}
        assert emulator.requests[CREATE] == posts + 40


async def test_equal_refusals_in_a_row(tmp_path: Path) -> None:
    run = ("run", prompts(tmp_path, 20), "--concurrency", "1")
    async with Emulator(seconds=0.02) as emulator:
        faults = emulator.faults
        faults.refuse, faults.once = 1.0, False
        faults.refuse_status, faults.refuse_code = 400, 100006
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert (ran.code, emulator.requests[CREATE]) == (4, 10)
        ran = await keevx(*run, "--fuse", "3", cwd=tmp_path, **at(emulator))
        assert (ran.code, emulator.requests[CREATE]) == (4, 10 + 3)
        ran = await keevx(*run, "--fuse", "0", cwd=tmp_path, **at(emulator))
        assert (ran.code, emulator.requests[CREATE]) == (1, 10 + 3 + 20)
        ran = await keevx(*run, "--fuse", "-1", cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert "fuse must be a whole number, 0 or more" in ran.err


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("key", "AuthenticationError"),
        ("host", "ConnectionFailed"),
        ("journal", "JournalError"),
        ("file", "ConfigurationError"),
        ("line", "ConfigurationError"),
        ("option", "UnknownOptionError"),
        ("setting", "ConfigurationError"),
    ],
)
async def test_an_error_is_an_event_and_nothing_was_sent(
    tmp_path: Path, what: str, kind: str
) -> None:
    file: Path | str = prompts(tmp_path, 2)
    more: tuple[str, ...] = ()
    async with Emulator(api_key="another" if what == "key" else None) as emulator:
        env = at(emulator)
        if what == "host":
            async with Emulator() as gone:
                env["KEEVX_BASE_URL"] = gone.url
        elif what == "journal":
            more = ("--journal", str(file))
        elif what == "file":
            file = "missing.csv"
        elif what == "line":
            written(tmp_path / "p.jsonl", [GOOD, GOOD | {"duration": 7}])
        elif what == "option":
            more = ("--jornal", "x")
        elif what == "setting":
            more = ("--fuse", "-1")
        ran = await keevx("run", file, "--json", *more, cwd=tmp_path, **env)
        assert emulator.requests[CREATE] == 0
    assert ran.code == 2
    (event,) = events(ran.out)
    assert (event["event"], event["type"], event["exit"]) == ("error", kind, 2)
    assert event["message"] in ran.err
    assert "test-key" not in ran.out + ran.err


async def test_single_commands_print_the_event_too(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        ran = await keevx("upload", "no.png", "--json", cwd=tmp_path, **at(emulator))
        assert (ran.code, events(ran.out)[0]["type"]) == (2, "UploadError")
        ran = await keevx("status", "i2v-0", "--json", cwd=tmp_path, **at(emulator))
        assert (ran.code, events(ran.out)[0]["type"]) == (1, "NotFoundError")
    ran = await keevx("journal", "none.db", "--json", cwd=tmp_path)
    assert (ran.code, events(ran.out)[0]["event"]) == (2, "error")
