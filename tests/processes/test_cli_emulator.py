"""`keevx emulator -- COMMAND` and `keevx init`: a rehearsal from an empty folder, with no key."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest

from keevx_async.cli.commands.emulator import FaultOptions, describe_counts
from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, end_of, fed, keevx, written
from tests.support.cli_run import takes
from tests.support.signals import default_signals

# A free port: other tests may rehearse at the same time.
REHEARSE = ("emulator", "--port", "0", "--seconds", "0.05")


@pytest.mark.parametrize(
    ("faults", "code", "counts"),
    [
        ((), 0, "3 tasks made, 3 ended"),
        (("--fail", "1"), 1, "3 tasks made, 3 ended"),
        (("--lose", "1"), 3, "3 tasks made, 3 ended, 3 responses lost"),
        (("--refuse", "1"), 0, "3 tasks made, 3 ended, 3 refused"),
        (("--limit-rate", "20"), 0, "3 tasks made, 3 ended"),
    ],
)
async def test_a_rehearsal_ends_with_the_code_of_its_command(
    tmp_path: Path, faults: tuple[str, ...], code: int, counts: str
) -> None:
    written(tmp_path / "p.jsonl", takes(3))
    command = ("keevx", "run", "p.jsonl", "--out", "out")
    ran = await keevx(*REHEARSE, *faults, "--", *command, cwd=tmp_path, KEEVX_API_KEY="")
    assert ran.code == code, ran.err
    last = ran.err.splitlines()[-1]
    if code != 3:  # a task whose answer was lost may not have ended by the end of the run
        assert last.startswith(f"keevx: the emulator stopped: {counts}")
    else:
        assert "3 tasks made" in last
        assert "3 responses lost" in last


async def test_an_account_without_funds_can_be_rehearsed(tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", takes(3))
    faults = ("--no-funds-after", "1")
    ran = await keevx(*REHEARSE, *faults, "--", "keevx", "run", "p.jsonl", cwd=tmp_path)
    assert ran.code not in (0, 2), ran.err
    assert "1 task made, 1 ended" in ran.err.splitlines()[-1]
    assert "without funds" in ran.err.splitlines()[-1]


async def test_a_command_gets_the_address_its_own_arguments_and_standard_input(
    tmp_path: Path,
) -> None:
    show = "import os, sys; print(os.environ['KEEVX_BASE_URL'], sys.argv[1:], sys.stdin.read())"
    command = (sys.executable, "-c", show, "-", "--json", "--", "--port")
    ran = await fed(b"fed", *REHEARSE, "--", *command, cwd=tmp_path)
    assert (ran.code, ran.out.startswith("http://127.0.0.1:")) == (0, True)
    assert ran.out.endswith("['-', '--json', '--', '--port'] fed\n")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("sh", "-c", "exit 7"), 7, ""),
        (("sh", "-c", "kill -9 $$"), 137, ""),
        (("nonesuch",), 2, "nonesuch: no such command"),
    ],
)
async def test_how_a_command_ends_is_how_the_rehearsal_ends(
    tmp_path: Path, command: tuple[str, ...], code: int, message: str
) -> None:
    ran = await keevx(*REHEARSE, "--", *command, cwd=tmp_path)
    assert (ran.code, message in ran.err) == (code, True), ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_is_passed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    written(tmp_path / "p.jsonl", takes(2))
    command = ("keevx", "run", "p.jsonl", "--journal", "run.db", "--json")
    slow = ("emulator", "--port", "0", "--seconds", "600", "--", *command)
    with default_signals():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "keevx_async.cli", *slow),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # without a terminal, which would signal the command by itself
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            for _ in range(2):
                assert json.loads(await process.stdout.readline())["event"] == "submitted"
            process.send_signal(number)
            _, err = await end_of(process)
        text = err.decode()
        assert process.returncode == 130, text
        assert "stopping: nothing new starts" in text
        assert "ending now" not in text
        assert "the emulator stopped: 2 tasks made, 0 ended" in text
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_port_is_the_same_each_time_and_moves_for_a_command_only(tmp_path: Path) -> None:
    show = (sys.executable, "-c", "import os; print(os.environ['KEEVX_BASE_URL'])")
    outer = await keevx("emulator", "--", "keevx", "emulator", "--", *show, cwd=tmp_path)
    # Whichever of the two had the port, the other moved.
    assert (outer.code, outer.out.startswith("http://127.0.0.1:")) == (0, True), outer.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ((), ("--", *show)):
            ran = await keevx("emulator", "--port", port, *command, cwd=tmp_path)
            assert (ran.code, "choose another --port" in ran.err) == (2, True), ran.err


async def test_counts_are_one_line() -> None:
    async with Emulator(faults=Faults()) as emulator:
        assert describe_counts(emulator) == "0 tasks made, 0 ended"
    assert FaultOptions().to_faults() == Faults()


@pytest.mark.parametrize("format", ["csv", "jsonl", "txt"])
async def test_a_template_runs_on_the_emulator_as_it_is(tmp_path: Path, format: str) -> None:
    wrote = await keevx("init", f"--{format}", cwd=tmp_path)
    assert wrote.code == 0, wrote.err
    first, *commands = wrote.out.splitlines()
    assert first == f"wrote prompts.{format}; next:"
    text = (tmp_path / f"prompts.{format}").read_text(encoding="ascii")
    for line in commands:
        program, *words = shlex.split(line, comments=True)
        assert program == "keevx"
        assert f"#   {line.strip()}" in text
        if words[0] == "emulator":
            words[1:1] = REHEARSE[1:]
        elif words[0] == "run":
            continue  # paid
        ran = await keevx(*words, cwd=tmp_path, KEEVX_API_KEY="")
        assert ran.code == 0, ran.err
    assert len(list((tmp_path / "rehearsal").glob("*.mp4"))) == 2


async def test_init_overwrites_nothing_and_names_what_contradicts(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("mine")
    for words, message in (
        (("p.csv",), "p.csv already exists"),
        (("q.csv", "--txt"), "does not match txt"),
        (("--csv", "--txt"), "pass only one of --csv, --jsonl and --txt"),
        (("no/p.csv",), "cannot write no/p.csv: No such file"),
    ):
        ran = await keevx("init", *words, cwd=tmp_path)
        assert (ran.code, message in ran.err) == (2, True), ran.err
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert (await keevx("init", "my prompts.jsonl", cwd=tmp_path)).code == 0
    assert "keevx run 'my prompts.jsonl'" in (tmp_path / "my prompts.jsonl").read_text()


async def test_a_matrix_is_counted_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("A dog\nA cat\n")
    written(tmp_path / "s.jsonl", [{"duration": 4}, {"duration": 6}, {"duration": 8}])
    words = [f"--{name.replace('_', '-')}={value}" for name, value in GOOD.items()]
    words = [word for word in words if not word.startswith(("--prompt", "--duration"))]
    matrix = ("--matrix", "s.jsonl", "--repeat", "2")
    async with Emulator(seconds=0.02) as emulator:
        at = {"KEEVX_API_KEY": "k", "KEEVX_BASE_URL": emulator.url}
        ran = await keevx("run", "p.txt", *words, *matrix, "--dry-run", cwd=tmp_path, **at)
        assert (ran.code, emulator.requests.total()) == (0, 0), ran.err
        assert "2 p.txt × 3 s.jsonl × 2 = 12 requests" in ran.err  # noqa: RUF001
        assert "p.txt: 12 requests, 12 videos, 72 s; nothing was sent" in ran.out
        ran = await keevx("run", "p.txt", *words, *matrix, cwd=tmp_path, **at)
        assert ran.code == 0, ran.err
        assert emulator.creates == {"A dog": 6, "A cat": 6}
