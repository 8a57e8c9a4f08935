"""Local images on their way: warned of, made to fit, known by their bytes."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from keevx_async import ConfigurationError, Journal, JournalError, UploadError
from keevx_async.events import Warned
from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.client import a_request, keevx_of
from tests.support.pictures import fifty

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("pillow_heif")


def saved(path: Path, size: tuple[int, int] = (1600, 1200), colour: str = "teal") -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def sent(emulator: Emulator, url: str) -> Any:
    content = emulator.content(url)
    assert content is not None
    return Image.open(io.BytesIO(content))


async def test_frames_are_sent_in_the_ratio_and_references_are_not_cropped(tmp_path: Path) -> None:
    path, other = saved(tmp_path / "a.png"), saved(tmp_path / "b.png", (1500, 1500))
    before = path.read_bytes()
    journal = tmp_path / "run.db"
    async with Emulator() as emulator, keevx_of(emulator, fit="crop", journal=journal) as client:
        request = a_request(image_url=path, end_image_url=path, reference_images=[other])
        (task_id,) = (await client.submit(request, key="k")).task_ids
        await client.submit(a_request("again", image_url=path))
        body = emulator.tasks[task_id].body
        assert sent(emulator, body["image_url"]).size == (1600, 900)
        assert body["end_image_url"] == body["image_url"]
        assert sent(emulator, body["reference_images"][0]).size == (1500, 1500)
        assert len(emulator.uploads) == 2
        digest = emulator.uploads[body["image_url"]].digest
    assert path.read_bytes() == before
    async with Journal(journal) as opened:
        # The journal names what was sent instead of the file, which is on disk no more.
        assert json.loads(await opened.get_note("sent/k") or "") == {str(path): digest}


async def test_a_request_is_known_by_the_bytes_of_its_files(tmp_path: Path) -> None:
    path, journal = saved(tmp_path / "a.png"), tmp_path / "run.db"
    async with Emulator() as emulator:
        async with keevx_of(emulator, journal=journal) as client:
            first = await client.submit(a_request(image_url=path))
        # Moved, and made to fit: still the same request.
        moved = tmp_path / "b.png"
        shutil.move(path, moved)
        async with keevx_of(emulator, journal=journal, fit="crop") as client:
            again = await client.submit(a_request(image_url=moved))
        assert (again.key, again.task_ids) == (first.key, first.task_ids)
        # Another image under the old name: another request.
        saved(moved, colour="red")
        async with keevx_of(emulator, journal=journal) as client:
            other = await client.submit(a_request(image_url=moved))
            assert other.key != first.key
            with pytest.raises(JournalError, match="belongs to another request"):
                await client.submit(a_request(image_url=moved), key=first.key)
        assert emulator.creates.total() == 2


async def test_a_heic_is_refused_unless_it_is_made_to_fit(tmp_path: Path) -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (1920, 1080)).save(path, "HEIF")
    async with Emulator() as emulator:
        async with keevx_of(emulator) as client:
            with pytest.raises(UploadError, match=r'HEIC.*fit="crop"'):
                await client.submit(a_request(image_url=path))
        assert not emulator.creates
        async with keevx_of(emulator, fit="pad") as client:
            (task_id,) = (await client.submit(a_request(image_url=path))).task_ids
        upload = emulator.uploads[emulator.tasks[task_id].body["image_url"]]
        assert (upload.name, upload.content_type) == ("phone.jpg", "image/jpeg")


async def test_a_create_is_warned_of_before_it_is_sent(tmp_path: Path) -> None:
    events: list[Any] = []
    path = saved(tmp_path / "a.png")
    async with Emulator() as emulator:
        for fit in ("none", "crop"):
            async with keevx_of(emulator, fit=fit, on_event=events.append) as client:
                await client.submit(a_request('Speak "hi"', image_url=path), key=fit)
    warned = [event for event in events if isinstance(event, Warned)]
    assert [(event.key, [each.rule for each in event.warnings]) for event in warned] == [
        ("none", ["ratio", "small", "narration"]),
        ("crop", ["small", "narration"]),
    ]
    assert events.index(warned[0]) == 0


async def test_with_options_says_how_the_images_of_one_request_fit(tmp_path: Path) -> None:
    path, sizes = saved(tmp_path / "a.png"), dict[str, tuple[int, int]]()
    async with (
        Emulator() as emulator,
        keevx_of(emulator, fit="crop", journal=tmp_path / "run.db") as client,
    ):
        for fit in ("crop", "pad", "none"):
            other = client if fit == "crop" else client.with_options(fit=fit)
            (task_id,) = (await other.submit(a_request(fit, image_url=path), key=fit)).task_ids
            sizes[fit] = sent(emulator, emulator.tasks[task_id].body["image_url"]).size
        # It makes no other request of it.
        again = await client.submit(a_request("none", image_url=path), key="none")
        assert again.reused
        assert emulator.creates.total() == 3
        with pytest.raises(ConfigurationError, match="fit must be one of none, crop, pad"):
            client.with_options(fit="stretch")  # type: ignore[arg-type]
    assert sizes == {"crop": (1600, 900), "pad": (2133, 1200), "none": (1600, 1200)}


def rows(tmp_path: Path) -> Path:
    saved(tmp_path / "a.png")
    saved(tmp_path / "b.png")
    ways = {"model": "V", "aspect_ratio": "16:9", "aspect_resolution": "720p", "duration": 6}
    names = ("a.png", "https://example.com/fine.png", "b.png")
    return written(tmp_path / "p.jsonl", [{"prompt": n, "image_url": n} | ways for n in names])


async def test_check_lists_warnings_grouped_and_strict_refuses_them(tmp_path: Path) -> None:
    file = rows(tmp_path)
    ran = await keevx("check", file, cwd=tmp_path)
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if line.startswith("warning: ")]
    assert line.startswith(
        f"warning: {file}:1: image_url: {tmp_path / 'a.png'} is 1600 x 1200 (4:3)"
    )
    assert line.endswith(" (also on line 3)")
    assert (await keevx("check", file, "--strict", cwd=tmp_path)).code == 2
    ran = await keevx("check", file, "--strict", "--fit", "crop", cwd=tmp_path)
    assert (ran.code, ran.out.count("warning: ")) == (0, 0)
    ran = await keevx("check", file, "--json", cwd=tmp_path)
    warning, plan = map(json.loads, ran.out.splitlines())
    assert (warning["event"], warning["line"], warning["more_lines"]) == ("warning", 1, [3])
    assert plan["event"] == "plan"


async def test_run_warns_and_makes_fit(tmp_path: Path) -> None:
    file, out = rows(tmp_path), tmp_path / "out"
    async with Emulator(seconds=0.02) as emulator:
        ran = await keevx("run", file, "--out", out, "--strict", cwd=tmp_path, **at(emulator))
        assert (ran.code, emulator.creates.total()) == (2, 0)
        assert "nothing was sent" in ran.err
        ran = await keevx(
            "run", file, "--out", out, "--strict", "--fit", "crop", cwd=tmp_path, **at(emulator)
        )
        assert ran.code == 0, ran.err
        local = [
            task.body["image_url"] for task in emulator.tasks.values() if task.prompt[1] == "."
        ]
        assert {sent(emulator, url).size for url in local} == {(1600, 900)}


@pytest.mark.slow
async def test_fifty_images_of_every_kind_of_trouble(tmp_path: Path) -> None:
    ways = {"model": "V", "aspect_ratio": "16:9", "aspect_resolution": "1080p", "duration": 6}
    file = written(tmp_path / "p.jsonl", [ways | row for row in fifty(tmp_path)])
    ran = await keevx("check", file, cwd=tmp_path)
    assert ran.code == 2
    named = [line.removeprefix("warning: ").split(":")[1:3] for line in ran.out.splitlines()]
    assert [line for line, _ in named] == ["2", "3", "7", "8", "1", "4", "4", "5", "5", "5", "6"]
    async with Emulator(seconds=0.02) as emulator:
        out = ("--out", tmp_path / "out", "--fit", "crop")
        ran = await keevx("run", file, *out, cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        frames = [
            sent(emulator, task.body[name])
            for task in emulator.tasks.values()
            for name in ("image_url", "end_image_url")
            if name in task.body
        ]
    assert len(frames) == 50
    assert {round(frame.width / frame.height, 2) for frame in frames} == {1.78}
    assert {frame.format for frame in frames} == {"JPEG", "PNG"}
    assert all(upload.size <= 20 * 2**20 for upload in emulator.uploads.values())
