"""The single-shot commands as a user runs them: real processes, the Emulator as Keevx."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import attrs
import pytest

from keevx_async import ImageToVideo, Keevx
from keevx_async.testing import Emulator, Faults
from tests.support.cli import GOOD, PNG, at, end_of, keevx, start
from tests.support.cli_verbs import EIGHT, IMAGE, SUBMIT, objects
from tests.support.emulator import until


async def made(emulator: Emulator, prompt: str = "A dog") -> str:
    """The id of a task that was just created."""
    async with Keevx("test-key", base_url=emulator.url) as client:
        return (await client.submit(ImageToVideo(**{**GOOD, "prompt": prompt}))).task_ids[0]


# submit


async def test_submit_has_an_option_with_help_for_each_field(tmp_path: Path) -> None:
    ran = await keevx("submit", "--help", cwd=tmp_path)
    assert ran.code == 0
    usage, _, listed = " ".join(ran.out.split()).partition("[OPTIONS]")
    for field in attrs.fields(ImageToVideo):
        option = f"--{field.name.replace('_', '-')} "
        assert option in listed
        assert (option in usage) == (field.default is attrs.NOTHING)
    assert "a URL, a local file or the address" in " ".join(ran.out.replace("│", "").split())
    assert "``" not in ran.out


async def test_submit_prints_ids_and_uploads_local_files(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(PNG)
    more = ("--reference-images", "one.png", "https://example.com/2.jpg", "--generate-count", "2")
    async with Emulator() as emulator:
        ran = await keevx(*SUBMIT, *EIGHT, *more, "--generate-audio", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.split() == list(emulator.tasks)
        body = next(iter(emulator.tasks.values())).body
        uploaded, given = body["reference_images"]
        assert uploaded.startswith(emulator.storage_url)
        assert given == "https://example.com/2.jpg"
        assert body["generate_audio"] is True
        assert not emulator.invalid


async def test_submit_waits_and_downloads(tmp_path: Path) -> None:
    async with Emulator(seconds=0.05) as emulator:
        more = ("--download", "out.2026", "--json")
        ran = await keevx(*SUBMIT, *EIGHT, *IMAGE, *more, cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        created, ended = objects(ran.out)
        (task_id,) = emulator.tasks
        assert created["task_ids"] == [task_id]
        assert ended["status"] == "SUCCEEDED"
        assert (tmp_path / ended["path"]).read_bytes() == emulator.video(task_id)
        assert ended["path"] == f"out.2026/{task_id}.mp4"


async def test_the_same_submit_with_a_journal_pays_once(tmp_path: Path) -> None:
    command = (*SUBMIT, *EIGHT, *IMAGE, "--journal", "run.db")
    async with Emulator() as emulator:
        first = await keevx(*command, cwd=tmp_path, **at(emulator))
        again = await keevx(*command, cwd=tmp_path, **at(emulator))
        assert (first.code, again.code) == (0, 0)
        assert first.out == again.out
        other = await keevx(*command, "--key", "second", cwd=tmp_path, **at(emulator))
        assert other.out != first.out
        assert len(emulator.tasks) == 2


async def test_an_uncertain_submit_says_what_to_do_and_is_not_sent_again(tmp_path: Path) -> None:
    async with Emulator(faults=Faults(drop_after_create=1.0)) as emulator:
        more = ("--key", "mine", "--journal", "run.db")
        ran = await keevx(*SUBMIT, *EIGHT, *IMAGE, *more, cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.out) == (3, "")
        assert "Look for it in your Keevx account" in ran.err
        assert "keevx journal run.db --settle mine=ID" in ran.err
        assert set(emulator.creates.values()) == {1}


async def under_way(emulator: Emulator, *more: str, cwd: Path) -> asyncio.subprocess.Process:
    """A submit whose create was sent, and not answered yet."""
    process = await start(*SUBMIT, *EIGHT, *IMAGE, *more, cwd=cwd, **at(emulator))
    await until(lambda: emulator.tasks, process)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_submit_prints_the_ids_it_was_given(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with Emulator(faults=Faults(latency=1.0)) as emulator:
        process = await under_way(emulator, "--wait", cwd=tmp_path)
        process.send_signal(number)
        out, err = await end_of(process)
        assert (process.returncode, b"Traceback" in err) == (130, False), err
        assert b"stopping" in err
        assert out.decode().split() == list(emulator.tasks)


async def test_an_interrupted_submit_reports_a_lost_answer(tmp_path: Path) -> None:
    faults = Faults(latency=1.0, error_after_create=1.0)
    async with Emulator(faults=faults) as emulator:
        process = await under_way(emulator, cwd=tmp_path)
        process.send_signal(signal.SIGINT)
        out, err = await end_of(process)
        assert (process.returncode, out) == (130, b"")
        assert b"Look for it in your Keevx account" in err


async def test_a_second_signal_ends_a_submit_at_once_and_reports_what_is_uncertain(
    tmp_path: Path,
) -> None:
    more = ("--key", "mine", "--journal", "run.db")
    async with Emulator(faults=Faults(silent_after_create=1.0)) as emulator:
        process = await under_way(emulator, *more, cwd=tmp_path)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert b"30 s to finish" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 20)  # the grace is 30
        assert (process.returncode, out) == (130, b"")
        assert b"Look for it in your Keevx account" in err
        assert b"keevx journal run.db --settle mine=ID" in err


async def test_an_interrupted_wait_says_so(tmp_path: Path) -> None:
    async with Emulator(seconds=60) as emulator:
        process = await start("wait", await made(emulator), cwd=tmp_path, **at(emulator))
        await until(lambda: emulator.requests["GET /v1/image_to_video"] >= 1, process)
        process.send_signal(signal.SIGINT)
        _, err = await end_of(process)
        assert (process.returncode, err) == (130, b"keevx: interrupted\n")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (EIGHT, "--image-url: model V needs a start frame"),
        ((*EIGHT, "--image-url", "gone.png"), "gone.png"),
        ((*EIGHT, "--image-url", "data:image/png;base64," + "A" * 5000), "data: URIs are not"),
        (IMAGE, "--duration"),
        ((*IMAGE, "--duration", "5"), "--duration: must be one of 4, 6, 8 seconds"),
        ((*IMAGE, *EIGHT, "--generate-count", "x"), "--generate-count"),
        ((*IMAGE, *EIGHT, "--end-image", "x"), "--end-image-url"),
    ],
)
async def test_a_bad_option_is_named_and_nothing_is_sent(
    tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    async with Emulator() as emulator:
        ran = await keevx(*SUBMIT, *more, cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("keevx: ")
        assert said in ran.err
        assert not emulator.requests


# status, wait, download, upload


async def test_status_prints_each_task_even_if_an_id_is_unknown(tmp_path: Path) -> None:
    async with Emulator(seconds=60) as emulator:
        task_id = await made(emulator)
        ran = await keevx("status", "i2v-none", task_id, cwd=tmp_path, **at(emulator))
        assert ran.code == 1
        assert ran.out.split() == [task_id, emulator.report(emulator.tasks[task_id])["status"]]
        assert ran.err.count("keevx: ") == 1
        ran = await keevx("status", task_id, "--json", cwd=tmp_path, **at(emulator))
        assert (ran.code, objects(ran.out)[0]["task_id"]) == (0, task_id)


async def test_a_failed_task_is_reported_and_fails_the_command(tmp_path: Path) -> None:
    async with Emulator(seconds=0, fail_prompts={"Bad"}) as emulator:
        good, bad = await made(emulator), await made(emulator, "Bad")
        ran = await keevx("status", bad, good, cwd=tmp_path, **at(emulator))
        assert ran.code == 1
        assert [line.split()[1] for line in ran.out.splitlines()] == ["FAILED", "SUCCEEDED"]
        ran = await keevx("wait", bad, good, "--download", "out", cwd=tmp_path, **at(emulator))
        assert ran.code == 1
        assert {line.split()[1] for line in ran.out.splitlines()} == {"FAILED", "SUCCEEDED"}
        assert os.listdir(tmp_path / "out") == [f"{good}.mp4"]


async def test_a_wait_reports_each_task_when_it_ends(tmp_path: Path) -> None:
    async with Emulator(seconds=600) as emulator:
        slow = await made(emulator)
        emulator.seconds = 0
        quick = await made(emulator, "Quick")
        process = await start("wait", slow, quick, cwd=tmp_path, **at(emulator))
        assert process.stdout is not None
        assert (await process.stdout.readline()).decode().split()[0] == quick
        ended = attrs.evolve(emulator.tasks[slow], ready_at=emulator.clock())
        emulator.tasks[slow] = ended
        out, err = await end_of(process)
        assert process.returncode == 0, err
        assert [line.split()[0] for line in out.decode().splitlines()] == [slow]


async def test_a_wait_that_runs_out_names_the_task_and_fails(tmp_path: Path) -> None:
    async with Emulator(seconds=60) as emulator:
        task_id = await made(emulator)
        ran = await keevx("wait", task_id, "--timeout", "0.2", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.out) == (1, "")
        assert task_id in ran.err


@pytest.mark.parametrize("verb", ["status", "wait", "download"])
async def test_a_wrong_key_or_host_is_one_line_at_once(tmp_path: Path, verb: str) -> None:
    async with Emulator(api_key="right") as emulator:
        async with asyncio.timeout(60):
            ran = await keevx(verb, "i2v-1", "i2v-2", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "KEEVX_API_KEY" in ran.err
        assert "test-key" not in ran.err
        gone = at(emulator)
    ran = await keevx(verb, "i2v-1", cwd=tmp_path, **gone)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "KEEVX_BASE_URL" in ran.err
    ran = await keevx(verb, "i2v-1", cwd=tmp_path)
    assert (ran.code, "no API key" in ran.err) == (2, True)


async def test_download_takes_ids_and_urls_and_replaces_files_only_on_request(
    tmp_path: Path,
) -> None:
    async with Emulator(seconds=0) as emulator:
        task_id = await made(emulator)
        url = emulator.report(emulator.tasks[task_id])["video_url"]
        command = ("download", task_id, url, "--out", "out")
        ran = await keevx(*command, cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        assert ran.out.splitlines() == [f"out/{task_id}.mp4", f"out/{url.rpartition('/')[2]}"]
        for file in ran.out.split():
            assert (tmp_path / file).read_bytes() == emulator.video(task_id)
        assert emulator.storage_authorizations == []
        ran = await keevx(*command, cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err.count("--overwrite to replace it")) == (1, 2)
        ran = await keevx(*command, "--overwrite", "--json", cwd=tmp_path, **at(emulator))
        assert (ran.code, [list(one) for one in objects(ran.out)]) == (
            0,
            [["task_id", "path"], ["url", "path"]],
        )


async def test_download_of_what_has_no_video_says_what_to_do(tmp_path: Path) -> None:
    async with Emulator(seconds=60, fail_prompts={"Bad"}) as emulator:
        young = await made(emulator)
        emulator.seconds = 0
        bad = await made(emulator, "Bad")
        ran = await keevx("download", young, bad, cwd=tmp_path, **at(emulator))
        assert ran.code == 1
        assert f"keevx wait {young} --download" in ran.err
        assert f"task {bad} failed" in ran.err


async def test_upload_prints_urls_in_order_and_refuses_what_is_not_an_image(tmp_path: Path) -> None:
    for number in "ab":
        (tmp_path / f"{number}.png").write_bytes(PNG + number.encode())
    (tmp_path / "c.png").write_text("no image")
    async with Emulator() as emulator:
        ran = await keevx("upload", "b.png", "a.png", cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        assert [emulator.uploads[url].name for url in ran.out.split()] == ["b.png", "a.png"]
        ran = await keevx("upload", "c.png", "a.png", "--json", cwd=tmp_path, **at(emulator))
        error, uploaded = objects(ran.out)
        assert (ran.code, error["type"], uploaded["file"]) == (2, "UploadError", "a.png")
        assert "c.png is not a JPEG, PNG, WebP" in ran.err


async def test_what_a_server_says_cannot_move_the_terminal(tmp_path: Path) -> None:
    nasty = "\x1b[2Jé\r\n\u202e\ud800🎬"
    faults = Faults(refuse=1.0, once=False, refuse_status=400, refuse_message=nasty)
    async with Emulator(seconds=60, faults=faults) as emulator:
        ran = await keevx(*SUBMIT, *EIGHT, *IMAGE, cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "\\x1b[2Jé\\r\\n\\u202e\\ud800🎬" in ran.err
        emulator.faults.refuse, emulator.faults.unknown_status = 0.0, nasty
        task_id = await made(emulator)
        task = emulator.tasks[task_id]
        emulator.tasks[task_id] = attrs.evolve(task, created=task.created - 1000)  # PROCESSING
        for encoding in ("utf-8", "ascii"):
            env = {**at(emulator), "PYTHONIOENCODING": encoding}
            ran = await keevx("status", task_id, cwd=tmp_path, **env)
            assert (ran.code, ran.out.count("\n"), ran.err.count("\n")) == (0, 1, 1)
            assert "has the unknown status" in ran.err
            assert ("\x1b" in ran.out, "\x1b" in ran.err) == (False, False)
            assert "\\x1b[2J" in ran.out
