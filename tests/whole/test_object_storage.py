"""Results in a bucket: whole or not there, recorded, and found again. The server is moto's."""

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import ConfigurationError, DownloadError, Journal
from keevx_async.models import object_path
from keevx_async.models.object_path import ObjectPath
from keevx_async.testing import Emulator, Faults
from keevx_async.transfer import object_storage
from tests.support.cli import at, keevx, written
from tests.support.client import a_request, keevx_of, some_requests

pytest.importorskip("moto")
pytest.importorskip("obstore")
from tests.support.object_store import BUCKET, SECRET, Bucket

pytestmark = pytest.mark.xdist_group("object store")


async def test_results_go_to_the_bucket_and_are_found_again(bucket: Bucket, tmp_path: Path) -> None:
    where, journal = f"s3://{BUCKET}/again/{{index:05d}}-{{task_id}}", tmp_path / "run.db"
    async with Emulator(seconds=0.02, video_bytes=300_000) as emulator:
        for _ in range(2):
            async with keevx_of(emulator, journal=journal) as client:
                fan = await client.generate_many(some_requests(3), download=where)
            fan.raise_for_errors()
            for outcome in fan.outcomes:
                (path,) = outcome.paths
                name = f"again/{outcome.index:05d}-{outcome.task_ids[0]}.mp4"
                assert str(path) == f"s3://{BUCKET}/{name}"
                assert bucket.content(name) == emulator.video(outcome.task_ids[0])
                async with Journal(journal) as opened:
                    record = await opened.find_task(outcome.task_ids[0])
                assert record is not None
                assert (record.path, record.size) == (path, 300_000)
        assert emulator.creates.total() == 3
        assert emulator.requests["GET storage"] == 3
    assert len([name for name in bucket.objects() if name.startswith("again/")]) == 3
    assert bucket.uploads() == 0


async def test_an_object_that_was_deleted_is_sent_again(bucket: Bucket, tmp_path: Path) -> None:
    where, journal = f"s3://{BUCKET}/gone/", tmp_path / "run.db"
    async with Emulator(seconds=0.02) as emulator:
        for _ in range(2):
            async with keevx_of(emulator, journal=journal) as client:
                fan = await client.generate_many([a_request()], download=where)
            fan.raise_for_errors()
            (path,) = fan.outcomes[0].paths
            assert isinstance(path, ObjectPath)
            assert path.key in bucket.objects()
            import obstore

            obstore.delete(object_storage._store(path.bucket_url), path.key)
        assert emulator.creates.total() == 1


async def test_a_cut_download_leaves_no_half_object_and_is_repeated(bucket: Bucket) -> None:
    faults = Faults(cut_downloads=1)
    settings: dict[str, Any] = {"video_bytes": 2_000_000, "faults": faults}
    async with Emulator(seconds=0.02, **settings) as emulator, keevx_of(emulator) as client:
        (task,) = await client.generate(a_request())
        path = await client.download(task, f"s3://{BUCKET}/cut/one.mp4")
        assert emulator.strikes["cut_downloads"] == 1
        assert str(path) == f"s3://{BUCKET}/cut/one.mp4"
        assert bucket.content("cut/one.mp4") == emulator.video(task.task_id)
        with pytest.raises(DownloadError, match="exists; pass overwrite"):
            await client.download(task, f"s3://{BUCKET}/cut/one.mp4")
        faults.once = False
        with pytest.raises(DownloadError, match=r"s3://films/cut/two\.mp4"):
            await client.download(task, f"s3://{BUCKET}/cut/two.mp4")
    assert "cut/two.mp4" not in bucket.objects()
    assert bucket.uploads() == 0


async def test_captions_go_beside_their_video(bucket: Bucket) -> None:
    from keevx_async import VideoTranslate

    request = VideoTranslate(
        target_languages=["English"], video_url="https://example.com/a.mp4", enable_caption=True
    )
    async with Emulator(seconds=0.02) as emulator, keevx_of(emulator) as client:
        fan = await client.generate_many([request], download=f"s3://{BUCKET}/dub/")
    fan.raise_for_errors()
    assert [path.suffix for path in fan.outcomes[0].paths] == [".mp4", ".ass"]
    assert len([name for name in bucket.objects() if name.startswith("dub/")]) == 2


async def test_a_bucket_that_is_not_there_is_named_without_a_secret(
    bucket: Bucket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()  # moto answers before it has, and in dev mode aiohttp refuses that
        return web.Response(status=404, text="<Error><Code>NoSuchBucket</Code></Error>")

    caplog.set_level(logging.DEBUG)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with (
        TestServer(app) as store,
        Emulator(seconds=0.02) as emulator,
        keevx_of(emulator) as client,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(store.make_url("")).rstrip("/"))
        with pytest.raises(ConfigurationError) as refused:
            await client.generate_many([a_request()], download="s3://nowhere/a/")
        assert not emulator.creates
    ours = [record.getMessage() for record in caplog.records if "access" not in record.name]
    text = "\n".join([str(refused.value), *ours])
    assert "s3://nowhere/a/" in text
    assert "HTTP 404 (NoSuchBucket)" in text
    assert SECRET not in text
    assert "X-Amz-Signature" not in text


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ftp://films/", "use a local path, or one of s3://, gs://, az://"),
        ("s3:///films", "has no bucket"),
        ("s3://{task_id}/", "has no bucket"),
        ("s3://films/{index}", "add {task_id} to it"),
    ],
)
async def test_what_cannot_be_written_to_is_refused_before_it_is_paid(
    where: str, message: str
) -> None:
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(ConfigurationError) as raised:
            await client.generate_many([a_request()], download=where)
        assert message in str(raised.value)
        assert not emulator.requests


async def test_without_obstore_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_path, "find_spec", lambda name: None)
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(ConfigurationError, match=r"pip install 'keevx_async\[storage\]'"):
            await client.generate_many([a_request()], download="s3://films/")


async def test_the_command_writes_to_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    ways: dict[str, Any] = {
        "model": "V",
        "prompt": "a dog",
        "aspect_ratio": "16:9",
        "aspect_resolution": "720p",
        "duration": 8,
        "image_url": "https://example.com/a.png",
    }
    file = written(tmp_path / "p.jsonl", [ways])
    async with Emulator(seconds=0.02) as emulator:
        env = at(emulator) | bucket.env
        ran = await keevx("run", file, "--out", f"s3://{BUCKET}/cli/", cwd=tmp_path, **env)
        assert ran.code == 0, ran.err
        assert f"s3://{BUCKET}/cli/" in ran.out
        assert (tmp_path / "results.jsonl").exists()
        assert not (tmp_path / "s3:").exists()
        ran = await keevx("run", file, "--out", "ftp://films/", cwd=tmp_path, **env)
        assert ran.code == 2
        assert "use a local path" in ran.err
    assert len([name for name in bucket.objects() if name.startswith("cli/")]) == 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_an_answer_without_a_length_is_measured_first(bucket: Bucket, coding: str) -> None:
    video = b"\0\0\0\x18ftypisom" + bytes(2_000_000)

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        if coding == "gzip":
            response.headers["Content-Encoding"] = "gzip"
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(gzip.compress(video) if coding == "gzip" else video)
        return response

    app = web.Application()
    app.router.add_get("/a.mp4", chunked)
    async with TestServer(app) as host, Emulator() as emulator, keevx_of(emulator) as client:
        url, target = str(host.make_url("/a.mp4")), f"s3://{BUCKET}/chunked/{coding}.mp4"
        await client.download(url, target)
        assert bucket.content(f"chunked/{coding}.mp4") == video
        with pytest.raises(DownloadError, match="exists; pass overwrite"):
            await client.download(url, target)
        await client.download(url, target, overwrite=True)


async def test_a_web_page_is_neither_a_result_nor_an_object(bucket: Bucket) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>Sorry</html>", content_type="video/mp4")

    app = web.Application()
    app.router.add_get("/a.mp4", page)
    async with TestServer(app) as host, Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(DownloadError, match="first bytes"):
            await client.download(str(host.make_url("/a.mp4")), f"s3://{BUCKET}/page.mp4")
    assert "page.mp4" not in bucket.objects()
