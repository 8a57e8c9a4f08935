"""What comes home is what it should be, over real sockets: asked again, or a DownloadError."""

import asyncio
import errno
import gzip
import io
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from keevx_async import DownloadError, Journal, Keevx, RetryPolicy, Task
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.state import State
from tests.support.client import a_request, some_requests, speaking
from tests.support.media import BODY, left_in
from tests.support.proxies import listening

QUICK = RetryPolicy(attempts=3, first_delay=0.001, max_delay=0.01)
PAGE = b"<!DOCTYPE html><html>please sign in</html>"
TIMEOUT_XML = b"<?xml version='1.0'?><Error><Code>RequestTimeout</Code></Error>"


def answer(body: bytes = BODY, status: str = "200 OK", **headers: str | None) -> bytes:
    """Return an answer with these headers; one that is None is left out."""
    given = {"Content-Type": "video/mp4", "Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[misc]
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])
    return head.encode("latin-1") + body


class Storage:
    """Gives each request the next of its answers, and keeps what was asked; the last one lasts."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v/one.mp4"

    @property
    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()


@asynccontextmanager
async def storing(
    *answers: bytes, retry: RetryPolicy = QUICK
) -> AsyncIterator[tuple[Storage, Keevx]]:
    storage, nowhere = Storage(*answers), "http://127.0.0.1:1"
    async with (
        listening(storage.handle) as storage.port,
        Keevx("test-key", base_url=nowhere, retry=retry) as keevx,
    ):
        yield storage, keevx
    assert not any("test-key" in head for head in storage.heads)


WRONG = {
    "a page": answer(PAGE, Content_Type="text/html; charset=utf-8"),
    "a page called a video": answer(PAGE),
    "a page without a type": answer(PAGE, Content_Type=None),
    "JSON": answer(b'{"code":"AccessDenied"}', Content_Type="application/json"),
    "XML": answer(TIMEOUT_XML, Content_Type="application/xml"),
    "nothing": answer(b""),
    "nothing, chunked": answer(b"0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked"),
    "nothing, until it closes": answer(b"", Content_Length=None),
    "zeros": answer(bytes(5000)),
    "202": answer(b"", "202 Accepted"),
    "204": answer(b"", "204 No Content", Content_Length=None),
    "408": answer(b"", "408 Request Timeout"),
    "425": answer(b"", "425 Too Early"),
    "429": answer(b"", "429 Too Many Requests"),
    "500": answer(PAGE, "500 Internal Server Error"),
    "503": answer(b"", "503 Slow Down"),
    "S3's timeout": answer(TIMEOUT_XML, "400 Bad Request"),
    "a timeout in JSON": answer(b'{"code": "RequestTimeout"}', "400 Bad Request"),
    "too short": answer(BODY[:-1], Content_Length=str(len(BODY))),
    "an unknown coding": answer(BODY, Content_Encoding="br"),
    "two codings": answer(gzip.compress(gzip.compress(BODY)), Content_Encoding="gzip, gzip"),
    "a wrong coding": answer(BODY, Content_Encoding="gzip"),
    "a cut coding": answer(gzip.compress(BODY)[:-5], Content_Encoding="gzip"),
    "a coded page": answer(gzip.compress(PAGE), Content_Encoding="gzip"),
    "gzip that does not say so": answer(gzip.compress(BODY)),
    "a part without a range": answer(BODY, "206 Partial Content"),
    "a part of it": answer(BODY[:50], "206 Partial Content", Content_Range="bytes 0-49/10240"),
    "a later part": answer(BODY[5:], "206 Partial Content", Content_Range="bytes 5-10239/10240"),
    "416": answer(b"", "416 Range Not Satisfiable"),
    "rubbish": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "silence": b"",
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_not_a_result_is_asked_for_again(wrong: str, tmp_path: Path) -> None:
    async with storing(WRONG[wrong], answer()) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
        assert path.read_bytes() == BODY
        assert len(storage.heads) == 2
        assert left_in(tmp_path) == ["one.mp4"]


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_never_is_a_result_leaves_nothing_behind(wrong: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(b"an earlier one")
    async with storing(WRONG[wrong]) as (storage, keevx):
        with pytest.raises(DownloadError, match=r"/v/one\.mp4"):
            await keevx.download(storage.url, kept, overwrite=True)
        # After silence on a connection, aiohttp itself sends a GET once more.
        assert len(storage.heads) == QUICK.attempts * (2 if wrong == "silence" else 1)
    assert left_in(tmp_path) == ["kept.mp4"]
    assert kept.read_bytes() == b"an earlier one"


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone"]
)
async def test_a_refusal_of_a_url_is_final(status: str, tmp_path: Path) -> None:
    async with storing(answer(b"no", status), answer()) as (storage, keevx):
        with pytest.raises(DownloadError, match=f"HTTP {status[:3]}"):
            await keevx.download(storage.url, tmp_path)
        assert len(storage.heads) == 1


async def test_retry_after_is_heeded(tmp_path: Path) -> None:
    patient = RetryPolicy(attempts=3, first_delay=0.001, deadline=5)
    busy = answer(b"", "503 Slow Down", Retry_After="3600")
    async with storing(busy, answer(), retry=patient) as (storage, keevx):
        with pytest.raises(DownloadError, match="HTTP 503"):  # later than the policy's deadline
            await keevx.download(storage.url, tmp_path)
        assert len(storage.heads) == 1


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), "X-GZIP"),
        (gzip.compress(BODY[:700]) + gzip.compress(BODY[700:]), "gzip"),
        (zlib.compress(BODY), "deflate"),
        (zlib.compress(BODY)[2:-4], "deflate"),  # without zlib's header
        (BODY, "identity"),
        (BODY, "aws-chunked"),
    ],
)
async def test_a_compressed_answer_is_decoded_whole(
    body: bytes, coding: str, tmp_path: Path
) -> None:
    coded = answer(body, Content_Encoding=coding, ETag='"1"')
    async with storing(coded) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == BODY
    assert left_in(tmp_path) == ["one.mp4"]


async def test_a_compressed_answer_may_be_far_larger_than_it_looks(tmp_path: Path) -> None:
    large = BODY + bytes(3_000_000)
    async with storing(answer(gzip.compress(large), Content_Encoding="gzip")) as (storage, keevx):
        path = await keevx.download(storage.url, tmp_path)
    assert path.read_bytes() == large


async def test_a_compressed_answer_that_was_cut_is_downloaded_from_the_start(
    tmp_path: Path,
) -> None:
    """Its ETag is of the compressed bytes: what was decoded of them cannot be gone on with."""
    coded = gzip.compress(BODY)
    cut = answer(coded[:100], Content_Encoding="gzip", ETag='"1"', Content_Length=str(len(coded)))
    async with storing(cut, answer()) as (storage, keevx):
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert "Range:" not in storage.heads[1]


# --- Going on after a cut


def cut(at: int, tag: str | None = '"1"') -> bytes:
    return answer(BODY[:at], Content_Length=str(len(BODY)), ETag=tag)


def rest(start: int, **headers: str | None) -> bytes:
    span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    given: dict[str, Any] = {"Content_Range": span, "ETag": '"1"', **headers}
    return answer(BODY[start:], "206 Partial Content", **given)


@pytest.mark.parametrize(
    "odd",
    [
        rest(5000, ETag='"2"'),  # it has changed, and the host ignores If-Range
        rest(5000, ETag=None),  # nothing proves that it has not
        rest(4999),
        rest(5001),
        rest(5000, Content_Range="bytes 5000-10239/20000"),
        rest(5000, Content_Range="bytes */10240"),
        rest(5000, Content_Encoding="gzip"),
        rest(5000, Content_Range=None),
    ],
)
async def test_a_part_that_does_not_follow_is_not_appended(odd: bytes, tmp_path: Path) -> None:
    async with storing(cut(5000), odd, answer()) as (storage, keevx):
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert len(storage.heads) == 3
        assert "Range:" not in storage.heads[2]


async def test_a_page_in_between_does_not_cost_what_has_come(tmp_path: Path) -> None:
    page = answer(PAGE, Content_Type="text/html")
    async with storing(cut(5000), page, rest(5000)) as (storage, keevx):
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert "Range: bytes=5000-" in storage.heads[2]


@pytest.mark.parametrize("tag", ['"\xff\xfe"', '"caf\xe9"', 'W/"1"', "", '"a b"', "\x80"])
async def test_a_tag_that_cannot_be_sent_back_is_ignored(tag: str, tmp_path: Path) -> None:
    async with storing(cut(5000, tag), answer(ETag=tag)) as (storage, keevx):
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert "Range:" not in storage.heads[1]


async def test_a_damaged_tag_file_is_ignored(tmp_path: Path) -> None:
    async with storing(cut(5000)) as (storage, keevx):
        with pytest.raises(DownloadError):
            await keevx.download(storage.url, tmp_path)
        tag = tmp_path / next(name for name in left_in(tmp_path) if name.endswith(".tag"))
        tag.write_bytes(b"\xff\xfe\r\nX: y")
        storage.answers = [answer()]
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert "X: y" not in storage.heads[-1]
    assert left_in(tmp_path) == ["one.mp4"]


# --- Redirects


async def test_each_hop_of_a_redirect_has_its_own_proxy_and_never_our_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signed = "/w/a%2Fb.mp4?sig=a%2Bb%2Fc%3D&name=%27x%27"
    storage, proxy = Storage(answer()), Storage()
    async with listening(storage.handle) as storage.port, listening(proxy.handle) as proxy.port:
        direct = f"http://127.0.0.1:{storage.port}{signed}"
        proxy.answers = [
            answer(b"", "302 Found", Location="http://b.example:81/x%2Fy?z=%2F"),
            answer(b"", "307 Temporary Redirect", Location=direct),
        ]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with Keevx("test-key", base_url="https://api.example", retry=QUICK) as keevx:
            path = await keevx.download("http://a.example/v/a%2Fb.mp4?s=%2F", tmp_path)
    assert path.read_bytes() == BODY
    assert proxy.paths == [
        "http://a.example/v/a%2Fb.mp4?s=%2F",
        "http://b.example:81/x%2Fy?z=%2F",
    ]
    assert storage.paths == [signed]
    assert not any("test-key" in head or "Authorization" in head for head in proxy.heads)
    assert not any("test-key" in head or "Authorization" in head for head in storage.heads)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_that_is_not_ascii_is_followed(status: int, tmp_path: Path) -> None:
    moved = answer(b"", f"{status} Moved", Location="/w/\xc3\xa9\xff b%2F.mp4")
    async with storing(moved, answer()) as (storage, keevx):
        await keevx.download(storage.url, tmp_path)
        assert storage.paths[1] == "/w/%C3%A9%FF%20b%2F.mp4"


@pytest.mark.parametrize(
    ("where", "requests"),
    [("/v/one.mp4", 11), ("ftp://h/a", 1), ("http://a..b/", 1), (None, 1)],
)
async def test_a_redirect_that_leads_nowhere_is_a_download_error(
    where: str | None, requests: int, tmp_path: Path
) -> None:
    async with storing(answer(b"", "302 Found", Location=where)) as (storage, keevx):
        with pytest.raises(DownloadError):
            await keevx.download(storage.url, tmp_path)
        assert len(storage.heads) == requests
    assert left_in(tmp_path) == []


async def test_a_range_goes_along_with_a_redirect(tmp_path: Path) -> None:
    moved = answer(b"", "302 Found", Location="/w")
    async with storing(moved, cut(5000), moved, rest(5000)) as (storage, keevx):
        assert (await keevx.download(storage.url, tmp_path)).read_bytes() == BODY
        assert "Range: bytes=5000-" in storage.heads[3]


async def test_a_login_of_a_lent_session_does_not_reach_storage(tmp_path: Path) -> None:
    storage, login = Storage(answer()), {"authorization": "Bearer mine", "X-A": "b"}
    async with (
        listening(storage.handle) as storage.port,
        aiohttp.ClientSession(headers=login) as lent,
        Keevx("test-key", base_url="http://127.0.0.1:1", session=lent) as keevx,
    ):
        await keevx.download(storage.url, tmp_path)
    assert "X-A: b" in storage.heads[0]
    assert "bearer" not in storage.heads[0].lower()


# --- Addresses


async def test_an_address_is_sent_as_it_came_a_blank_included(tmp_path: Path) -> None:
    async with storing(answer()) as (storage, keevx):
        url = storage.url.replace("one.mp4", "my video.mp4?sig=a%2Fb%2B&n=a b")
        path = await keevx.download(
            Task(task_id="i2v-1", status="SUCCEEDED", video_url=url), tmp_path
        )
        assert storage.paths == ["/v/my%20video.mp4?sig=a%2Fb%2B&n=a%20b"]
    assert path.name == "i2v-1.mp4"


@pytest.mark.parametrize(
    "url",
    ["http://a..b/x.mp4", f"http://{'x' * 64}.example/x", "http://[::1/x.mp4", "http://h:99999/"],
)
async def test_a_host_that_cannot_be_is_a_download_error(url: str, tmp_path: Path) -> None:
    async with storing(answer()) as (_, keevx):
        for what in (url, Task(task_id="i2v-1", status="SUCCEEDED", video_url=url)):
            with pytest.raises(DownloadError, match=r"not an http\(s\) URL"):
                await keevx.download(what, tmp_path)


# --- Results of tasks


async def test_what_is_wrong_is_never_home_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page, record = answer(PAGE, Content_Type="text/html"), tmp_path / "run.db"
    storage = Storage(page)
    async with listening(storage.handle) as storage.port, Emulator(seconds=0.01) as emulator:
        emulator.faults.redirect_downloads = 1
        monkeypatch.setattr(State, "mirror_url", f"http://127.0.0.1:{storage.port}")
        async with Keevx("k", base_url=emulator.url, journal=record, retry=QUICK) as keevx:
            fan = await keevx.generate_many([a_request()], download=tmp_path / "out")
        (outcome,) = fan.outcomes
        assert isinstance(outcome.error, DownloadError)
        assert outcome.paths == ()
        assert left_in(tmp_path / "out") == []
        async with Journal(record) as journal:
            known = await journal.find_task(outcome.task_ids[0])
        assert known is not None
        assert known.path is None
        storage.answers = [answer()]
        async with Keevx("k", base_url=emulator.url, journal=record, retry=QUICK) as keevx:
            fan = await keevx.generate_many([a_request()], download=tmp_path / "out")
        fan.raise_for_errors()
        assert emulator.creates.total() == 1
    assert [path.read_bytes() for path in fan.outcomes[0].paths] == [BODY]


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_storage_does_not_know_yet_is_asked_for_again(
    times: int, tmp_path: Path
) -> None:
    struck: dict[str, int] = {}

    def unknown(url: str) -> bool:
        struck[url] = struck.get(url, 0) + 1
        return struck[url] <= times

    async with speaking(0.01, faults=Faults(expired=unknown)) as (emulator, keevx):
        fan = await keevx.generate_many(some_requests(3), download=tmp_path)
        fan.raise_for_errors()
        assert len(left_in(tmp_path)) == 3
        assert set(struck.values()) == {times + 1}
        assert max(emulator.polls.values()) <= 4


async def test_each_kind_of_result_is_held_to_its_own_kind(tmp_path: Path) -> None:
    """A video under image_url is not an image; captions may be called plain text."""
    srt = answer(b"1\n00:00:01,000 --> 00:00:02,000\nHi\n", Content_Type="text/plain")
    png = answer(b"\x89PNG\r\n\x1a\n" + bytes(50), Content_Type="image/png")
    async with storing(answer(), srt) as (storage, keevx):
        task = Task(
            task_id="vt-1",
            status="SUCCEEDED",
            video_url=storage.url,
            caption_url=f"{storage.url}/c.srt",
        )
        await keevx.download(task, tmp_path / "good")
        assert left_in(tmp_path / "good") == ["vt-1.mp4", "vt-1.srt"]
        image = Task(task_id="i2is-1", status="SUCCEEDED", image_url=storage.url)
        for wrong in (answer(), srt):
            storage.answers = [wrong]
            with pytest.raises(DownloadError, match="an image"):
                await keevx.download(image, tmp_path)
        storage.answers = [png]
        assert (await keevx.download(image, tmp_path)).read_bytes().startswith(b"\x89PNG")
        storage.answers = [png]  # a thumbnail, say: any result is taken where a URL is given
        assert (await keevx.download(f"{storage.url}/t.png", tmp_path)).exists()


# --- The disk


class Full(io.BytesIO):
    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_a_download_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with storing(answer()) as (storage, keevx):
        monkeypatch.setattr("keevx_async.transfer.part_files.PartFile._open", lambda *_: Full())
        with pytest.raises(DownloadError, match=r"cannot write .*No space left"):
            await keevx.download(storage.url, tmp_path)
        assert len(storage.heads) == 1
    assert left_in(tmp_path) == []


async def test_a_destination_that_cannot_be_is_a_download_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "locked").mkdir(mode=0o500)
    wrong = [
        tmp_path / "file" / "a.mp4",
        tmp_path / "file" / "folder" / "a.mp4",
        Path("/proc/nowhere/a.mp4"),
        tmp_path / f"{'x' * 252}.mp4",
        tmp_path / f"{'x' * 300}" / "a.mp4",
        tmp_path / "a\0b.mp4",
    ]
    if not os.access(tmp_path / "locked", os.W_OK):  # root may write everywhere
        wrong.append(tmp_path / "locked" / "a.mp4")
    async with storing(answer()) as (storage, keevx):
        task = Task(task_id="i2v-1", status="SUCCEEDED", video_url=storage.url)
        for path in wrong:
            for what in (storage.url, task):
                with pytest.raises(DownloadError, match="cannot write"):
                    await keevx.download(what, path)


async def test_the_longest_name_of_a_file_system_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".mp4", "й" * 125 + ".mp4"):
        async with storing(cut(5000), rest(5000)) as (storage, keevx):
            path = await keevx.download(storage.url, tmp_path / name)
        assert path.name == name
        assert path.read_bytes() == BODY
