"""Commands that need no Keevx, and the emulator: real processes, a real terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from pkgutil import resolve_name

import attrs
import pytest
from cyclopts import App

from keevx_async import MODELS, Journal, Task
from keevx_async.cli import registry as commands
from keevx_async.testing import Emulator, Faults
from tests.support.cli import COMMAND, GOOD, at, end_of, fed, keevx, start, written
from tests.support.cli_terminal import terminal
from tests.support.cli_verbs import EIGHT, IMAGE, SUBMIT, objects
from tests.support.forking import python


async def test_check_counts_what_a_file_would_make_and_sends_nothing(tmp_path: Path) -> None:
    single = {**GOOD, "model": "S", "aspect_resolution": "720p", "duration": 4}
    written(tmp_path / "p.jsonl", [GOOD, {**GOOD, "generate_count": 3}, single])
    async with Emulator() as emulator:
        ran = await keevx("check", "p.jsonl", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (0, "")
        rows = [line.split() for line in ran.out.splitlines()]
        assert ["image_to_video", "V", "1080p", "6", "s", "2", "4"] in rows
        assert "p.jsonl: 3 requests, 5 videos, 28 s; nothing was sent" in ran.out
        assert not emulator.requests
    ran = await keevx("check", "p.jsonl", "--json", cwd=tmp_path)  # nor is a key asked for
    (plan,) = objects(ran.out)
    assert (plan["requests"], plan["videos"], len(plan["groups"])) == (3, 5, 2)
    given = (tmp_path / "p.jsonl").read_bytes()
    ran = await fed(given, "check", "-", "--format", "jsonl", cwd=tmp_path)
    assert (ran.code, "stdin: 3 requests, 5 videos" in ran.out) == (0, True)


async def test_check_names_file_line_and_field_of_every_fault(tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", [GOOD, {**GOOD, "duration": 5}, {**GOOD, "promt": "x"}])
    ran = await keevx("check", "p.jsonl", cwd=tmp_path)
    assert ran.code == 2
    assert "p.jsonl:2: duration: must be one of 4, 6, 8 seconds" in ran.out
    assert "p.jsonl:3: unknown field 'promt': did you mean 'prompt'?" in ran.out
    assert ran.err == "keevx: fix p.jsonl and check again\n"
    ran = await keevx("check", "p.jsonl", "--json", cwd=tmp_path)
    assert [(one["file"], one["line"]) for one in objects(ran.out)] == [
        ("p.jsonl", 2),
        ("p.jsonl", 3),
    ]
    ran = await keevx("check", "gone.jsonl", cwd=tmp_path)
    assert (ran.code, "cannot be read: No such file" in ran.out) == (2, True)


async def in_terminal(*arguments: str, cwd: Path, columns: int = 80) -> str:
    """What a command prints in a terminal of its own."""
    size = {"COLUMNS": str(columns), "TERM": "xterm"}
    async with terminal(columns, *arguments, cwd=cwd, **size) as shown:
        assert await shown.end() == 0, shown.text
    return shown.raw


async def test_models_are_a_table_in_a_terminal(tmp_path: Path) -> None:
    said = await in_terminal("models", cwd=tmp_path)
    lines = said.splitlines()
    assert max(map(len, (line for line in lines if "\x1b" not in line))) <= 80
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines]
    assert ["max references", "3", "7", "0"] in rows
    assert ["end frame", "yes", "no", "no"] in rows
    assert ["start frame", "optional", "unused", "required"] in rows
    for model in MODELS:
        assert model in lines[1]


async def test_models_are_tab_separated_when_piped_and_json_when_asked(tmp_path: Path) -> None:
    ran = await keevx("models", cwd=tmp_path)
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == list(MODELS)
    assert {len(row) for row in rows} == {len(header)}
    assert dict(zip(header, rows[0], strict=True))["resolutions"] == "720p, 1080p, 4k"
    ran = await keevx("models", "--json", cwd=tmp_path)
    for one, (model, rules) in zip(objects(ran.out), MODELS.items(), strict=True):
        assert one == json.loads(json.dumps({"model": model, **attrs.asdict(rules)}))


async def unread(*arguments: str, cwd: Path, **env: str) -> tuple[int | None, str]:
    """The exit code and stderr of a command whose stdout nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await python(
        *(*COMMAND, *arguments),
        cwd=cwd,
        env={**os.environ, **env},
        streams=(DEVNULL, writing, PIPE),
    )
    os.close(writing)
    _, err = await end_of(process)
    return process.returncode, err.decode()


async def test_a_reader_that_leaves_ends_the_command_quietly_but_no_id_is_lost(
    tmp_path: Path,
) -> None:
    assert await unread("models", "--json", cwd=tmp_path) == (1, "")
    async with Emulator() as emulator:
        code, err = await unread(*SUBMIT, *EIGHT, *IMAGE, cwd=tmp_path, **at(emulator))
        (task_id,) = emulator.tasks
        assert (code, err.count("\n"), task_id in err) == (1, 1, True), err


async def test_the_emulator_serves_whoever_copies_its_two_lines(tmp_path: Path) -> None:
    process = await start("emulator", "--port", "0", "--seconds", "0", "--fail", "1", cwd=tmp_path)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            lines = [(await process.stdout.readline()).decode().split() for _ in range(2)]
        assert [export for export, _ in lines] == ["export", "export"]
        env = dict(assignment.split("=", 1) for _, assignment in lines)
        assert list(env) == ["KEEVX_BASE_URL", "KEEVX_API_KEY"]
        ran = await keevx(*SUBMIT, *EIGHT, *IMAGE, "--wait", cwd=tmp_path, **env)
        assert (ran.code, "FAILED" in ran.out) == (1, True)
        port = env["KEEVX_BASE_URL"].rpartition(":")[2]
        ran = await keevx("emulator", "--port", port, cwd=tmp_path)
        assert (ran.code, "choose another --port" in ran.err) == (2, True)
        process.send_signal(signal.SIGINT)
        _, err = await end_of(process)
        assert (process.returncode, b"Traceback" in err) == (130, False), err
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("option", [("--fail", "2"), ("--seconds", "nan"), ("--port", "70000")])
async def test_the_emulator_refuses_what_cannot_be(tmp_path: Path, option: tuple[str, str]) -> None:
    ran = await keevx("emulator", *option, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert option[0] in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_knows_commands_and_derived_options(tmp_path: Path, shell: str) -> None:
    command = ("--install-completion", "--shell", shell, "--output", "script")
    ran = await keevx(*command, cwd=tmp_path, HOME=str(tmp_path))
    assert ran.code == 0, ran.err
    script = (tmp_path / "script").read_text()
    for word in ("submit", "emulator", "aspect-resolution", "overwrite"):
        assert word in script


async def test_completion_for_an_unknown_shell_asks_which(tmp_path: Path) -> None:
    # Its parent is this Python, and no shell; ps may be missing as well.
    bare = dict.fromkeys(("SHELL", "BASH_VERSION", "ZSH_VERSION", "FISH_VERSION"), "")
    ran = await keevx("--install-completion", cwd=tmp_path, HOME=str(tmp_path), **bare)
    assert ran.code == 1
    assert "--shell" in ran.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("path", "said"), commands.HELP.items())
def test_the_help_that_is_written_twice_says_the_same(path: str, said: str) -> None:
    command = resolve_name(f"keevx_async.cli.commands.{path}")
    text = command.help if isinstance(command, App) else command.__doc__
    assert text.partition("\n")[0] == said


@pytest.mark.parametrize("module", ["app", "registry", "commands.models", "output.printer"])
def test_what_needs_no_network_imports_no_aiohttp(module: str) -> None:
    code = f"import sys, keevx_async.cli.{module}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NASTY = "\x1b[2J:dog:\r\n\u202e"
ESCAPED = "\\x1b[2J:dog:\\r\\n\\u202e"


async def doubtful(path: Path) -> None:
    """A journal with a create in doubt, and one that was made."""
    body = json.dumps(GOOD).encode()
    async with Journal(path) as journal:
        for key in (NASTY, "made"):
            await journal.mark_sending(key, "i2v", body)
        await journal.mark_uncertain(NASTY, NASTY)
        await journal.mark_submitted("made", ["i2v-1"])


async def test_what_a_journal_holds_cannot_move_the_terminal(tmp_path: Path) -> None:
    await doubtful(tmp_path / "run.db")
    ran = await keevx("journal", "run.db", cwd=tmp_path)
    assert (ran.code, ran.out.count("\n"), ran.err.count("\n")) == (3, 2, 2)
    assert ran.out.count(ESCAPED) == 2


async def test_a_machine_is_told_every_create_of_a_journal(tmp_path: Path) -> None:
    await doubtful(tmp_path / "run.db")
    ran = await keevx("journal", "run.db", "--json", cwd=tmp_path)
    assert (ran.code, "keevx journal run.db --settle" in ran.err) == (3, True)
    *entries, sums = objects(ran.out)
    assert [(one["key"], one["state"], one["task_ids"]) for one in entries] == [
        (NASTY, "uncertain", []),
        ("made", "submitted", ["i2v-1"]),
    ]
    assert entries[0]["reason"] == NASTY
    assert entries[1]["prompt"] == GOOD["prompt"]
    assert (
        sums.items() >= {"journal": "run.db", "submitted": 1, "uncertain": 1, "refused": 0}.items()
    )


URL = "https://example.com/v.mp4"


async def test_a_journal_tells_what_has_become_of_its_tasks(tmp_path: Path) -> None:
    ids = [f"i2v-{number}" for number in range(5)]
    async with Journal(tmp_path / "run.db") as journal:
        await journal.mark_sending("a", "image_to_video", json.dumps(GOOD).encode())
        await journal.mark_submitted("a", ids)
        for one, status in zip(ids, ("SUCCEEDED", "SUCCEEDED", "FAILED", "FAILED"), strict=False):
            await journal.mark_ended(Task(task_id=one, status=status, video_url=URL))
        task = Task(task_id=ids[0], status="SUCCEEDED", video_url=URL)
        await journal.mark_downloaded(task, tmp_path / "a.mp4", 1, "digest")
    ran = await keevx("journal", "run.db", cwd=tmp_path)
    tasks = "5 tasks: 1 downloaded, 2 failed, 1 in progress, 1 not downloaded"
    assert ran.out == f"run.db: 1 submitted; {tasks}; spent: 5 videos, 30 s\n"
    *_, sums = objects((await keevx("journal", "run.db", "--json", cwd=tmp_path)).out)
    assert sums["tasks"] == {"home": 1, "made": 1, "failed": 2, "waiting": 1}


async def test_a_machine_is_told_the_demo_in_objects_alone(tmp_path: Path) -> None:
    ran = await keevx("demo", "--json", cwd=tmp_path)
    *_, summary, books = objects(ran.out)
    assert (ran.code, summary["event"], summary["done"]) == (0, "summary", 20)
    assert books == {"event": "emulator", "tasks": 20, "twice": 0}


async def test_what_a_server_says_of_a_run_cannot_move_the_terminal(tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", [GOOD])
    faults = Faults(
        refuse=1.0, once=False, refuse_status=400, refuse_code=100007, refuse_message=NASTY
    )
    async with Emulator(faults=faults) as emulator:
        ran = await keevx("run", "p.jsonl", cwd=tmp_path, **at(emulator))
    assert ran.code == 1
    # As it ends, and among the failures at the end.
    assert [ESCAPED in line for line in ran.err.splitlines()].count(True) == 2


@pytest.mark.parametrize("header", [" model,prompt", "_model,prompt", "'model',prompt"])
async def test_what_begins_with_no_bracket_is_read_as_csv(tmp_path: Path, header: str) -> None:
    ran = await fed(f"{header}\nV,A dog\n".encode(), "run", "-", cwd=tmp_path, KEEVX_API_KEY="k")
    assert (ran.code, "invalid JSON" in ran.err) == (2, False)
    fault = "stdin:2: aspect_ratio: is required" if header[0] == " " else "stdin:1: unknown field "
    assert fault in ran.err
