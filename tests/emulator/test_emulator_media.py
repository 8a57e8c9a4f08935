"""The Emulator's files open in a player or a viewer, and are what was asked for."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from keevx_async.testing.contents import captions
from tests.support.emulator import Caller, calling
from tests.support.probing import FFPROBE, Played, by_ffprobe, needs_a_probe, play

SIDES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}


# Each resolution with each size, and each of both in both ratios.
FILMS = [
    (resolution, ["16:9", "9:16"][(row + column) % 2], size)
    for row, resolution in enumerate(SIDES)
    for column, size in enumerate([0, 20_000, 200_000])
]


async def file_of(caller: Caller, tmp_path: Path, field: str = "video_url", **ways: Any) -> Path:
    (task_id,) = await caller.create(**ways)
    ended = await caller.ended(task_id)
    path = tmp_path / f"{task_id}{Path(ended[field]).suffix}"
    async with caller.session.get(ended[field]) as response:
        path.write_bytes(await response.read())
    return path


@needs_a_probe
@pytest.mark.parametrize(("resolution", "ratio", "size"), FILMS)
async def test_a_video_plays_as_asked_for(
    tmp_path: Path, resolution: str, ratio: str, size: int
) -> None:
    async with calling(0, video_bytes=size) as caller:
        for seconds, sound in ((4, False), (6, True), (8, False)):
            path = await file_of(
                caller,
                tmp_path,
                prompt="läuft",
                aspect_ratio=ratio,
                aspect_resolution=resolution,
                duration=seconds,
                generate_audio=sound,
            )
            width, height = SIDES[resolution][:: 1 if ratio == "16:9" else -1]
            expected = Played(width, height, seconds, 8, sound, "läuft")
            assert play(path) == expected
            if FFPROBE:
                assert by_ffprobe(path) == expected
            if size >= 20_000:
                assert path.stat().st_size == size


async def test_each_task_has_a_file_of_its_own(tmp_path: Path) -> None:
    for size in (0, 20_000):
        async with calling(0, video_bytes=size) as caller:
            first, second = [await file_of(caller, tmp_path) for _ in range(2)]
            assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize(
    ("ratio", "quality", "expected"),
    [
        ("9:16", "2K", (1152, 2048)),
        ("1:1", "1K", (1024, 1024)),
        ("21:9", "4K", (4096, 1755)),
        ("3:2", "1K", (1024, 682)),
    ],
)
async def test_a_still_opens_in_the_ratio_asked_for(
    tmp_path: Path, ratio: str, quality: str, expected: tuple[int, int]
) -> None:
    image = pytest.importorskip("PIL.Image")
    async with calling(0, video_bytes=30_000) as caller:
        url = f"{caller.emulator.url}/v1/image_generate"
        body = {"prompt": "a dog", "image_ratio": ratio, "image_quality": quality}
        async with caller.session.post(url, json=body) as response:
            (task_id,) = (await response.json())["data"]["task_ids"]
        ended = caller.emulator.result(caller.emulator.tasks[task_id])
        for field, kind, size in (
            ("image_url", "PNG", expected),
            ("thumbnail_url", "WEBP", (320, 180)),
        ):
            async with caller.session.get(ended[field]) as response:
                content = await response.read()
            with image.open(io.BytesIO(content)) as still:
                still.load()  # decodes it whole
                assert (still.format, still.size) == (kind, size)


@needs_a_probe
async def test_captions_parse(tmp_path: Path) -> None:
    async with calling(0) as caller:
        (task_id,) = await caller.create()
        content = captions(caller.emulator.tasks[task_id], 0)
    text = b"".join(content.read(0, content.size)).decode()
    assert re.search(r"^Dialogue: 0,0:00:00.00,0:00:04.00,Default,keevx emulator$", text, re.M)
    path = tmp_path / "caption_0.ass"
    path.write_text(text)
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux() if packet.size]
    assert [bytes(packet).rpartition(b",")[2] for packet in packets] == [b"keevx emulator"]
