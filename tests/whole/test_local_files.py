"""Local files are judged by their bytes before anything is sent, as the kind of job takes them."""

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keevx_async import ImageGenerate, UploadError, VideoTranslate
from keevx_async.http.transport import AiohttpTransport
from keevx_async.testing import Emulator
from keevx_async.transfer.images import MAX_UPLOAD, sniff
from keevx_async.transfer.uploads import MIN_UPLOAD_SPEED
from tests.support.cli import keevx, written
from tests.support.client import a_request, keevx_of, speaking
from tests.support.uploads import hosting


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 44) + kind + b"VP8 " + bytes(36)


FTYP = box(b"ftyp", b"isom" + bytes(12))
FILES = {
    "PNG": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(4000)))
    + chunk(b"IEND", b""),
    "JPEG": b"\xff\xd8"
    + b"\xff\xe1\x00\x08\xff\xd8\xff\xd9\x00\x00"  # a thumbnail has an end marker of its own
    + b"\xff\xda\x00\x04\x00\x00"
    + b"scan" * 50
    + b"\xff\xd9",
    "WebP": riff(b"WEBP"),
    "BMP": b"BM" + struct.pack("<I", 100) + bytes(94),
    "GIF": b"GIF89a" + bytes(40) + b";",
    "MP4": FTYP + box(b"mdat", b"film" * 50) + box(b"moov", b"what" * 10),
    "QuickTime": box(b"ftyp", b"qt  " + bytes(8)) + box(b"moov", bytes(8)) + box(b"mdat", b"f" * 9),
    "AVI": riff(b"AVI "),
    "WebM": b"\x1a\x45\xdf\xa3" + bytes(20) + b"webm" + bytes(50),
    "Matroska": b"\x1a\x45\xdf\xa3" + bytes(20) + b"matroska" + bytes(50),
}
FOREIGN = {
    "HEIC": box(b"ftyp", b"heic" + bytes(20)),
    "AVIF": box(b"ftyp", b"avif" + bytes(20)),
    "TIFF": b"II*\0" + bytes(50),
    "MPEG": b"\0\0\1\xba" + bytes(50),
    "SRT": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    "HTML": b"<!DOCTYPE html><title>404</title>",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
}
UNKNOWN = {
    "text": b"text",
    "PostScript": b"%!PS" + bytes(50),
    "cut": b"\x89PN",
    "RIFF": b"RIFF0000WAVE",
}
IMAGES = {"JPEG", "PNG", "WebP"}
TAKES = {
    "image_to_video": IMAGES,
    "image_generate": IMAGES | {"BMP", "GIF"},
    "video_translate": {"MP4", "QuickTime", "AVI", "WebM", "Matroska"},
}
MAKE: dict[str, Callable[[Path], Any]] = {
    "image_to_video": lambda path: a_request(image_url=path),
    "image_generate": lambda path: ImageGenerate(prompt="A kite", reference_images=[path]),
    "video_translate": lambda path: VideoTranslate(target_languages=["English"], video_url=path),
}


@pytest.mark.parametrize("kind", TAKES)
@pytest.mark.parametrize("name", FILES)
async def test_each_kind_takes_its_formats_whatever_a_file_is_called(
    kind: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(FILES[name])
    async with hosting() as (host, keevx):
        fan = await keevx.submit_many([MAKE[kind](path)])
    if name in TAKES[kind]:
        assert host.sent == [FILES[name]]
        return
    assert isinstance(fan.outcomes[0].error, UploadError)
    assert f"picture.jpg is a {name} file (judging by its first bytes) but must be" in str(
        fan.outcomes[0].error
    )
    assert not host.lengths


@pytest.mark.parametrize("name", [*FOREIGN, *UNKNOWN])
async def test_what_no_kind_takes_is_refused_by_its_bytes(
    name: str, emulator: Emulator, tmp_path: Path
) -> None:
    content, path = {**FOREIGN, **UNKNOWN}[name], tmp_path / "picture.jpg"
    path.write_bytes(content)
    said = (
        "is not a JPEG, PNG, WebP, BMP, GIF"
        if name in UNKNOWN
        else rf"is a {name} file \(judging by"
    )
    async with keevx_of(emulator) as keevx:
        for source in (path, content, io.BytesIO(content)):
            with pytest.raises(UploadError, match=said):
                await keevx.upload(source, filename="picture.png")
    assert not emulator.requests


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WebP", "BMP", "MP4", "QuickTime", "AVI"])
def test_a_file_that_was_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    whole, path = FILES[name], tmp_path / "a"
    for size in range(40, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UploadError, match=f"is truncated: the end of the {name} file"):
            sniff(path)
    for more in (b"", b"\0\0", b"more after its end"):
        path.write_bytes(whole + more)
        assert sniff(path).name == name


def test_the_error_for_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    with pytest.raises(UploadError, match=r"a\.png is empty \(0 bytes\)"):
        sniff(path)


@pytest.mark.parametrize(
    "stub",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"\x89PNG\r\n\x1a\n" + b"x" * 60,
        b"\xff\xd8\xff\xe0" + bytes(50),
        b"RIFF\0\0\0\0WEBP",
        FTYP + box(b"moov", b"") + b"\0\0\0\0mdat" + b"to the end",
        FTYP + box(b"moov", b"") + b"\0\0\0\1mdat" + struct.pack(">Q", 20) + b"long",
    ],
)
def test_a_file_whose_structure_shows_no_fault_is_accepted(stub: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(stub)
    sniff(path)


async def test_a_video_of_any_size_is_streamed_from_disk(tmp_path: Path) -> None:
    path, size = tmp_path / "film.mp4", 2 * MAX_UPLOAD
    path.write_bytes(FTYP + box(b"moov", b"") + struct.pack(">I", size) + b"mdat")
    os.truncate(path, len(FTYP) + 8 + size)
    translation = VideoTranslate(target_languages=["English"], video_url=path)
    async with hosting() as (host, keevx):
        host.keeping = False
        tracemalloc.start()
        try:
            await keevx.submit_many([translation])
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [part["Content-Type"] for part in host.parts] == ["video/mp4"]
    assert most < MAX_UPLOAD / 2


async def test_an_upload_is_given_time_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    exchange = AiohttpTransport.exchange

    async def noted(self: AiohttpTransport, call: Any) -> Any:
        given.append(call.allowance)
        return await exchange(self, call)

    monkeypatch.setattr(AiohttpTransport, "exchange", noted)
    async with speaking() as (_, keevx):
        await keevx.upload(FILES["PNG"])
        await keevx.submit(a_request())
    assert given == [len(FILES["PNG"]) / MIN_UPLOAD_SPEED, 0.0]


class Trickle(io.RawIOBase):
    """A pipe: it gives a few bytes at a time, and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        piece, self._data = self._data[:7], self._data[7:]
        return piece


async def test_bytes_and_binary_files_of_any_sort_are_taken(tmp_path: Path) -> None:
    data = FILES["PNG"]
    later = io.BytesIO(b"header" + data)
    later.seek(6)
    async with speaking() as (emulator, keevx):
        for source in (data, bytearray(data), memoryview(data), Trickle(data), later):
            url = await keevx.upload(source)  # type: ignore[arg-type]
            assert emulator.content(url) == data


class Asynchronous:
    async def read(self, size: int = -1) -> bytes:
        return b""


async def test_a_source_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES["PNG"])
    closed, ended = path.open("rb"), path.open("rb")
    closed.close()
    ended.read()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    cases: list[tuple[Any, str]] = [
        *((odd, "a path, bytes or a binary file") for odd in (5, None, ["start.png"])),
        (io.StringIO("text"), "a path, bytes or a binary file"),
        (tmp_path / "missing.png", r"missing\.png: No such file"),
        (tmp_path / "pipe.png", r"pipe\.png: it is not a regular file"),
        (closed, "closed file"),
        (ended, r"no bytes after position \d+: call seek\(0\) on it"),
        (path.open(), "open it with mode 'rb'"),
        (Asynchronous(), "an asynchronous file"),
        (tmp_path / "loop.png", "cannot read .*symbolic links"),
        ("a\0.png", "cannot read .*null"),
        ("~/gone.png", r"call expanduser\(\)"),
        ("https://example.com/a.png", "it is a URL, which does not need an upload"),
        (tmp_path, "not a regular file"),
    ]
    async with speaking() as (emulator, keevx):
        for source, said in cases:
            with pytest.raises(UploadError, match=said):
                await keevx.upload(source)
            if hasattr(source, "close"):
                source.close()
        with pytest.raises(UploadError, match="filename must be a string"):
            await keevx.upload(path, filename=path)  # type: ignore[arg-type]
    assert not emulator.requests


async def test_check_knows_a_local_video_and_the_formats_of_each_kind(tmp_path: Path) -> None:
    for name in ("MP4", "GIF"):
        (tmp_path / name).write_bytes(FILES[name])
    rows: list[dict[str, Any]] = [
        {"kind": "video_translate", "target_languages": ["English"], "video_url": "MP4"},
        {"kind": "image_generate", "prompt": "A kite", "reference_images": ["GIF"]},
        {"kind": "video_translate", "target_languages": ["English"], "video_url": "GIF"},
        {"kind": "image_generate", "prompt": "A kite", "reference_images": ["MP4"]},
    ]
    written(tmp_path / "p.jsonl", rows)
    ran = await keevx("check", "p.jsonl", cwd=tmp_path)
    assert ran.code == 2
    told = [line for line in ran.out.splitlines() if line.startswith("p.jsonl:")]
    assert [line.split(": ")[:2] for line in told] == [
        ["p.jsonl:3", "video_url"],
        ["p.jsonl:4", "reference_images"],
    ]
