"""A fleet's requests whose images lie in a bucket: the worker uploads them, then makes the create.

What is read from a real bucket is tested in tests/whole; here a folder stands for it.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from keevx_async import PollPolicy
from keevx_async.client import local_files
from keevx_async.docket import KeevxDocket, KeevxWorker, WorkerSettings
from keevx_async.models.object_path import ObjectPath
from keevx_async.testing import Emulator
from tests.support.client import a_request
from tests.support.emulator import PNG

START = "s3://films/frames/start.png"


async def test_an_object_is_uploaded_before_the_create_is_sent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_object(path: ObjectPath, folder: Path) -> Path:
        assert str(path) == START
        folder.mkdir()
        copy = folder / path.name
        copy.write_bytes(PNG)
        return copy

    monkeypatch.setattr(local_files, "read_object", read_object)
    settings = WorkerSettings(
        api_key="test-key",
        base_url=emulator.url,
        polling=PollPolicy(shortest=0.02, longest=0.2),
    )
    async with KeevxDocket("films", f"memory://{uuid4()}") as docket:
        key = await docket.add(a_request(image_url=START))
        async with KeevxWorker(docket, settings) as worker:
            await worker.run_until_finished()
        (task,) = await docket.get_result(key, timeout=5)
    sent = emulator.tasks[task.task_id].body["image_url"]
    assert emulator.content(sent) == PNG
    assert emulator.creates.total() == 1
