"""What is tried a second time, by the caller or by a second run, is paid once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from keevx_async import (
    ConfigurationError,
    ConnectionFailed,
    ImageToVideo,
    Journal,
    Keevx,
)
from keevx_async.cli.input.prompts import Job, jobs
from keevx_async.journal.protocol import State
from keevx_async.settings import RetryPolicy
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, keevx_of

QUICK = RetryPolicy(attempts=1, grace=0.05)
DOG = a_request("A dog")


def client(emulator: Emulator, journal: Path | None = None, **more: Any) -> Keevx:
    return keevx_of(emulator, journal=journal, retry=QUICK, **more)


@pytest.mark.parametrize("copies", [1, 3])
async def test_a_create_that_the_caller_tries_again_is_not_paid_again_next_time(
    tmp_path: Path, copies: int
) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator:
        keevx = client(emulator, path)
    async with keevx:
        for _ in range(copies):
            with pytest.raises(ConnectionFailed):
                await keevx.submit(DOG)
        await emulator.start()
        first = await keevx.submit_many([DOG] * copies)
    async with client(emulator, path) as keevx:
        second = await keevx.submit_many([DOG] * copies)
        await emulator.stop()
    assert emulator.creates["A dog"] == copies
    assert sorted(second.task_ids) == sorted(first.task_ids)


async def test_a_create_that_cannot_be_sent_is_not_uncertain(tmp_path: Path) -> None:
    closed = aiohttp.ClientSession()
    await closed.close()
    async with Emulator() as emulator:
        keevx = client(emulator, tmp_path / "run.db", session=closed)  # not opened yet
        with pytest.raises(ConfigurationError):
            await keevx.submit(DOG)
        await keevx.close()
        with pytest.raises(ConfigurationError):
            async with client(emulator, tmp_path / "run.db", session=closed):
                pass
        async with Journal(tmp_path / "run.db") as journal:
            assert [entry.state async for entry in journal.entries()] == [State.PLANNED]


def test_a_body_does_not_depend_on_how_its_file_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "p.jsonl").write_text(json.dumps({**DOG.to_dict(), "image_url": "a.png"}))
    monkeypatch.chdir(tmp_path)
    (near,), (far,) = jobs(Path("p.jsonl")), jobs(tmp_path / "p.jsonl")
    assert isinstance(near, Job)
    assert isinstance(far, Job)
    assert near.request == far.request


async def test_an_input_that_fails_does_not_hide_what_was_paid() -> None:
    def broken() -> Iterator[ImageToVideo]:
        yield DOG
        yield DOG
        raise OSError("the list is torn")

    async with Emulator() as emulator, client(emulator) as keevx:
        with pytest.raises(OSError, match="torn") as raised:
            await keevx.submit_many(broken(), concurrency=1)
    (note,) = raised.value.__notes__
    assert len(emulator.tasks) == 2
    assert all(task_id in note for task_id in emulator.tasks)


async def test_a_submit_that_ends_uncertain_after_a_timeout_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "keevx_async")
    async with (
        Emulator(faults=Faults(silent_after_create=1)) as emulator,
        client(emulator) as keevx,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await keevx.submit(DOG)
    assert "may have been charged" in caplog.text
