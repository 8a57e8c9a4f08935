"""Prompts from what can be read only once, and environments that lack what others have."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import COMMAND, GOOD, Ran, at, end_of, fed, keevx, written
from tests.support.cli_run import lines, takes
from tests.support.emulator import until
from tests.support.forking import python

if sys.platform == "win32":
    pytest.skip("pipes of Unix", allow_module_level=True)
import fcntl
import termios

PROMPTS = "".join(json.dumps(row) + "\n" for row in takes(3)).encode()


async def ran(
    *words: str | Path, cwd: Path, redirected: str = "", before: str = "", **env: str
) -> Ran:
    """Run the command by a shell, whose redirections follow it, or after a Python program."""
    start = "import sys; from keevx_async.cli import main; main()"
    command = [sys.executable, "-c", f"{before}\n{start}", *map(str, words)]
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f'"$@" {redirected}', "bash", *command),
        cwd=cwd, env={**os.environ, "COLUMNS": "200", **env},
        stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1,
    )  # fmt: skip
    out, err = await end_of(process)
    assert process.returncode is not None
    return Ran(process.returncode, out, err)


async def test_a_pipe_is_read_whole_by_every_command(tmp_path: Path) -> None:
    form = ["--format", "jsonl"]  # without it, the first bytes tell, and are not lost
    async with Emulator(seconds=0.02) as emulator:
        for words in (["check"], ["check", *form], ["run", "--dry-run", *form], ["run"]):
            reading, writing = os.pipe()
            os.write(writing, PROMPTS)
            os.close(writing)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "keevx_async.cli", *words, f"/dev/fd/{reading}"),
                cwd=tmp_path, env={**os.environ, **at(emulator)},
                pass_fds=[reading], stdout=-1, stderr=-1,
            )  # fmt: skip
            os.close(reading)
            out, err = await end_of(process)
            assert process.returncode == 0, err
            assert b"3 requests" in out or b"3 of 3 done" in err
        assert len(emulator.tasks) == 3


@pytest.mark.parametrize("name", ["/dev/stdin", "-", "/proc/self/fd/0"])
async def test_standard_input_by_any_name_is_read_once(tmp_path: Path, name: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(PROMPTS)
    said = await ran("check", name, cwd=tmp_path, redirected="< p.jsonl")
    assert "3 requests" in said.out, said.err
    assert "3 requests" in (await fed(PROMPTS, "check", name, cwd=tmp_path)).out


async def test_a_fifo_is_read_by_the_form_that_its_name_says(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    text = b"prompt;model\nA dog;V\n"
    feeding = threading.Thread(target=(tmp_path / "p.csv").write_bytes, args=(text,))
    feeding.start()
    said = await keevx("check", "p.csv", cwd=tmp_path)
    feeding.join()
    assert "p.csv:2: aspect_ratio: is required" in said.out


async def test_a_pipe_that_is_non_blocking_and_slow_is_read_to_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = await python(
        *(*COMMAND, "check", "-"),
        cwd=tmp_path,
        env=dict(os.environ),
        streams=(reading, PIPE, PIPE),
    )
    os.close(reading)
    for line in PROMPTS.splitlines(keepends=True):
        os.write(writing, line)
        await until(lambda: unread(writing) == 0, process)  # so that it finds the pipe empty
    os.close(writing)
    out, err = await end_of(process)
    assert b"3 requests" in out, err


def unread(pipe: int) -> int:
    """How many bytes a pipe holds."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


NO_HOME = """
import os, pwd
def unknown(_): raise KeyError
pwd.getpwuid = unknown
os.environ.pop("HOME", None)
"""
NO_TEMPORARY = """
import tempfile
tempfile._candidate_tempdir_list = lambda: ["/nonexistent"]
"""
GONE = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"


@pytest.mark.parametrize(
    ("words", "before", "said"),
    [
        (("check", "~/p.jsonl"), NO_HOME, "this user has no home folder; set HOME"),
        (("check", "/dev/stdin"), NO_TEMPORARY, "set TMPDIR to a folder with free space"),
        (("check", "p.jsonl"), GONE, "the working folder no longer exists"),
        (("run", "p.jsonl"), GONE, "the working folder no longer exists"),
    ],
)
async def test_what_the_environment_lacks_is_one_line(
    tmp_path: Path, words: tuple[str, ...], before: str, said: str
) -> None:
    ended = await ran(*words, cwd=tmp_path, before=before, KEEVX_API_KEY="k")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert said in ended.err


async def test_a_file_that_the_environment_names_is_told_with_its_variable(tmp_path: Path) -> None:
    ended = await ran("status", "i2v-1", cwd=tmp_path, KEEVX_API_KEY="k", SSLKEYLOGFILE="/no/log")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "/no/log: No such file" in ended.err
    assert "SSLKEYLOGFILE" in ended.err


async def test_events_that_a_closed_output_cannot_take_are_told_of(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", takes(2))
    async with Emulator(seconds=0.02) as emulator:
        run = ("run", file, "--json", "--journal", "run.db")
        ended = await ran(*run, cwd=tmp_path, redirected=">&-", **at(emulator))
        assert ended.err.count("stopped writing to standard output: Bad file descriptor") == 1
        ended = await ran(*run, cwd=tmp_path, redirected=">&- 2>&- <&-", **at(emulator))
        assert (ended.code, ended.err) == (0, "")
        assert len(emulator.tasks) == 2


async def test_what_no_closed_or_full_output_takes_is_one_line(tmp_path: Path) -> None:
    for where, why in ((">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")):
        ended = await ran("models", cwd=tmp_path, redirected=where)
        assert (ended.code, ended.err) == (1, f"keevx: standard output: {why}\n")
    ended = await ran("check", "-", cwd=tmp_path, redirected="<&-")
    assert (ended.code, "stdin cannot be read: Bad file descriptor" in ended.err) == (2, True)


async def test_no_event_is_dropped_where_a_non_blocking_output_is_full(tmp_path: Path) -> None:
    count = 200
    rows = ({**GOOD, "prompt": f"take {n} {'x' * 900}"} for n in range(count))
    file = written(tmp_path / "p.jsonl", rows)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    async with Emulator(seconds=0.02) as emulator:
        process = await python(
            *(*COMMAND, "run", file, "--json"),
            cwd=tmp_path,
            env={**os.environ, **at(emulator)},
            streams=(DEVNULL, writing, PIPE),
        )
        # Nobody reads, and the pipe fills.
        await until(lambda: not select.select([], [writing], [], 0)[1], process)
        os.close(writing)
        assert len(emulator.tasks) >= 20
        with os.fdopen(reading, encoding="utf-8") as pipe:
            said = await asyncio.to_thread(pipe.read)
        _, err = await end_of(process)
    assert process.returncode == 0, err
    events = [one["event"] for one in lines(said)]
    assert [events.count(one) for one in ("submitted", "ended", "downloaded")] == [count] * 3
    assert events[-1] == "summary"
