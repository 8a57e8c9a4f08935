"""Videos down: whole, or not there."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import ConfigurationError, DownloadError, Keevx, Task
from keevx_async.testing import Faults
from keevx_async.testing.state import State
from keevx_async.transfer.downloads import PARALLEL_DOWNLOADS
from tests.support.client import RETRY, a_request, awaited, some_requests, speaking
from tests.support.emulator import until
from tests.support.media import BODY, FTYP, left_in

OTHER = FTYP + BODY[: len(FTYP) - 1 : -1]


class Storage:
    """A storage host that serves BODY as each of its answers says; the last one lasts."""

    def __init__(self, *answers: Callable[..., Awaitable[Any]]) -> None:
        self.answers = list(answers)
        self.seen: list[Any] = []
        self.url = ""
        self.under_way = self.most = 0

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.seen]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.headers)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            given: web.StreamResponse = await answer(request)
        finally:
            self.under_way -= 1
        return given


@asynccontextmanager
async def storing(
    *answers: Callable[..., Awaitable[Any]], timeout: float = 60
) -> AsyncIterator[tuple[Storage, Keevx]]:
    storage, app = Storage(*answers), web.Application()
    app.router.add_get("/{path:.*}", storage.handle)
    async with TestServer(app, shutdown_timeout=0.05) as server:
        storage.url = str(server.make_url("/videos/one.mp4"))
        nowhere = "http://127.0.0.1:1"
        async with Keevx("test-key", base_url=nowhere, retry=RETRY, timeout=timeout) as keevx:
            yield storage, keevx


def serve(
    body: bytes = BODY,
    *,
    cut: int | None = None,
    stall: int | None = None,
    tag: str | None = '"1"',
    length: int | None = None,
    until: int | None = None,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer with body: cut or stalled after so many bytes, ranges up to `until`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked, start, stop = request.http_range, 0, until or len(body)
        same = request.headers.get("If-Range", tag) == tag
        response = web.StreamResponse()
        if asked.start is not None and same:
            start = asked.start
            if start >= len(body):
                return web.Response(status=416)
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        elif until:
            stop = len(body)
        response.content_length = length or stop - start
        if tag:
            response.headers["ETag"] = tag
        await response.prepare(request)
        limit = cut if cut is not None else stall
        await response.write(body[start:stop] if limit is None else body[start : start + limit])
        if limit is not None:
            await asyncio.sleep(0.01 if stall is None else 5)
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


def status(code: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code)

    return answer


@pytest.mark.parametrize("tag", ['"1"', None, 'W/"1"'])
async def test_a_cut_download_goes_on_where_it_was_cut(tag: str | None, tmp_path: Path) -> None:
    cuts = [serve(cut=many, tag=tag) for many in (0, 1, 5000)]
    async with storing(*cuts, serve(tag=tag)) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert left_in(tmp_path) == ["one.mp4"]
    if tag == '"1"':
        assert storage.ranges == [None, None, "bytes=1-", "bytes=5001-"]
        assert storage.seen[-1]["If-Range"] == tag
    else:  # nothing proves that the parts are of the same thing
        assert storage.ranges == [None] * 4


async def test_a_result_that_has_changed_is_downloaded_from_the_start(tmp_path: Path) -> None:
    other = OTHER
    async with storing(serve(cut=5000), serve(other, tag='"2"')) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == other
    assert storage.ranges == [None, "bytes=5000-"]


@pytest.mark.parametrize(
    "odd", [serve(length=len(BODY) + 10, cut=len(BODY)), serve(until=8000)], ids=["long", "capped"]
)
async def test_what_does_not_fit_is_never_taken_for_whole(odd: Any, tmp_path: Path) -> None:
    async with storing(serve(cut=5000), odd, serve()) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert left_in(tmp_path) == ["one.mp4"]


async def test_a_host_that_falls_silent_is_asked_again(tmp_path: Path) -> None:
    async with storing(serve(stall=5000), serve(), timeout=0.1) as (storage, keevx):
        async with asyncio.timeout(60):
            path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert storage.ranges == [None, "bytes=5000-"]


async def test_a_download_may_take_longer_than_an_exchange(tmp_path: Path) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BODY)
        await response.prepare(request)
        for start in range(0, len(BODY), 1024):
            await response.write(BODY[start : start + 1024])
            await asyncio.sleep(0.03)
        return response

    async with storing(slow, timeout=0.2) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert len(storage.seen) == 1


async def test_an_existing_file_is_kept_unless_the_caller_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "it.mp4"
    path.write_bytes(b"precious")
    async with storing(serve()) as (storage, keevx):
        with pytest.raises(DownloadError, match="overwrite=True"):
            await keevx.download(storage.url, path)
        assert path.read_bytes() == b"precious"
        assert not storage.seen
        assert await keevx.download(storage.url, path, overwrite=True) == path
        assert path.read_bytes() == BODY
        storage.answers = [status(404)]
        with pytest.raises(DownloadError, match="gone"):
            await keevx.download(storage.url, path, overwrite=True)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("there", "there/one.mp4"),
        ("new/", "new/one.mp4"),
        ("new/deep", "new/deep/one.mp4"),
        ("new.d/", "new.d/one.mp4"),
        ("new/it.mp4", "new/it.mp4"),
    ],
)
async def test_a_destination_is_a_folder_or_a_file(
    destination: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    async with storing(serve()) as (storage, keevx):
        path = await keevx.download(storage.url, f"{tmp_path}/{destination}")
    assert path == tmp_path / expected
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../up.mp4",
        "%2e%2e%2f%2e%2e%2fup.mp4",
        "..%5c..%5cup.mp4",
        "%00.mp4",
        "~",
        ".hidden",
        "",
        "%E8%A7%86" * 100 + ".mp4",
    ],
)
async def test_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    async with storing(serve()) as (storage, keevx):
        task = Task(task_id=name or "x", status="SUCCEEDED", video_url=storage.url)
        for what in (f"{storage.url.rpartition('/')[0]}/{name}", task):
            path = await keevx.download(what, folder, overwrite=True)
            assert path.parent == folder
            assert path.resolve().parent == folder.resolve()
            assert not path.name.startswith(".")
            assert path.read_bytes() == BODY
    assert left_in(tmp_path) == ["a"]
    assert left_in(tmp_path / "a") == ["b"]


async def test_a_part_that_is_already_whole(tmp_path: Path) -> None:
    async with storing(serve(stall=len(BODY), length=len(BODY) + 1), serve()) as (storage, keevx):
        await _cut_off_at(len(BODY), keevx, storage.url, tmp_path)
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert storage.ranges == [None, f"bytes={len(BODY)}-", None]
    assert left_in(tmp_path) == ["one.mp4"]


async def test_a_tag_without_its_part_does_not_stop_a_download(tmp_path: Path) -> None:
    async with storing(serve(cut=10)) as (storage, keevx):
        with pytest.raises(DownloadError):
            await keevx.download(storage.url, tmp_path)
        part, tag = left_in(tmp_path)
        assert tag == part.replace(".part", ".tag") != part
        (tmp_path / part).unlink()
        storage.answers = [serve()]
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
    assert left_in(tmp_path) == ["one.mp4"]


KILLED = """
import asyncio, sys
from keevx_async import Keevx
async def main():
    async with Keevx("k", base_url="http://127.0.0.1:1") as keevx:
        await keevx.download(sys.argv[1], sys.argv[2])
asyncio.run(main())
"""


def _size_of_part(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(".*.part"))


async def test_a_part_left_by_a_killed_process_is_resumed(tmp_path: Path) -> None:
    async with storing(serve(stall=5000), serve()) as (storage, keevx):
        process = subprocess.Popen(  # noqa: ASYNC220 - does not block
            [sys.executable, "-c", KILLED, storage.url, str(tmp_path)]
        )
        async with asyncio.timeout(30):  # an interpreter has to start
            await until(lambda: _size_of_part(tmp_path) >= 5000)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert storage.ranges == [None, "bytes=5000-"]
    assert left_in(tmp_path) == ["one.mp4"]


async def _cut_off_at(size: int, keevx: Keevx, url: str, folder: Path) -> None:
    """Cancel a download once so many bytes have come."""
    downloading = asyncio.ensure_future(keevx.download(url, folder))
    await until(lambda: _size_of_part(folder) == size)
    downloading.cancel()
    await asyncio.wait({downloading})
    assert downloading.cancelled()


async def test_one_file_is_written_by_one_download_at_a_time(tmp_path: Path) -> None:
    async with storing(serve(stall=5000), serve()) as (storage, keevx):
        first = asyncio.ensure_future(keevx.download(storage.url, tmp_path))
        await until(lambda: _size_of_part(tmp_path) == 5000)
        with pytest.raises(DownloadError, match="already being downloaded"):
            await keevx.download(storage.url, tmp_path, overwrite=True)
        first.cancel()
        await asyncio.wait({first})
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY


async def test_an_expired_url_is_requested_again_once(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        (task,) = await keevx.generate(a_request())
        assert task.video_url
        gone = f"{emulator.storage_url}/videos/i2v-of-old/sample_0.mp4"
        old = Task(task_id=task.task_id, status="SUCCEEDED", video_url=gone)
        path = await keevx.download(old, tmp_path)
        assert path.read_bytes() == emulator.video(task.task_id)

        emulator.faults.expired = 1
        before = emulator.polls[task.task_id]
        with pytest.raises(DownloadError, match="query the task's status for a new URL"):
            await keevx.download(task, tmp_path / "other.mp4")
        assert emulator.polls[task.task_id] == before + 1
        with pytest.raises(DownloadError, match="expire after 7 days"):
            await keevx.download(task.video_url, tmp_path / "other.mp4")
        assert left_in(tmp_path) == [path.name]


async def test_a_task_without_a_video_is_an_error(tmp_path: Path) -> None:
    async with storing(serve()) as (storage, keevx):
        for task, said in (
            (Task(task_id="i2v-1", status="FAILED", error_message="too dark"), "too dark"),
            (Task(task_id="i2v-1", status="PENDING"), "its status is PENDING"),
        ):
            with pytest.raises(DownloadError, match=said):
                await keevx.download(task, tmp_path)
    assert not storage.seen


@pytest.mark.parametrize("cut", [0, 1])
async def test_a_redirect_to_another_origin_is_followed_without_the_key(
    cut: float, tmp_path: Path
) -> None:
    async with speaking(faults=Faults(redirect_downloads=1, cut_downloads=cut)) as (
        emulator,
        keevx,
    ):
        (task,) = await keevx.generate(a_request())
        path = await keevx.download(task, tmp_path)
        assert path.read_bytes() == emulator.video(task.task_id)
        assert emulator.requests["GET mirror"] == 1 + cut
        assert emulator.storage_authorizations == []
        assert not any("test-key" in str(headers) for headers in emulator.storage_headers)


async def test_no_signature_of_a_url_is_shown(tmp_path: Path) -> None:
    async with storing(status(500)) as (storage, keevx):
        with pytest.raises(DownloadError) as caught:
            await keevx.download(f"{storage.url}?X-Signature=hush", tmp_path)
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(caught.value)


async def test_closing_ends_a_download(tmp_path: Path) -> None:
    async with storing(serve(stall=5000)) as (storage, keevx):
        downloading = asyncio.ensure_future(keevx.download(storage.url, tmp_path))
        await until(lambda: len(storage.seen) == 1)
        await keevx.close()
        with pytest.raises(ConfigurationError, match="is closed"):
            await downloading
    assert len(storage.seen) == 1


async def test_a_host_that_knows_no_ranges_is_asked_for_all(tmp_path: Path) -> None:
    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY, headers={"ETag": '"1"'})

    async with storing(serve(cut=5000), whole) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert storage.ranges == [None, "bytes=5000-"]


async def test_a_part_that_never_ends_is_not_taken(tmp_path: Path) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=206)
        response.headers["Content-Range"] = f"bytes 5000-{len(BODY) - 1}/{len(BODY)}"
        response.enable_chunked_encoding()
        await response.prepare(request)
        with suppress(ConnectionError):
            while sent < 500_000_000 and request.transport is not None:  # None: they hung up
                sent += 100_000
                await response.write(bytes(100_000))
        return response

    async with storing(serve(cut=5000), endless, serve()) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert sent < 500_000_000


async def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "it.mp4"

    async def another(request: web.Request) -> web.StreamResponse:
        path.write_bytes(b"precious")
        return web.Response(body=BODY)

    async with storing(another) as (storage, keevx):
        with pytest.raises(DownloadError, match=r"it\.mp4 exists"):
            await keevx.download(storage.url, path)
    assert path.read_bytes() == b"precious"


async def test_a_slow_storage_host_holds_neither_creates_nor_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(body=BODY)

    async with storing(held) as (storage, _), speaking() as (emulator, keevx):
        monkeypatch.setattr(State, "storage_url", storage.url.removesuffix("/videos/one.mp4"))
        fan = keevx.generate_many(some_requests(100), concurrency=4, download=tmp_path)
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: emulator.creates.total() == 100)
        await until(lambda: storage.under_way == PARALLEL_DOWNLOADS)
        task_ids = (await keevx.submit(a_request("in between"))).task_ids
        assert (await keevx.wait(task_ids[0])).succeeded
        await until(lambda: len(emulator.polls) == 101)
        assert not running.done()
        go.set()
        (await running).raise_for_errors()
    assert storage.most == PARALLEL_DOWNLOADS
    assert len(left_in(tmp_path)) == 100
