"""In a notebook: small local results play, and the rows that need a person come first."""

import base64
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from keevx_async import Outcome, SubmissionUncertain, Task, WaitTimeout
from keevx_async.models.html import file_link, player, short_code
from keevx_async.models.object_path import ObjectPath
from keevx_async.models.outcomes import MAX_PLAYED, MAX_ROWS, Counts, fan_out_table
from tests.support.client import a_request

TASK_ID = "i2v-d6b6472bcf724d0399e06d1390cb964e"


class Elements(HTMLParser):
    """The elements of some markup, with their attributes and their text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def an_outcome(
    index: int = 0, *paths: Path, error: Exception | None = None, task_id: str = TASK_ID
) -> Outcome:
    request = a_request("A kite")
    task = Task(
        task_id=task_id,
        status="SUCCEEDED",
        video_url="https://cdn.example/v.mp4",
        thumbnail_url="https://cdn.example/t.webp",
    )
    return Outcome(index, request, "", (task_id,), (task,), paths, error)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Path]:
    monkeypatch.chdir(tmp_path)

    def write(name: str, size: int) -> Path:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"v" * size)
        return path

    return write


def test_a_small_local_video_plays_where_it_is_shown(file: Callable[[str, int], Path]) -> None:
    path = file("videos/a kite.mp4", 1000)
    shown = Elements(an_outcome(0, path)._repr_html_())
    (video,) = shown.all("video")
    kind, _, data = (video["src"] or "").partition(";base64,")
    assert kind == "data:video/mp4"
    assert base64.b64decode(data) == path.read_bytes()
    assert "controls" in video
    assert shown.all("img") == [], "no thumbnail beside the video itself"
    assert "./videos/a%20kite.mp4" in [link["href"] for link in shown.all("a")]


def test_a_local_image_is_shown_and_captions_are_only_linked(
    file: Callable[[str, int], Path],
) -> None:
    shown = Elements(an_outcome(0, file("a.png", 10), file("a.ass", 10))._repr_html_())
    (image,) = shown.all("img")
    assert (image["src"] or "").startswith("data:image/png;base64,")
    assert {"./a.png", "./a.ass"} <= {link["href"] for link in shown.all("a")}


def test_what_a_notebook_would_have_to_keep_is_bounded(file: Callable[[str, int], Path]) -> None:
    outcomes = [an_outcome(n, file(f"{n}.mp4", MAX_PLAYED // 3)) for n in range(5)]
    outcomes.append(an_outcome(5, file("large.mp4", MAX_PLAYED + 1)))
    shown = Elements(fan_out_table(Counts(6, ok=6), outcomes))
    assert len(shown.all("video")) == 3
    assert len(shown.all("img")) == 3, "the others have their thumbnails"


@pytest.mark.parametrize("name", ["missing.mp4", "folder.mp4", "nul\0.mp4", "s3.mp4", "empty.mp4"])
def test_what_cannot_be_read_is_left_out(file: Callable[[str, int], Path], name: str) -> None:
    file("empty.mp4", 0)
    Path("folder.mp4").mkdir()
    path = ObjectPath("s3://films/s3.mp4") if name == "s3.mp4" else Path(name)
    assert player(path, MAX_PLAYED) == ""


def test_a_link_to_a_file_is_relative_to_the_working_folder(
    file: Callable[[str, int], Path], tmp_path: Path
) -> None:
    path = file("javascript:alert(1).mp4", 1)
    expected = "./javascript%3Aalert%281%29.mp4"
    for same in (path, tmp_path / path):
        (link,) = Elements(file_link(same)).all("a")
        assert link["href"] == expected
        assert Elements(file_link(same)).all("span")[0]["title"] == str(same)
    for elsewhere in (Path("/elsewhere/a.mp4"), ObjectPath("s3://films/a.mp4")):
        assert Elements(file_link(elsewhere)).all("a") == []
        assert str(elsewhere) in Elements(file_link(elsewhere)).texts


def test_an_id_is_cut_and_its_title_has_the_whole() -> None:
    shown = Elements(short_code(TASK_ID))
    assert shown.all("code")[0]["title"] == TASK_ID
    assert shown.texts == ["i2v-d6b…0cb964e"]
    assert "nowrap" in (shown.all("code")[0]["style"] or "")


def test_failed_and_uncertain_come_first() -> None:
    errors = {
        30: ValueError("bad"),
        31: SubmissionUncertain("r", "key", "dropped"),
        32: WaitTimeout((TASK_ID,)),
        33: ValueError("bad too"),
    }
    outcomes = [an_outcome(n, error=errors.get(n), task_id=f"id-{n}") for n in range(40)]
    shown = Elements(fan_out_table(Counts(40, ok=36, failed=2, uncertain=1), outcomes))
    ids = [each["title"] for each in shown.all("code")]
    assert ids == [f"id-{n}" for n in (30, 33, 31, 32, *range(MAX_ROWS - 4))]
    assert [outcome.index for outcome in outcomes] == list(range(40)), "the list itself stays"


def test_only_counts_above_zero_are_shown() -> None:
    shown = Elements(fan_out_table(Counts(3, failed=2, under_way=1), []))
    texts = "|".join(shown.texts)
    assert "2 failed" in texts
    assert "1 under way" in texts
    assert " ok" not in texts
    assert "uncertain" not in texts
    assert "not begun" in "".join(Elements(fan_out_table(Counts(3), [])).texts)
