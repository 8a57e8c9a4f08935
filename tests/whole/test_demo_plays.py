"""The first files that a new user opens: each video of `keevx demo` plays."""

from pathlib import Path

from tests.support.cli import keevx
from tests.support.probing import needs_a_probe, play


@needs_a_probe
async def test_all_twenty_videos_of_the_demo_play(tmp_path: Path) -> None:
    ran = await keevx("demo", "--out", "here", cwd=tmp_path)
    assert ran.code == 0, ran.err
    played = [play(path) for path in (tmp_path / "here").glob("*.mp4")]
    assert [(one.width, one.height, one.seconds, one.frames) for one in played] == [
        (1920, 1080, 6.0, 8)
    ] * 20
    titles = {f"A golden retriever running in the grass, take {n}" for n in range(1, 21)}
    assert {one.title for one in played} == titles
