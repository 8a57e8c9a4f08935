"""Results at ``gs://`` and ``az://``: signed, whole, and refused before anything is paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keevx_async import ConfigurationError, DownloadError
from keevx_async.models.object_path import ObjectPath
from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.cli_run import takes
from tests.support.cli_terminal import terminal
from tests.support.client import a_request, keevx_of, some_requests

pytest.importorskip("obstore")
pytest.importorskip("cryptography")
from keevx_async.transfer import object_storage
from tests.support.cloud_stores import ACCOUNT_KEY, Store, azure, google

SIZE = 6_000_000


@pytest.fixture(params=["gs", "az"])
async def cloud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, Store]]:
    """A scheme, and the bucket behind it, with its owner's credentials in the environment."""
    scheme = str(request.param)
    async with google(tmp_path) if scheme == "gs" else azure() as store:
        for name, value in store.env.items():
            monkeypatch.setenv(name, value)
        object_storage._store.cache_clear()
        yield scheme, store
    object_storage._store.cache_clear()


async def test_a_result_of_6_mb_arrives_whole(cloud: tuple[str, Store]) -> None:
    scheme, store = cloud
    where = f"{scheme}://films/spring take/{{index:02d}}-{{task_id}}"
    async with (
        Emulator(seconds=0.02, video_bytes=SIZE) as emulator,
        keevx_of(emulator) as client,
    ):
        fan = await client.generate_many(some_requests(2), download=where)
        fan.raise_for_errors()
        for outcome in fan.outcomes:
            (path,), (task_id,) = outcome.paths, outcome.task_ids
            name = f"spring take/{outcome.index:02d}-{task_id}.mp4"
            assert str(path) == f"{scheme}://films/{name}"
            assert store.objects[name] == emulator.video(task_id)
            assert len(store.objects[name]) == SIZE
            assert store.types[name] == "video/mp4"
    assert len(store.objects) == 2  # and nothing is left of the test of the bucket


@pytest.mark.parametrize("folder", ["take #1", "who?", "50%", "a%20b", "été+1"])
async def test_any_character_may_be_in_a_name(cloud: tuple[str, Store], folder: str) -> None:
    scheme, store = cloud
    async with Emulator(seconds=0.02) as emulator, keevx_of(emulator) as client:
        fan = await client.generate_many(some_requests(2), download=f"{scheme}://films/{folder}/")
        fan.raise_for_errors()
        names = {f"{folder}/{task_id}.mp4" for task_id in fan.task_ids}
    assert store.objects.keys() == names
    assert not store.blocks


async def test_an_object_is_found_and_not_replaced(cloud: tuple[str, Store]) -> None:
    scheme, store = cloud
    async with Emulator(seconds=0.02) as emulator, keevx_of(emulator) as client:
        target = f"{scheme}://films/a.mp4"
        (task,) = await client.generate(a_request())
        await client.download(task, target)
        with pytest.raises(DownloadError, match="exists; pass overwrite"):
            await client.download(task, target)
        size = await asyncio.to_thread(object_storage.object_size, ObjectPath(target))
        assert size == len(store.objects["a.mp4"])


@pytest.mark.parametrize("status", [403, 404])
async def test_a_bucket_that_cannot_be_written_to_is_refused_before_it_is_paid(
    cloud: tuple[str, Store], status: int
) -> None:
    scheme, store = cloud
    store.refuse = (status, "AccessDenied" if status == 403 else "NoSuchBucket")
    where = f"{scheme}://films/spring/"
    async with Emulator() as emulator, keevx_of(emulator) as client:
        for generate in (
            lambda: client.generate_many(some_requests(20), download=where),
            lambda: client.generate(a_request(), download=where),
        ):
            with pytest.raises(ConfigurationError) as refused:
                await generate()
            text = str(refused.value)
            assert f"cannot write results: {scheme}://films/" in text
            assert f"HTTP {status} ({store.refuse[1]})" in text
            assert "nothing was sent" in text
            assert ACCOUNT_KEY not in text
            assert "Signature" not in text
        assert not emulator.creates


async def test_a_store_that_does_not_answer_keeps_no_caller_waiting(
    cloud: tuple[str, Store],
) -> None:
    scheme, store = cloud
    store.silence = asyncio.Event()
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(DownloadError, match="did not respond in time; nothing was sent"):
            await client.generate(a_request(), timeout=0.3, download=f"{scheme}://films/a/")
        assert not emulator.creates
    store.silence.set()


async def test_the_command_refuses_it_too(cloud: tuple[str, Store], tmp_path: Path) -> None:
    scheme, store = cloud
    store.refuse = (403, "AccessDenied")
    file = written(tmp_path / "p.jsonl", takes(3))
    out = f"{scheme}://films/spring/"
    async with Emulator(seconds=0.02) as emulator:
        env = {**at(emulator), **store.env}
        ran = await keevx("run", file, "--out", out, cwd=tmp_path, **env)
        assert ran.code == 2, ran.err
        assert "cannot write results" in ran.err
        assert not emulator.creates
        store.refuse = None
        ran = await keevx("run", file, "--out", out, cwd=tmp_path, **env)
        assert ran.code == 0, ran.err
        assert emulator.creates.total() == 3
    assert len([name for name in store.objects if name.startswith("spring/")]) == 3


async def test_a_person_is_not_asked_to_pay_for_what_the_bucket_refuses(
    cloud: tuple[str, Store], tmp_path: Path
) -> None:
    scheme, store = cloud
    store.refuse = (403, "AccessDenied")
    file = written(tmp_path / "p.jsonl", takes(26, generate_count=4))
    run = ("run", file, "--out", f"{scheme}://films/spring/")
    async with (
        Emulator() as emulator,
        terminal(200, *run, cwd=tmp_path, **at(emulator), **store.env) as shown,
    ):
        assert await shown.end() == 2
    assert "cannot write results" in shown.text
    assert "Continue?" not in shown.text


async def test_a_missing_credential_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    object_storage._store.cache_clear()
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT_NAME"):
            await client.generate_many([a_request()], download="az://films/")
        assert not emulator.creates
