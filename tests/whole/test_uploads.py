"""Images up: refused before a byte is sent, each distinct file sent once, none held in memory."""

import asyncio
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web

from keevx_async import (
    APIError,
    ConfigurationError,
    Keevx,
    ServerError,
    SubmissionUncertain,
    UploadError,
)
from keevx_async.client.kind_lookup import KindResolver
from keevx_async.http.queries import ApiClient
from keevx_async.http.queries import Host as ApiHost
from keevx_async.http.retry import Retrier
from keevx_async.http.transport import AiohttpTransport, HttpRequest, HttpResponse
from keevx_async.journal.null import NullJournal
from keevx_async.testing import Emulator
from keevx_async.transfer.images import inspect
from keevx_async.transfer.uploads import URL_TTL, UploadCache, Uploads, remember
from tests.conftest import FakeClock
from tests.support.client import RETRY, a_request, keevx_of, speaking
from tests.support.emulator import until
from tests.support.uploads import Host, hosting

JPEG, WEBP = b"\xff\xd8\xff\xe0" + bytes(50), b"RIFF\x00\x00\x00\x00WEBP" + bytes(50)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
MB = 2**20


@pytest.mark.parametrize(
    ("content", "suffix"), [(JPEG, ".jpeg"), (PNG, ".png"), (WEBP, ".webp"), (PNG, ".jpg")]
)
async def test_an_image_is_uploaded_whatever_it_comes_as(
    content: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"start{suffix}"
    path.write_bytes(content)
    async with speaking() as (emulator, keevx):
        urls = [await keevx.upload(source) for source in (path, str(path), content)]
        with path.open("rb") as file:
            urls.append(await keevx.upload(file))
        urls.append(await keevx.upload(io.BytesIO(content), filename="mine.png"))
    assert [emulator.content(url) for url in urls] == [content] * 5
    names = [emulator.uploads[url].name for url in urls]
    assert len(emulator.uploads) == 4  # the path's two names are one file
    assert names[0] == ("start.png" if suffix == ".jpg" else path.name)  # a name that lies
    assert names[2].startswith("image.")
    assert names[4] == "mine.png"


async def test_twenty_megabytes_are_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    most = PNG + bytes(20 * MB - len(PNG))
    path = tmp_path / "large.png"
    path.write_bytes(most + b"!")
    async with speaking() as (emulator, keevx):
        for source in (path, most + b"!", io.BytesIO(most + b"!")):
            with pytest.raises(UploadError, match="larger than 20 MB"):
                await keevx.upload(source)
        assert not emulator.requests
        url = await keevx.upload(most)
    assert emulator.uploads[url].size == 20 * MB


def held(host: Host) -> tuple[asyncio.Event, asyncio.Event]:
    """An upload has come; it may go on."""
    came, go = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> None:
        came.set()
        await go.wait()

    host.before = hold
    return came, go


def images(folder: Path, count: int, size: int = 100) -> list[Path]:
    """So many files, no two alike."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(PNG + bytes([number]))
        os.truncate(path, size)
    return paths


async def test_a_file_is_uploaded_once_however_often_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "deep" / ".." / "a.png"]
    for path in names:
        path.write_bytes(PNG)
    requests = [
        a_request(f"p{number}", image_url=names[number % 3], end_image_url=names[number % 2])
        for number in range(100)
    ]
    async with speaking() as (emulator, keevx):
        (await keevx.submit_many(requests)).raise_for_errors()
        await keevx.submit(a_request("one more", image_url=names[0]))
        assert await keevx.upload(names[1]) in emulator.uploads
        assert emulator.requests["POST upload"] == 1
        (url,) = emulator.uploads
        assert {task.body["image_url"] for task in emulator.tasks.values()} == {url}


def test_a_file_is_uploaded_once_in_the_life_of_a_client(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    emulator = Emulator(0.01)
    clients: list[Keevx] = []

    async def main(last: bool) -> None:
        async with emulator:
            clients.append(clients[0] if clients else keevx_of(emulator))
            await clients[0].submit(a_request(image_url=path))
            if last:
                await clients[0].close()

    for number in range(2):
        asyncio.run(main(number == 1))
    assert emulator.requests["POST upload"] == 1


async def test_a_file_that_has_changed_is_uploaded_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG + b"one")
    async with speaking() as (emulator, keevx):
        first = await keevx.upload(path)
        path.write_bytes(PNG + b"two")  # as long as it was, and at once
        second = await keevx.upload(path)
        path.write_bytes(PNG + b"one")
        assert await keevx.upload(path) == first
    assert emulator.content(first) == PNG + b"one"
    assert emulator.content(second) == PNG + b"two"


async def test_a_file_that_hides_its_change_is_uploaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keevx_async.transfer.images.SETTLE_SECONDS", -1e9)
    (path,) = images(tmp_path, 1)
    before = path.stat()
    async with hosting() as (host, keevx):
        await keevx.upload(path)
        while path.stat().st_ctime_ns == before.st_ctime_ns:  # time goes in steps there
            path.write_bytes(path.read_bytes()[:-1] + b"!")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await keevx.upload(path)
    assert [sent[-1:] for sent in host.sent] == [b"\0", b"!"]


@pytest.mark.parametrize(("settled", "reads"), [(-1e9, 1), (2.0, 5)])
async def test_a_file_that_lies_untouched_is_read_once(
    settled: float, reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []

    def counted(path: Path, formats: tuple[str, ...], **ways: Any) -> Any:
        looked.append(path)
        return inspect(path, formats, **ways)

    monkeypatch.setattr("keevx_async.transfer.images.SETTLE_SECONDS", settled)
    monkeypatch.setattr("keevx_async.transfer.uploads.inspect", counted)
    (path,) = images(tmp_path, 1)
    async with hosting() as (host, keevx):
        for _ in range(5):
            await keevx.upload(path)
    assert len(looked) == reads
    assert len(host.sent) == 1


async def test_an_upload_is_renewed_after_an_hour(tmp_path: Path, clock: FakeClock) -> None:
    (path,) = images(tmp_path, 1)
    async with hosting() as (host, _):
        transport = AiohttpTransport(host.url, {}, aiohttp.ClientTimeout(10))
        retrier = Retrier(RETRY)
        uploads = Uploads(
            ApiClient(
                transport, retrier, ApiHost(transport, "host"), KindResolver(NullJournal()).resolve
            ),
            retrier,
            UploadCache(),
            clock,
        )
        urls = []
        for passed in (0, URL_TTL - 1, 1, URL_TTL - 1):
            clock.advance(passed)
            urls.append((await uploads.files([path]))[path])
        await transport.close()
    assert urls == [f"https://cdn.example/{number}.png" for number in (1, 1, 2, 2)]


async def test_one_that_is_cancelled_as_its_upload_ends_is_cancelled_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting() as (_, keevx):
        uploads, joining = keevx._components().uploads, asyncio.Event()
        ending = asyncio.get_running_loop().create_future()

        async def send(*_: object) -> Any:
            joining.set()
            return await ending

        monkeypatch.setattr(uploads, "_send", send)
        waiting = asyncio.ensure_future(uploads.upload(images(tmp_path, 1)[0], None))
        await joining.wait()
        ending.set_result("https://example.com/a.png")
        asyncio.get_running_loop().call_soon(waiting.cancel)  # after the upload, before its joiner
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_few_are_uploaded_at_a_time(tmp_path: Path) -> None:
    async def slowly(request: web.Request) -> None:
        await asyncio.sleep(0.02)

    paths = images(tmp_path, 20)
    async with hosting() as (host, keevx):
        host.before = slowly
        await asyncio.gather(*map(keevx.upload, paths))
    assert host.most == 4
    assert sorted(host.sent) == sorted(path.read_bytes() for path in paths)


async def test_the_files_of_one_request_go_up_side_by_side(tmp_path: Path) -> None:
    paths = images(tmp_path, 3)
    request = a_request(image_url=paths[0], reference_images=paths[1:])
    together = asyncio.Barrier(3)

    async def meet(_: web.Request) -> None:
        async with asyncio.timeout(20):  # one after the other they would wait for ever
            await together.wait()

    async with hosting() as (host, keevx):
        host.before = meet
        with pytest.raises(SubmissionUncertain):  # this host knows of uploads only
            await keevx.submit(request)
    assert sorted(host.sent) == sorted(path.read_bytes() for path in paths)


async def test_one_that_fails_lets_the_others_be(tmp_path: Path) -> None:
    good, bad, other = images(tmp_path, 3)
    references = {"image_url": None, "duration": 8}
    async with speaking() as (emulator, keevx):
        emulator.faults.upload_errors = {bad.name}
        emulator.faults.once = False
        fan = await keevx.submit_many(
            [
                a_request("bad", reference_images=[good, bad, other], **references),
                a_request("good", reference_images=[good, other], **references),
            ]
        )
    assert [type(outcome.error) for outcome in fan.outcomes] == [ServerError, type(None)]
    assert emulator.creates == {"good": 1}
    assert len(emulator.uploads) == 2


async def test_nothing_is_sent_of_a_request_that_names_one_bad_file(tmp_path: Path) -> None:
    (good,) = images(tmp_path, 1)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    async with speaking() as (emulator, keevx):
        with pytest.raises(
            UploadError, match=r"bad\.png is a GIF file.* must be JPEG, PNG or WebP"
        ):
            await keevx.submit(a_request(image_url=good, end_image_url=bad))
    assert not emulator.requests


async def test_a_failed_upload_is_tried_again_by_the_next_request(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    async with hosting() as (host, keevx):
        host.answers = [400]
        came, go = held(host)
        both = [asyncio.ensure_future(keevx.upload(path)) for _ in range(2)]
        # Each reads the file in a thread of its own: without this, the refusal may come before the
        # second has joined, which then rightly uploads the file again.
        await came.wait()
        await until(lambda: keevx._components().uploads.waiting == 2)
        go.set()
        ended = await asyncio.gather(*both, return_exceptions=True)
        assert [type(one) for one in ended] == [APIError] * 2
        assert (await keevx.upload(path)).startswith("https://")
    assert len(host.sent) == 2


async def test_each_try_sends_the_whole_file_and_its_length(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1, 3 * MB)
    async with hosting() as (host, keevx):
        host.answers = [500, 503]
        await keevx.upload(path)
    assert host.sent == [path.read_bytes()] * 3
    assert all(length and 3 * MB < length < 3 * MB + 1000 for length in host.lengths)
    assert len(set(host.lengths)) == 1


async def test_waiting_uploads_hold_no_bytes(tmp_path: Path) -> None:
    paths = images(tmp_path, 20, 8 * MB)
    async with hosting() as (host, keevx):
        host.keeping = False
        await keevx.upload(PNG)  # what is made once is made
        tracemalloc.start()
        try:
            await asyncio.gather(*map(keevx.upload, paths))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(host.sent) == 21
    assert most < 20 * MB  # of 160 MB


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("photo.JPG", "photo.png"),
        ("photo.PNG", "photo.PNG"),
        ("photo", "photo.png"),
        ('a"; filename="b.exe', "a_ filename_b.png"),
        ("a\r\nX-Evil: 1.png", "a_X-Evil_ 1.png"),
        (".png", "png.png"),
        ("видео.png", "видео.png"),
    ],
)
async def test_the_name_is_safe_and_the_type_is_the_bytes(
    name: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(PNG)
    async with hosting() as (host, keevx):
        await keevx.upload(path)
        await keevx.upload(path, filename="../../up.png")
    first, second = host.parts
    assert first["Content-Type"] == second["Content-Type"] == "image/png"
    _, given = aiohttp.parse_content_disposition(first["Content-Disposition"])
    assert unquote(aiohttp.content_disposition_filename(given) or "") == told
    assert 'filename="_.._up.png"' in second["Content-Disposition"]


async def test_who_gives_up_does_not_end_the_upload_of_others(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    async with hosting() as (host, keevx):
        came, go = held(host)
        first, second = (asyncio.ensure_future(keevx.upload(path)) for _ in range(2))
        await came.wait()
        await until(lambda: keevx._components().uploads.waiting == 2)
        first.cancel()
        await asyncio.wait({first})
        go.set()
        assert await second == "https://cdn.example/1.png"
        assert first.cancelled()
        assert len(host.sent) == 1


async def test_an_upload_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    async with hosting() as (host, keevx):
        came, go = held(host)
        both = [asyncio.ensure_future(keevx.upload(path)) for _ in range(2)]
        await came.wait()
        await until(lambda: keevx._components().uploads.waiting == 2)
        for one in both:
            one.cancel()
        again = asyncio.ensure_future(keevx.upload(path))
        await asyncio.wait(both)
        await until(lambda: len(host.lengths) == 2)
        go.set()
        assert (await again).startswith("https://")
        assert all(one.cancelled() for one in both)
        await until(lambda: not host.under_way)
    assert len(host.sent) == 1


class Slow:
    """An exchange that takes its time to end when it is cancelled; the second one answers."""

    def __init__(self) -> None:
        self.calls: list[HttpRequest] = []
        self.came = asyncio.Event()
        self.end = asyncio.Event()

    async def exchange(self, call: HttpRequest) -> HttpResponse:
        self.calls.append(call)
        if len(self.calls) > 1:
            return HttpResponse(200, {}, b'{"code":0,"result":{"url":"https://cdn.example/x"}}')
        try:
            self.came.set()
            await asyncio.Event().wait()
        finally:
            await self.end.wait()
        raise AssertionError("unreachable")


async def test_nobody_joins_an_upload_that_is_ending(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    slow, retrier = Slow(), Retrier(RETRY)
    uploads = Uploads(
        ApiClient(slow, retrier, ApiHost(slow, "host"), KindResolver(NullJournal()).resolve),
        retrier,
        UploadCache(),
    )
    first = asyncio.ensure_future(uploads.files([path]))
    await slow.came.wait()
    first.cancel()
    await asyncio.wait({first})
    async with asyncio.timeout(20):
        assert await uploads.files([path]) == {path: "https://cdn.example/x"}
    slow.end.set()
    await uploads.close()


@pytest.mark.parametrize("borrowed", [False, True])
async def test_closing_ends_an_upload(borrowed: bool, tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    came = asyncio.Event()

    async def hold(request: web.Request) -> None:
        came.set()
        await asyncio.sleep(30)

    async with hosting() as (host, mine), aiohttp.ClientSession() as session:
        host.before = hold
        theirs = Keevx("test-key", base_url=host.url, session=session)
        keevx = theirs if borrowed else mine
        uploading = asyncio.ensure_future(keevx.upload(path))
        await came.wait()
        async with asyncio.timeout(20):
            await keevx.close()
            with pytest.raises(ConfigurationError, match="is closed"):
                await uploading
        await theirs.close()
    assert not host.sent


@pytest.mark.parametrize("ending", ["longer", "shorter"])
async def test_a_file_that_changes_while_it_is_sent_is_sent_again(
    ending: str, tmp_path: Path
) -> None:
    (path,) = images(tmp_path, 1, 8 * MB)
    changes = [PNG * 200_000 if ending == "longer" else PNG]

    async def change(request: web.Request) -> None:
        if changes:
            path.write_bytes(changes.pop())

    async with hosting() as (host, keevx):
        host.before = change
        async with asyncio.timeout(60):
            url = await keevx.upload(path)
        assert url == f"https://cdn.example/{len(host.sent)}.png"
        assert await keevx.upload(path) == url
    assert host.sent[-1] == path.read_bytes()


async def test_a_file_that_keeps_changing_is_an_error(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)

    async def change(request: web.Request) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    async with hosting() as (host, keevx):
        host.before = change
        with pytest.raises(UploadError, match=r"0\.png keeps changing while it is being read"):
            await keevx.upload(path)
    assert len(host.lengths) == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.transfer.uploads.MAX_REMEMBERED", 2)
    known: dict[int, str] = {}
    for number in (1, 2, 1, 3):
        remember(known, number, "x")
    assert list(known) == [1, 3]
