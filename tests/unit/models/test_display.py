"""In a notebook: no text gets out of its place, whatever users and Keevx write."""

import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import (
    DownloadError,
    FanOut,
    Outcome,
    Submission,
    SubmissionUncertain,
    Task,
    VideoTranslate,
    WaitTimeout,
)
from keevx_async.models.html import (
    Html,
    code,
    element,
    joined,
    link,
    picture,
    shorten,
    strip_controls,
)
from keevx_async.models.outcomes import MAX_ROWS, Counts
from keevx_async.models.validators import is_url
from tests.support.client import a_request
from tests.support.simulated import simulated

KITE = a_request("A kite", model="S", aspect_resolution="720p", duration=4)
VIDEO, THUMBNAIL = "https://cdn.example/v.mp4?a=1&b=2", "http://cdn.example/t.webp"
HOSTILE = [
    "<script>alert(1)</script>",
    "</code></div></td></table><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' style='position:fixed",
    "&lt;b&gt; &amp;#60; <!-- <![CDATA[ ]]> -->",
    "\x00\x1b[31m\u202egnp.exe\ud800",
    "$5 and $6, \\(x\\)",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=50))
schemes = ["javascript:", "JavaScript:", " javascript:", "data:text/html,", "//", "file:", "https:"]
urls = st.one_of(
    st.builds(str.__add__, st.sampled_from([*schemes, "http://a.example/", ""]), texts),
    st.sampled_from([VIDEO, "java\nscript:alert(1)", "https://a.example/'\"><b>"]),
)


class Element(NamedTuple):
    name: str
    attributes: dict[str, str | None]


class Seen(HTMLParser):
    """What a browser makes of markup: elements, and the text between them."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()
        assert self.open == [], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"neither element nor text: {data!r}")

    def handle_pi(self, data: str) -> None:
        self.handle_comment(data)

    def handle_decl(self, decl: str) -> None:
        self.handle_comment(decl)

    def unknown_decl(self, data: str) -> None:
        self.handle_comment(data)

    @property
    def skeleton(self) -> list[Element]:
        return [
            Element(name, {key: rest[key] for key in rest.keys() - {"href", "src", "title"}})
            for name, rest in self.elements
        ]


def seen(value: Any) -> Seen:
    return Seen(value._repr_html_())


def a_task(task_id: str = "i2v-1", said: str = "", video: str | None = VIDEO) -> Task:
    return Task(
        task_id=task_id,
        status="SUCCEEDED",
        video_url=video,
        thumbnail_url=video and THUMBNAIL,
        error_message=said,
        duration=8.0,
        width=720,
        height=1280,
    )


def every_view(text: str, url: str | None) -> list[Any]:
    """Each value that a notebook shows, with text in every place that a text has."""
    task, bare = a_task(text, text, url), Task(task_id=text, status=text, thumbnail_url=url)
    request = a_request()
    object.__setattr__(request, "prompt", text)  # more than the rules let through
    object.__setattr__(request, "model", text)
    error = SubmissionUncertain(request, text, text)
    outcome = Outcome(0, request, text, (text, "i2v-2"), (task,), (Path("a" + text),), error)
    return [task, bare, Submission(request, text, (text,)), outcome]


@given(texts)
def test_no_text_changes_what_elements_there_are(text: str) -> None:
    plain = every_view("x", None)
    for shown, expected in zip(every_view(f"x{text}", None), plain, strict=True):
        assert seen(shown).skeleton == seen(expected).skeleton


@given(texts, urls)
def test_only_a_web_address_or_a_relative_path_is_linked_and_it_comes_through_whole(
    text: str, url: str
) -> None:
    for shown in every_view(text, url):
        for name, rest in seen(shown).elements:
            assert rest.keys() <= {
                "class", "style", "href", "target", "rel", "src", "alt", "loading", "title",
                "referrerpolicy",
            }  # fmt: skip
            assert rest.get("style") is None or text not in {rest["style"]}
            target = rest.get("href") or rest.get("src")
            assert (target is not None) == (name in {"a", "img"})
            if target is not None and target.startswith("./a"):
                assert re.fullmatch(r"\./a[A-Za-z0-9%/._~-]*", target)
            else:
                assert target is None or (target in {url, THUMBNAIL} and is_url(target))


@given(texts)
def test_a_text_reads_as_it_was_written(text: str) -> None:
    assert Seen(code(text)).text == strip_controls(text)
    assert strip_controls(text).isprintable()
    if text.isprintable():
        assert strip_controls(text) == text
    assert Seen(element("p", {"title": text})).elements[0].attributes == {
        "title": strip_controls(text)
    }


@given(texts, st.integers(1, 60))
def test_brief_is_one_line_of_at_most_so_many_letters(text: str, most: int) -> None:
    assert len(shorten(text, most)) <= most
    assert shorten(text, most).isprintable()


@given(st.lists(texts), texts)
def test_joined_escapes_whatever_is_not_markup(pieces: list[str], between: str) -> None:
    assert isinstance(joined(between, pieces), Html)
    expected = strip_controls(between).join(strip_controls(one) for one in pieces if one)
    assert Seen(joined(between, pieces)).text == expected
    assert joined("", [Html("<b></b>")]) == "<b></b>"


@pytest.mark.parametrize("url", [None, "", "javascript:alert(1)", "data:image/png;base64,x", "/x"])
def test_whatever_is_not_a_web_address_is_left_out(url: str | None) -> None:
    assert link(url, "video") == ""
    assert picture(url, 72) == ""


@pytest.mark.parametrize("index", range(4))
@given(texts)
def test_the_plain_repr_is_one_short_line(index: int, text: str) -> None:
    shown = repr(every_view(text, VIDEO)[index])
    assert shown.isprintable()
    assert shown.startswith("<")
    assert len(shown) < 300


def test_plain_reprs_say_what_matters() -> None:
    failed = Task(task_id="i2v-2", status="FAILED", error_message="blurred\nimage")
    submission = Submission(KITE, "key", ("i2v-1", "i2v-2"))
    assert repr(a_task()) == "<Task i2v-1 SUCCEEDED 8 s 720x1280>"
    assert repr(failed) == "<Task i2v-2 FAILED: blurred image>"
    assert repr(submission) == "<Submission i2v-1, i2v-2 of 'A kite'>"
    assert repr(Outcome(3, KITE, "", ("i2v-1",))) == "<Outcome 3 ok: i2v-1>"
    assert repr(Outcome(3, 7, error=ValueError("no"))) == "<Outcome 3 failed: no ids: no>"  # type: ignore[type-var]  # as users do
    paths = (Path("videos/1.mp4"),)
    brought = Outcome(0, KITE, "", ("i2v-1",), (), paths)
    assert repr(brought) == "<Outcome 0 ok: i2v-1 in videos/1.mp4>"
    late = Outcome(0, KITE, "", ("i2v-1",), error=WaitTimeout(("i2v-1",)))
    assert repr(late).startswith("<Outcome 0 unfinished: i2v-1: ")


def test_what_was_made_and_goes_on_is_not_counted_as_failed() -> None:
    """Whoever reads "failed" makes, and pays, it again."""
    counts = Counts(total=2, under_way=2)
    for error in (WaitTimeout(("i2v-1",)), DownloadError("cut short")):
        counts.add(Outcome(0, KITE, "", ("i2v-1",), error=error))
    assert str(counts) == "0 ok, 2 unfinished"
    assert counts.ended == 2


def test_a_task_s_card_links_its_thumbnail_to_the_video() -> None:
    card = seen(a_task())
    names = [one.name for one in card.elements]
    at = names.index("img")
    assert names[at - 1] == "a"
    assert card.elements[at - 1].attributes["href"] == VIDEO
    assert card.elements[at].attributes["src"] == THUMBNAIL
    for word in ("SUCCEEDED", "i2v-1", "8 s", "720x1280"):
        assert word in card.text


def test_a_failed_task_s_card_says_why() -> None:
    failed = Task(task_id="i2v-2", status="FAILED", error_message="blurred <image>")
    assert "blurred <image>" in seen(failed).text


def test_no_formula_is_read_out_of_a_prompt() -> None:
    for shown in every_view("$5 and $6", None):
        assert "mathjax_ignore" in (seen(shown).elements[0].attributes["class"] or "")


def test_a_translation_is_known_by_its_language_and_name_or_video() -> None:
    url = "https://example.com/a.mp4"
    for name, shown in ((None, url), ("the <film>", "the <film>")):
        request = VideoTranslate(target_languages=("Thai",), video_url=url, name=name)
        submission = Submission(request, "key", ("vt-1",))
        assert repr(submission) == f"<Submission vt-1 of 'Thai: {shown}'>"
        assert f"Thai: {escape(shown)}" in submission._repr_html_()
        assert f"Thai: {escape(shown)}" in Outcome(0, request)._repr_html_()


def test_a_submission_s_card_has_prompt_model_and_ids() -> None:
    text = seen(Submission(KITE, "key", ("i2v-1", "i2v-2"))).text
    for word in ("A kite", "model S", "i2v-1", "i2v-2"):
        assert word in text


def test_an_outcome_is_a_row() -> None:
    paths = (Path("videos/i2v-1.mp4"),)
    row = seen(Outcome(4, KITE, "", ("i2v-1", "i2v-2"), (a_task(),), paths))
    assert [one.name for one in row.elements].count("tr") == 2  # with the head
    for word in ("4", "ok", "A kite", "i2v-1", "i2v-2", "videos/i2v-1.mp4"):
        assert word in row.text


async def ended(count: int) -> FanOut:
    async def work(outcome: Outcome, guard: object) -> None:
        outcome.task_ids = (f"i2v-{outcome.index}",)
        if outcome.index % 10 == 1:
            raise ValueError("bad")
        if outcome.index % 10 == 2:
            raise SubmissionUncertain(outcome.request, "key", "dropped")

    requests = [KITE] * count
    return await FanOut(requests, lambda: work, concurrency=4, grace=1.0)


@simulated
async def test_a_fan_out_is_a_table_of_some_outcomes_with_counts() -> None:
    shown = seen(await ended(1_000))
    assert [one.name for one in shown.elements].count("tr") == 1 + MAX_ROWS
    for words in ("800 ok", "100 failed", "100 uncertain", "of 1,000", "Showing 20"):
        assert words in shown.text
    assert "under way" not in shown.text


@simulated
async def test_a_small_fan_out_is_shown_whole() -> None:
    shown = seen(await ended(3))
    assert [one.name for one in shown.elements].count("tr") == 1 + 3
    assert "Showing" not in shown.text


@simulated
async def test_what_was_handed_out_is_counted_too() -> None:
    async def work(outcome: Outcome, guard: object) -> None: ...

    fan = FanOut(iter([KITE] * 30), lambda: work, concurrency=4, grace=1.0)
    assert [one.index async for one in fan] == list(range(30))
    shown = seen(fan)
    assert "30 ok" in shown.text
    assert "30 were yielded" in shown.text
    assert not re.search(r"\bof \d", shown.text), "an iterator does not say how long it is"
    assert "table" not in [one.name for one in shown.elements]
