"""Signals that end `keevx`: none loses an id that was paid, none shows a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.cli.signals import raising_interrupts, stoppable
from keevx_async.testing import Emulator, Faults
from tests.support.cli import at, end_of, keevx, line_with, start, written
from tests.support.cli_run import results, takes
from tests.support.cli_signals import started_ignoring
from tests.support.cli_terminal import on_a_terminal
from tests.support.cli_verbs import EIGHT, IMAGE, SUBMIT, objects
from tests.support.emulator import until
from tests.support.fleet import RedisServer

if sys.platform == "win32":
    pytest.skip("signals of Unix", allow_module_level=True)

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def journaled(path: Path) -> set[str]:
    async with Journal(path) as journal:
        entries = [one async for one in journal.entries()]
    assert {entry.state.value for entry in entries} <= {"submitted", "planned"}
    return {one for entry in entries for one in entry.task_ids}


@pytest.mark.parametrize("journal", [True, False])
async def test_a_hangup_lets_creates_in_flight_answer(tmp_path: Path, journal: bool) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(8)), tmp_path / "out"
    record = ("--journal", tmp_path / "run.db") if journal else ()
    async with Emulator(seconds=60, faults=Faults(latency=0.5)) as emulator:
        process = await start("run", file, "--out", out, *record, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 2, process)
        process.send_signal(signal.SIGHUP)
        _, err = await end_of(process)
        assert (process.returncode, b"Traceback" in err) == (130, False), err
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)
        if journal:
            assert await journaled(tmp_path / "run.db") == set(emulator.tasks)


@pytest.mark.parametrize("journal", [True, False])
async def test_a_terminal_that_is_closed_loses_no_id(tmp_path: Path, journal: bool) -> None:
    file, out = written(tmp_path / "p.jsonl", takes(8)), tmp_path / "out"
    record = ("--journal", tmp_path / "run.db") if journal else ()
    async with Emulator(seconds=60, faults=Faults(latency=0.5)) as emulator:
        run = ("run", file, "--out", out, *record)
        screen, process = await on_a_terminal(80, *run, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 2, process)
        os.close(screen)
        assert await asyncio.wait_for(process.wait(), 120) == 130
        kept = {one for item in results(out).values() for one in item["task_ids"]}
        assert kept == set(emulator.tasks)
        if journal:
            assert await journaled(tmp_path / "run.db") == set(emulator.tasks)


async def test_a_submit_whose_terminal_is_closed_saves_its_ids(tmp_path: Path) -> None:
    async with Emulator(faults=Faults(latency=0.5)) as emulator:
        submit = (*SUBMIT, *EIGHT, *IMAGE)
        screen, process = await on_a_terminal(80, *submit, cwd=tmp_path, **at(emulator))
        await until(lambda: emulator.tasks, process)
        os.close(screen)
        assert await asyncio.wait_for(process.wait(), 120) == 130
        saved = (tmp_path / "keevx-task-ids.txt").read_text().split()
        assert saved == list(emulator.tasks)


@pytest.mark.fleet
async def test_a_worker_whose_terminal_is_closed_loses_no_id(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    written(tmp_path / "p.jsonl", takes(8))
    fleet = ("--docket", redis_server.url)
    async with Emulator(seconds=60, faults=Faults(latency=0.5)) as emulator:
        screen, process = await on_a_terminal(80, "worker", *fleet, cwd=tmp_path, **at(emulator))
        feeding = await start("run", "p.jsonl", *fleet, cwd=tmp_path, **at(emulator))
        await until(lambda: len(emulator.tasks) >= 2, process)
        os.close(screen)
        assert await asyncio.wait_for(process.wait(), 120) == 130
        feeding.send_signal(signal.SIGHUP)
        await end_of(feeding)
        ran = await keevx("journal", *fleet, "--json", cwd=tmp_path)
        entries = [one for one in objects(ran.out) if "key" in one]
        assert "uncertain" not in {one["state"] for one in entries}
        assert {one for entry in entries for one in entry["task_ids"]} == set(emulator.tasks)


async def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(4))
    async with Emulator(seconds=0.2, faults=Faults(latency=0.3)) as emulator:
        process = await started_ignoring("SIGHUP", "run", file, cwd=tmp_path, **at(emulator))
        await until(lambda: emulator.tasks, process)
        process.send_signal(signal.SIGHUP)
        _, err = await end_of(process)
        assert process.returncode == 0, err
        assert len(emulator.tasks) == 4


WAITING = [
    ("wait", "i2v-0"),
    ("listen", "--public-url", "https://example.com/keevx", "--port", "0"),
    ("emulator", "--port", "0"),
    ("demo",),
    ("run", "p.fifo", "--dry-run"),
    ("check", "p.fifo"),
]


async def waits(
    process: asyncio.subprocess.Process, command: str, fifo: Path, emulator: Emulator
) -> None:
    """Return when a command has come to what it waits for."""
    if command in ("listen", "emulator"):
        await line_with(process.stderr, "")
    elif command == "demo":
        await line_with(process.stdout, "")
    elif command == "wait":
        await until(lambda: emulator.requests["GET /v1/image_to_video"], process)
    else:
        await until(lambda: has_a_reader(fifo), process)
        await until(lambda: is_asleep(process.pid), process)


def is_asleep(pid: int) -> bool:
    """Whether a process waits for what a pipe brings, as far as Linux tells.

    A signal that comes just before a blocking read begins does not end it, in any Python program.
    """
    process = Path(f"/proc/{pid}")
    if not (process / "wchan").exists():
        return True
    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    place = (process / "wchan").read_text()  # "0" also where it is kept secret
    return state == "S" and (place == "0" or "pipe_read" in place)


def has_a_reader(fifo: Path) -> bool:
    """Whether someone reads a FIFO; if so, it is given a writer that never writes."""
    try:
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)  # open until the test's process ends
    except OSError:
        return False
    return True


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("words", WAITING, ids=lambda words: words[0])
async def test_each_command_that_waits_is_ended_by_each_signal_once_or_twice(
    tmp_path: Path, number: signal.Signals, words: tuple[str, ...], times: int
) -> None:
    os.mkfifo(tmp_path / "p.fifo")
    env = {"KEEVX_CALLBACK_SECRET": "s" * 40}
    async with Emulator(seconds=60) as emulator:
        process = await start(*words, cwd=tmp_path, **env, **at(emulator))
        await waits(process, words[0], tmp_path / "p.fifo", emulator)
        for _ in range(times):
            if process.returncode is None:
                process.send_signal(number)
            await asyncio.sleep(0.02)
        _, err = await end_of(process)
        assert b"Traceback" not in err, err
        ends = (130,) if times == 1 else (130, -number)  # the second may come at its exit
        assert process.returncode in ends, err


async def test_a_loop_that_takes_no_signals_is_cancelled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows' loops: add_signal_handler raises NotImplementedError there."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", refuse)
    monkeypatch.setattr(loop, "remove_signal_handler", refuse)
    counted: list[int] = []
    with raising_interrupts():
        loop.call_later(0.05, signal.raise_signal, signal.SIGTERM)
        work = asyncio.wait_for(asyncio.Event().wait(), 20)
        assert await stoppable(work, counted.append) == 130
    assert counted == [1]


async def test_a_cancellation_that_no_signal_caused_goes_on() -> None:
    task = asyncio.create_task(stoppable(asyncio.Event().wait(), print))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
