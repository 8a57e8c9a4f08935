"""The storage origin: whole files and parts of them, and what goes wrong with them."""

from typing import Any

import aiohttp
import pytest

from keevx_async.testing import Faults
from keevx_async.testing.contents import BLOCK, span, video
from tests.support.emulator import Caller, calling


async def made(caller: Caller, **changes: Any) -> str:
    """The id of a task that has succeeded."""
    (task_id,) = await caller.create(**changes)
    assert (await caller.ended(task_id))["status"] == "SUCCEEDED"
    return task_id


def url_of(caller: Caller, task_id: str) -> str:
    return f"{caller.emulator.storage_url}/videos/{task_id}/sample_0.mp4"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=99-500", (99, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_is_read(header: str | None, expected: tuple[int, int] | None) -> None:
    assert span(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_a_range_that_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        span(header, 100)


async def test_a_video_is_the_same_whichever_way_it_is_read() -> None:
    size = 2 * BLOCK + 1000
    async with calling(0) as caller:
        task, other = [caller.emulator.tasks[await made(caller)] for _ in range(2)]
    content = video(task, size)
    whole = b"".join(content.read(0, size))
    assert len(whole) == size
    assert whole[4:8] == b"ftyp"
    for start, stop in ((0, 10), (BLOCK - 5, BLOCK + 5), (100, size), (size - 1, size)):
        assert b"".join(content.read(start, stop)) == whole[start:stop]
    assert all(len(chunk) <= BLOCK for chunk in content.read(0, size))
    assert whole != b"".join(video(other, size).read(0, size))


async def test_a_video_is_served_whole() -> None:
    async with calling(0, video_bytes=100_000) as caller:
        task_id = await made(caller)
        async with caller.session.get(url_of(caller, task_id)) as response:
            assert response.status == 200
            assert response.content_type == "video/mp4"
            assert response.content_length == 100_000
            assert response.headers["Accept-Ranges"] == "bytes"
            assert await response.read() == caller.emulator.video(task_id)
        assert caller.emulator.requests["GET storage"] == 1


async def test_a_part_is_served_as_long_as_the_tag_is_the_same() -> None:
    async with calling(0) as caller:
        task_id = await made(caller)
        url, whole = url_of(caller, task_id), caller.emulator.video(task_id)
        async with caller.session.get(url, headers={"Range": "bytes=15000-"}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == "bytes 15000-19999/20000"
            assert response.content_length == 5000
            assert await response.read() == whole[15000:]
            tag = response.headers["ETag"]
        for held, status in ((tag, 206), ('"other"', 200)):
            headers = {"Range": "bytes=1-", "If-Range": held}
            async with caller.session.get(url, headers=headers) as response:
                assert response.status == status
        async with caller.session.get(url, headers={"Range": "bytes=20000-"}) as response:
            assert response.status == 416
            assert response.headers["Content-Range"] == "bytes */20000"


async def test_there_is_a_thumbnail_that_is_an_image() -> None:
    async with calling(0) as caller:
        (task_id,) = await caller.create()
        async with caller.session.get((await caller.ended(task_id))["thumbnail_url"]) as response:
            assert response.content_type == "image/webp"
            content = await response.read()
        assert content[:4] + content[8:12] == b"RIFFWEBP"
        assert int.from_bytes(content[4:8], "little") == len(content) - 8


async def test_what_is_not_there_is_not_found_and_not_in_the_envelope() -> None:
    async with calling(60, fail_prompts={"bad"}) as caller:
        storage = caller.emulator.storage_url
        (waiting,) = await caller.create()
        paths = ["/", f"/videos/{waiting}/sample_0.mp4", "/thumbs/i2v-0.webp", "/uploads/x.png"]
        for path in paths:
            async with caller.session.get(storage + path) as response:
                assert (response.status, response.content_type) == (404, "application/xml")


async def test_storage_needs_no_key_and_tells_when_it_sees_one() -> None:
    async with calling(0) as caller:
        url = url_of(caller, await made(caller))
        async with aiohttp.ClientSession() as stranger, stranger.get(url) as response:
            assert response.status == 200
        assert caller.emulator.storage_authorizations == []
        async with caller.session.get(url) as response:
            assert response.status == 200
        assert caller.emulator.storage_authorizations == ["Bearer test-key"]
        seen = ["authorization" in headers for headers in caller.emulator.storage_headers]
        assert seen == [False, True]


@pytest.mark.parametrize("size", [20_000, 5_000_000])
async def test_a_download_is_cut_in_the_middle_once(size: int) -> None:
    async with calling(0, video_bytes=size, faults=Faults(cut_downloads=1)) as caller:
        task_id = await made(caller)
        whole = caller.emulator.video(task_id)
        async with caller.session.get(url_of(caller, task_id)) as response:
            assert response.content_length == size
            got = await response.content.readexactly(size // 2)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        assert got == whole[: size // 2]
        headers = {"Range": f"bytes={len(got)}-"}
        async with caller.session.get(url_of(caller, task_id), headers=headers) as response:
            assert got + await response.read() == whole
        assert caller.emulator.strikes == {"cut_downloads": 1}


async def test_a_download_is_cut_every_time_when_told_so() -> None:
    faults = Faults(cut_downloads=lambda url: url.endswith(".mp4"), once=False)
    async with calling(0, faults=faults) as caller:
        url = url_of(caller, await made(caller))
        for start in (0, 10_000):
            headers = {"Range": f"bytes={start}-"}
            async with caller.session.get(url, headers=headers) as response:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()


async def test_a_download_is_sent_to_another_origin() -> None:
    async with calling(0, faults=Faults(redirect_downloads=1)) as caller:
        task_id = await made(caller)
        url = url_of(caller, task_id)
        async with caller.session.get(url, allow_redirects=False) as response:
            where = response.headers["Location"]
            assert response.status == 302
            assert where.startswith(caller.emulator.mirror_url + "/mirror/")
        async with aiohttp.ClientSession() as stranger, stranger.get(url) as response:
            assert await response.read() == caller.emulator.video(task_id)
        assert caller.emulator.requests["GET storage"] == 2
        assert caller.emulator.requests["GET mirror"] == 1


async def test_a_key_that_follows_a_redirect_is_seen() -> None:
    async with calling(0, faults=Faults(redirect_downloads=1)) as caller:
        where = url_of(caller, await made(caller))
        where = where.replace(caller.emulator.storage_url, caller.emulator.mirror_url + "/mirror")
        async with caller.session.get(where) as response:
            assert response.status == 200
        assert caller.emulator.storage_authorizations == ["Bearer test-key"]


async def test_an_expired_video_is_forbidden() -> None:
    async with calling(0) as caller:
        old, new = await made(caller), await made(caller)
        caller.emulator.faults.expired = {url_of(caller, old)}
        async with caller.session.get(url_of(caller, old)) as response:
            assert response.status == 403
            assert b"ExpiredToken" in await response.read()
        async with caller.session.get(url_of(caller, new)) as response:
            assert response.status == 200


async def test_a_share_of_downloads_is_the_same_in_every_run() -> None:
    async def cut() -> list[str]:
        async with calling(0, faults=Faults(expired=0.5)) as caller:
            statuses = []
            for number in range(30):
                task_id = await made(caller, prompt=f"p{number}")
                async with caller.session.get(url_of(caller, task_id)) as response:
                    statuses.append(str(response.status))
            return statuses

    first = await cut()
    assert 5 < first.count("403") < 25
    assert first == await cut()
