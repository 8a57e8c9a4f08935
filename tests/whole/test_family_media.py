"""Results of every kind come home: images, videos with their captions, each whole and once."""

import os
from pathlib import Path

import pytest

from keevx_async import DownloadError, Task
from keevx_async.testing import Emulator, Faults
from keevx_async.transfer.output_paths import result_paths, target_path
from tests.support.client import a_request, keevx_of, speaking
from tests.support.family import a_translation, an_image, one_of_each


async def test_an_image_is_downloaded(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        (task,) = await keevx.generate(an_image())
        path = await keevx.download(task, tmp_path / "images/")
    assert path == tmp_path / "images" / f"{task.task_id}.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size == emulator.video_bytes


async def test_captions_lie_beside_their_video(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        (task,) = await keevx.generate(a_translation(enable_caption=True))
        for destination, name in ((tmp_path, task.task_id), (tmp_path / "film.mp4", "film")):
            path = await keevx.download(task, destination)
            assert path == tmp_path / f"{name}.mp4"
            assert path.read_bytes() == emulator.video(task.task_id)
            assert path.with_suffix(".ass").read_text().startswith("[Script Info]")
        path = await keevx.download(task, tmp_path / "odd.ass")
        assert path.read_bytes() == emulator.video(task.task_id)
        assert (tmp_path / "odd.ass.ass").exists()


async def test_no_captions_of_another_are_replaced(tmp_path: Path) -> None:
    async with speaking() as (_, keevx):
        (task,) = await keevx.generate(a_translation(enable_caption=True))
        other = tmp_path / "film.ass"
        other.write_text("mine")
        with pytest.raises(DownloadError, match=r"film\.ass exists; pass overwrite=True"):
            await keevx.download(task, tmp_path / "film.mp4")
        assert os.listdir(tmp_path) == ["film.ass"], "and no video without its captions"
        await keevx.download(task, tmp_path / "film.mp4", overwrite=True)
        assert other.read_text() != "mine"


async def test_a_fan_out_brings_all_files_the_main_one_first(tmp_path: Path) -> None:
    async with speaking() as (emulator, keevx):
        fan = await keevx.generate_many(one_of_each(), download=tmp_path / "{index}-{task_id}")
        fan.raise_for_errors()
    video, images, dubbed = (outcome.paths for outcome in fan.outcomes)
    assert [one.suffix for one in video] == [".mp4"]
    assert [one.suffix for one in images] == [".png"] * 8
    assert [one.name for one in dubbed] == [
        f"2-{fan.outcomes[2].task_ids[0]}{suffix}" for suffix in (".mp4", ".ass")
    ]
    assert emulator.strikes == {}


@pytest.mark.parametrize("template", ["{index}", "{task_id}"])
async def test_what_is_at_home_is_not_downloaded_again(tmp_path: Path, template: str) -> None:
    videos = tmp_path / "videos"
    async with Emulator(0.02) as emulator:

        async def run() -> list[Path]:
            async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
                requests = [a_translation(enable_caption=True), an_image()]
                fan = await keevx.generate_many(requests, download=videos / template)
                fan.raise_for_errors()
                return [path for outcome in fan.outcomes for path in outcome.paths]

        first = await run()
        downloads = emulator.requests["GET storage"]
        assert await run() == first
        assert emulator.requests["GET storage"] == downloads == 3
        captions = first[1]
        captions.unlink()
        assert await run() == first
        assert captions.exists()
        assert emulator.requests["GET storage"] == downloads + 1, "the video was whole"
        assert sorted(videos.iterdir()) == sorted(first)
        assert set(emulator.creates.values()) == {1}


async def test_no_two_results_share_a_file(tmp_path: Path) -> None:
    (tmp_path / "same.ass").write_text("a stranger's")
    async with speaking() as (_, keevx):
        requests = [a_translation(one, enable_caption=True) for one in ("English", "Chinese")]
        keys = iter(("same of one", "same of another"))
        download = tmp_path / "{key:.4}"
        fan = await keevx.generate_many(requests, download=download, key=lambda _: next(keys))
        fan.raise_for_errors()
        names = {path.name for outcome in fan.outcomes for path in outcome.paths}
    assert names == {"same-2.mp4", "same-2.ass", "same-3.mp4", "same-3.ass"}
    assert (tmp_path / "same.ass").read_text() == "a stranger's"


async def test_expired_captions_are_an_error_and_the_video_is_kept(tmp_path: Path) -> None:
    faults = Faults(expired=lambda url: url.endswith(".ass"))
    async with speaking(faults=faults) as (_, keevx):
        fan = await keevx.generate_many([a_translation(enable_caption=True)], download=tmp_path)
    (outcome,) = fan.outcomes
    assert isinstance(outcome.error, DownloadError)
    assert [one.suffix for one in outcome.paths] == [".mp4"]


def test_a_name_ends_as_its_url_says_or_as_its_kind_does() -> None:
    url = "https://cdn.example/a/b"
    task = Task(task_id="i2is-1", status="SUCCEEDED", image_url=f"{url}.webp?x=1")
    assert target_path(task, "images/") == Path("images/i2is-1.webp")
    bare = Task(task_id="i2is-1", status="SUCCEEDED", image_url=url)
    assert target_path(bare, "images/") == Path("images/i2is-1.png")
    both = Task(task_id="vt-1", status="SUCCEEDED", video_url=url, caption_url=url)
    assert result_paths(both, Path("a.mp4")) == {
        "video_url": Path("a.mp4"),
        "caption_url": Path("a.ass"),
    }


async def test_a_template_names_the_kind_of_a_task_without_a_model(tmp_path: Path) -> None:
    async with speaking() as (_, keevx):
        fan = keevx.generate_many([a_request(), an_image()], download=tmp_path / "{model}/{index}")
        fan = await fan
        fan.raise_for_errors()
    paths = [path.relative_to(tmp_path) for outcome in fan.outcomes for path in outcome.paths]
    assert paths == [Path("V/0.mp4"), Path("image_generate/1.png")]
