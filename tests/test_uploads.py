"""Images up: refused before a byte is sent, each distinct file sent once, none held in memory."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keevx_async import ConfigurationError, Keevx, ServerError, UploadError
from keevx_async.testing import Faults
from tests.test_client import RETRY, a_request, speaking

JPEG, WEBP = b"\xff\xd8\xff\xe0" + bytes(50), b"RIFF\x00\x00\x00\x00WEBP" + bytes(50)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
MB = 2**20


@pytest.mark.asyncio
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


@pytest.mark.asyncio
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


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(50), b"\x89PN", b"RIFF0000WAVE"])
async def test_a_wrong_type_is_told_by_the_bytes_not_the_name(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    async with speaking() as (emulator, keevx):
        for source in (path, content, io.BytesIO(content)):
            with pytest.raises(UploadError, match="no JPEG, PNG or WebP"):
                await keevx.upload(source, filename="picture.png")
        assert not emulator.requests


@pytest.mark.asyncio
@pytest.mark.parametrize("wrong", [5, None, io.StringIO("text"), ["start.png"]])
async def test_what_is_no_source_is_told(wrong: Any) -> None:
    async with speaking() as (emulator, keevx):
        with pytest.raises(UploadError, match="a path, bytes or a binary file"):
            await keevx.upload(wrong)
        assert not emulator.requests


@pytest.mark.asyncio
async def test_a_source_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        with pytest.raises(UploadError, match=r"missing\.png: No such file"):
            await keevx.upload(tmp_path / "missing.png")
        with pytest.raises(UploadError, match="cannot read"):
            await keevx.upload(tmp_path)
        assert not emulator.requests


@pytest.mark.asyncio
async def test_an_upload_is_free_and_sent_again() -> None:
    async with speaking(faults=Faults(upload_errors=1)) as (emulator, keevx):
        url = await keevx.upload(PNG)
        assert emulator.content(url) == PNG
        assert emulator.requests["POST upload"] == 2
        emulator.faults.once = False
        with pytest.raises(ServerError):
            await keevx.upload(PNG)


