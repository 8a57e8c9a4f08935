"""A thumbnail is saved decoded, and no more of it is read than a thumbnail needs."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keevx_async import Keevx, Task
from keevx_async.transfer.downloads import MAX_PICTURE
from tests.support.cli import PNG
from tests.support.proxies import listening

MIB = 2**20
LARGEST = PNG + bytes(MAX_PICTURE - len(PNG))


def bomb(mebibytes: int) -> bytes:
    """A gzip body that starts as a picture and decodes to this many MiB; a thousandth of it."""
    stream = zlib.compressobj(9, wbits=31)
    parts = [stream.compress(PNG), *(stream.compress(bytes(MIB)) for _ in range(mebibytes))]
    return b"".join([*parts, stream.flush()])


@asynccontextmanager
async def thumbnail(body: bytes, coding: str | None) -> AsyncIterator[tuple[Keevx, Task]]:
    """A client, and a task whose thumbnail is this body."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: image/png", f"Content-Length: {len(body)}"]
    lines += [f"Content-Encoding: {coding}"] if coding else []
    response = "\r\n".join([*lines, "", ""]).encode() + body

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()

    async with listening(handle) as port, Keevx("k", base_url="http://127.0.0.1:1") as keevx:
        url = f"http://127.0.0.1:{port}/t.png"
        video = "https://example.com/v.mp4"
        yield keevx, Task(task_id="i2v-1", status="SUCCEEDED", video_url=video, thumbnail_url=url)


async def saved(keevx: Keevx, task: Task, folder: Path) -> bytes | None:
    """Return the thumbnail that was saved; nothing else may be left."""
    await keevx._components().jobs.results._keep_thumbnail(task, folder, is_new=True)
    left = await asyncio.to_thread(lambda: list(folder.glob("*")))
    assert [path.name for path in left] in ([], ["i2v-1.png"])
    return left[0].read_bytes() if left else None


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(PNG), "gzip"),
        (gzip.compress(PNG), "x-gzip"),
        (gzip.compress(PNG[:20]) + gzip.compress(PNG[20:]), "gzip"),
        (zlib.compress(PNG), "deflate"),
        (PNG, "identity"),
        (PNG, None),
    ],
    ids=["gzip", "x-gzip", "two members", "deflate", "identity", "plain"],
)
async def test_it_is_saved_decoded(body: bytes, coding: str | None, tmp_path: Path) -> None:
    async with thumbnail(body, coding) as (keevx, task):
        assert await saved(keevx, task, tmp_path) == PNG


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (PNG, "gzip"),
        (gzip.compress(PNG)[:-9], "gzip"),
        (gzip.compress(PNG), None),
        (gzip.compress(PNG), "br"),
        (gzip.compress(b"<html>please sign in</html>"), "gzip"),
    ],
    ids=["not compressed", "cut", "unnamed coding", "unknown coding", "a page"],
)
async def test_what_is_no_picture_is_not_saved(
    body: bytes, coding: str | None, tmp_path: Path
) -> None:
    async with thumbnail(body, coding) as (keevx, task):
        assert await saved(keevx, task, tmp_path) is None


async def test_its_largest_size_is_that_of_the_decoded_picture(tmp_path: Path) -> None:
    for name, encode, coding in (("plain", bytes, None), ("gzip", gzip.compress, "gzip")):
        async with thumbnail(encode(LARGEST), coding) as (keevx, task):
            assert await saved(keevx, task, tmp_path / name) == LARGEST
        async with thumbnail(encode(LARGEST + b"\0"), coding) as (keevx, task):
            assert await saved(keevx, task, tmp_path / f"larger {name}") is None


@pytest.mark.parametrize("mebibytes", [2, 256])
async def test_a_bomb_is_neither_saved_nor_decoded_whole(mebibytes: int, tmp_path: Path) -> None:
    body = bomb(mebibytes)
    async with thumbnail(body, "gzip") as (keevx, task):
        tracemalloc.start()
        try:
            assert await saved(keevx, task, tmp_path) is None
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * MAX_PICTURE
