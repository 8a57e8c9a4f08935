"""`keevx listen` and `keevx run --callbacks` as a user runs them: real processes."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from keevx_async import CallbackReceiver, Journal
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator, Faults
from tests.support.callbacks import BODY, posted
from tests.support.cli import GOOD, at, end_of, keevx, line_with, start, written
from tests.support.client import keevx_of, some_requests
from tests.support.emulator import until
from tests.support.ports import free_port

SECRET = "correct horse battery staple"


@asynccontextmanager
async def listening(
    *more: str | Path, cwd: Path, emulator: Emulator
) -> AsyncIterator[tuple[asyncio.subprocess.Process, CallbackReceiver]]:
    """The command, once it listens; and a receiver that signs for it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/keevx"
    env = {**at(emulator), "KEEVX_CALLBACK_SECRET": SECRET}
    process = await start("listen", "--public-url", url, "--port", str(port), *more, cwd=cwd, **env)
    try:
        await line_with(process.stderr, "keevx: listening on ")
        yield process, CallbackReceiver(url, secret=SECRET)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def interrupted(process: asyncio.subprocess.Process) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(120):
        out, err = await end_of(process)
    assert process.returncode == 130, err
    assert b"Traceback" not in err, err.decode()
    return out.decode(), err.decode()


@pytest.mark.parametrize("callbacks", [None, "twice"])
async def test_each_ended_task_is_told_once_as_keevx_confirms_it(
    tmp_path: Path, callbacks: None
) -> None:
    async with Emulator(0.2, fail_prompts={"prompt 1"}) as emulator:
        emulator.faults.callbacks = callbacks
        async with listening(cwd=tmp_path, emulator=emulator) as (process, signer):
            async with keevx_of(emulator) as client:
                requests = some_requests(3)
                for number, request in enumerate(requests):
                    url = signer.url_for(f"k{number}")
                    await client.submit(type(request)(**{**request.to_dict(), "callback_url": url}))
            count = 6 if callbacks else 3
            await until(lambda: emulator.callbacks.total() >= count, process)
            unknown = {"data": {"task_id": "i2v-unknown", "status": "SUCCEEDED"}}
            assert await posted(signer.url_for("k"), json=unknown) == 204
            assert await posted(signer.url_for("k") + "x", data=BODY) == 204
            out, err = await interrupted(process)
    lines = sorted(line.split("  ")[:2] for line in out.splitlines())
    assert lines == sorted(
        [task.task_id, "FAILED" if task.prompt == "prompt 1" else "SUCCEEDED"]
        for task in emulator.tasks.values()
    )
    assert SECRET not in out + err


async def test_it_tells_json_and_fills_in_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db")
    async with Emulator(3.0, faults=Faults(drop_after_create=1.0)) as emulator:
        more = ("--journal", "run.db", "--json")
        url = f"http://127.0.0.1:{free_port()}/keevx"
        receiver = CallbackReceiver(url, secret=SECRET)
        async with keevx_of(emulator, journal=journal, callbacks=receiver) as client:
            assert len((await client.submit_many(some_requests(3))).errors) == 3
            keys = {entry.key async for entry in journal.entries(State.UNCERTAIN)}
        async with listening(*more, cwd=tmp_path, emulator=emulator) as (process, signer):
            tasks = list(emulator.tasks.values())
            await until(lambda: {task.status for task in tasks} == {"SUCCEEDED"}, process)
            for task in tasks:  # at the port that it listens at now
                token = task.body["callback_url"].rpartition("/")[2]
                body = {"data": {"task_id": task.task_id}}
                assert await posted(f"{signer.public_url}/{token}", json=body) == 204
            out, _ = await interrupted(process)
    told = [json.loads(line) for line in out.splitlines()]
    assert {one["key"] for one in told} == keys
    assert {one["task_id"] for one in told} == set(emulator.tasks)
    assert {one["status"] for one in told} == {"SUCCEEDED"}
    async with journal:
        assert {one.task_ids[0] async for one in journal.entries(State.SUBMITTED)} == set(
            emulator.tasks
        )


@pytest.mark.parametrize("secret", ["", "too short"])
async def test_a_missing_or_short_secret_is_one_clear_line(tmp_path: Path, secret: str) -> None:
    env = {"KEEVX_API_KEY": "k", "KEEVX_CALLBACK_SECRET": secret}
    ran = await keevx("listen", "--public-url", "https://you.example", cwd=tmp_path, **env)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "KEEVX_CALLBACK_SECRET" in ran.err
    assert "at least" in ran.err or "shorter than 16" in ran.err
    assert not secret or secret not in ran.err


async def test_other_ways_not_to_listen(tmp_path: Path) -> None:
    env = {"KEEVX_API_KEY": "k", "KEEVX_CALLBACK_SECRET": SECRET}
    ran = await keevx("listen", "--public-url", "you.example", cwd=tmp_path, **env)
    assert (ran.code, "public URL" in ran.err) == (2, True)
    async with Emulator() as emulator:
        taken = emulator.url.rpartition(":")[2]
        ran = await keevx(
            "listen", "--public-url", "https://you.example", "--port", taken, cwd=tmp_path, **env
        )
        assert (ran.code, "cannot listen on" in ran.err) == (2, True)
        file = written(tmp_path / "p.jsonl", [GOOD])
        for wrong in ("8080", "host:port", "host:99999"):
            ran = await keevx(
                "run",
                file,
                "--callbacks",
                "https://you.example",
                "--listen",
                wrong,
                cwd=tmp_path,
                **(env | at(emulator)),
            )
            assert (ran.code, "HOST:PORT" in ran.err) == (2, True)
        assert not emulator.tasks


async def test_a_run_with_callbacks_finds_what_was_lost(tmp_path: Path) -> None:
    file = written(tmp_path / "p.jsonl", ({**GOOD, "prompt": f"take {n}"} for n in range(20)))
    port = free_port()
    where = ("--callbacks", f"http://127.0.0.1:{port}/keevx", "--listen", f"127.0.0.1:{port}")
    async with Emulator(0.2, faults=Faults(drop_after_create=0.5)) as emulator:
        ran = await keevx(
            "run",
            file,
            *where,
            "--journal",
            "run.db",
            cwd=tmp_path,
            **at(emulator),
            KEEVX_CALLBACK_SECRET=SECRET,
        )
        assert ran.code == 0, ran.err + ran.out
        assert "20 of 20 done" in ran.err
        assert set(emulator.creates.values()) == {1}
        assert emulator.strikes["drop_after_create"] > 3
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 20
    with pytest.raises(aiohttp.ClientConnectorError):
        await posted(f"http://127.0.0.1:{port}/keevx/x", data=BODY)
