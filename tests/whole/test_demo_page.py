"""`keevx demo` ends with a page to look at, as `keevx run` does."""

from pathlib import Path

from tests.support.cli import keevx


async def test_the_demo_writes_the_page_and_names_it_last(tmp_path: Path) -> None:
    ran = await keevx("demo", "--out", "here", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[-1] == "Look at them: here/index.html"
    page = (tmp_path / "here" / "index.html").read_text(encoding="utf-8")
    videos = list((tmp_path / "here").glob("*.mp4"))
    thumbnails = list((tmp_path / "here" / "thumbnails").iterdir())
    assert len(videos) == len(thumbnails) == 20
    assert all(path.name in page for path in [*videos, *thumbnails])
