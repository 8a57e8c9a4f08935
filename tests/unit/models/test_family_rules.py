"""What image_generate and video_translate take, held against a copy of the page made by hand.

Source: the vendor's skill pages, "image_generate" and "video_translate". Nothing here is taken
from the requests' own rules.
"""

import json
from typing import Any

import pytest
from hypothesis import event, given

from keevx_async import ImageGenerate, InvalidRequest, Task, VideoTranslate
from keevx_async.models.registry import REQUESTS, kind_by_id
from keevx_async.models.request import encode_request
from tests.support.family_rules import KINDS, PAGES, URL, filled
from tests.support.rules import (
    VENDORS_EXAMPLE,
)


@given(filled(bad=True))
def test_exactly_the_fields_that_the_page_does_not_take_are_named_at_once(
    given: tuple[str, dict[str, Any], set[str]],
) -> None:
    kind, fields, wrong = given
    event(f"the page takes it: {not wrong}")
    assert refused_of(kind, fields) == wrong


@pytest.mark.parametrize("kind", KINDS)
def test_each_value_of_each_field_is_judged_as_the_page_does(kind: str) -> None:
    for name, field in PAGES[kind].fields.items():
        for value in field.good:
            assert refused_of(kind, {**PAGES[kind].least, name: value}) == set(), (name, value)
        for value in field.bad:
            assert refused_of(kind, {**PAGES[kind].least, name: value}) == {name}, (name, value)


def refused_of(kind: str, fields: dict[str, Any]) -> set[str]:
    """The names of the fields that are refused."""
    try:
        PAGES[kind].make(**fields)
    except InvalidRequest as refused:
        return {one.field.partition("[")[0] for one in refused.violations}
    return set()


@given(filled(bad=False))
def test_as_data_and_back_it_is_the_same(given: tuple[str, dict[str, Any], set[str]]) -> None:
    kind, fields, _ = given
    request = PAGES[kind].make(**fields)
    data = json.loads(json.dumps(request.to_dict()))
    again = REQUESTS[kind].from_dict(data)
    assert again == request
    assert again.to_dict() == data
    assert again.group == request.group


@given(filled(bad=False))
def test_the_server_reads_what_the_request_says(
    given: tuple[str, dict[str, Any], set[str]],
) -> None:
    """What is left out of a body means to the server what it means here."""
    kind, fields, _ = given
    request = PAGES[kind].make(**fields)
    request = request.with_urls(dict.fromkeys(request.local_files(), URL))
    body = json.loads(encode_request(request))
    for name, field in PAGES[kind].fields.items():
        meant = getattr(request, name)
        if name == "reference_images":
            assert len(body.get(name, ())) == len(meant)
        else:
            assert body.get(name, field.default) == (list(meant) if name in TUPLES else meant)


TUPLES = {"target_languages"}


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_and_missing_fields_are_named(kind: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        REQUESTS[kind].from_dict({"model": "V"})
    named = {one.field: one.rule for one in refused.value.violations}
    assert named == {"model": "unknown", **dict.fromkeys(PAGES[kind].least, "required")}


def test_each_field_has_a_rule_of_its_own() -> None:
    """A field without one would raise KeyError when it is given."""
    assert {"image_to_video", *PAGES} == set(REQUESTS)
    for name, page in PAGES.items():
        assert set(REQUESTS[name].rules) == set(page.fields)


@pytest.mark.parametrize(
    ("task_id", "kind"),
    [("i2v-1", "image_to_video"), ("i2is-1", "image_generate"), ("vt-1", "video_translate")],
)
def test_the_prefix_of_an_id_shows_its_kind(task_id: str, kind: str) -> None:
    found = kind_by_id(task_id)
    assert found is not None
    assert found.name == kind
    assert kind_by_id(f"x{task_id}") is None


def test_each_language_gets_a_request_of_its_own() -> None:
    made = VideoTranslate.for_languages(
        ["English", "Chinese", "English"], video_url=URL, enable_caption=True
    )
    assert [one.target_languages for one in made] == [("English",), ("Chinese",)]
    assert len({encode_request(one) for one in made}) == 2, "their keys would not be apart"
    assert all(one.enable_caption for one in made)
    assert [one.target_languages for one in VideoTranslate.for_languages("English", video_url=URL)]
    assert VideoTranslate.for_languages("English", video_url=URL)[0].target_languages == (
        "English",
    )
    with pytest.raises(InvalidRequest, match="video_url"):
        VideoTranslate.for_languages(["English"], video_url="a.mp4")


def test_the_error_for_several_languages_names_the_helper() -> None:
    with pytest.raises(InvalidRequest, match="for_languages"):
        VideoTranslate(target_languages=["English", "Chinese"], video_url=URL)


IMAGE = Task(task_id="i2is-1", status="SUCCEEDED", image_url=URL)
VIDEO = Task(task_id="i2v-1", status="SUCCEEDED", video_url=URL)


def test_an_earlier_tasks_result_is_a_source() -> None:
    animated = REQUESTS["image_to_video"](
        **{**VENDORS_EXAMPLE, "image_url": IMAGE, "reference_images": [IMAGE], "duration": 8}
    )
    assert animated.to_dict()["image_url"] == URL
    assert animated.to_dict()["reference_images"] == [URL]
    assert ImageGenerate(prompt="a", reference_images=[IMAGE]).reference_images == (URL,)
    assert VideoTranslate(target_languages=["English"], video_url=VIDEO).video_url == URL


@pytest.mark.parametrize(
    "task",
    [
        VIDEO,
        Task(task_id="i2is-2", status="GENERATING"),
        Task(task_id="i2is-3", status="FAILED", image_url=URL),
    ],
)
def test_a_task_without_the_result_is_refused_by_name(task: Task) -> None:
    with pytest.raises(InvalidRequest, match=f"{task.task_id}.* has no such result"):
        ImageGenerate(prompt="a", reference_images=[URL, task])
    with pytest.raises(InvalidRequest) as refused:
        REQUESTS["image_to_video"](**{**VENDORS_EXAMPLE, "image_url": task, "prompt": ""})
    assert [one.field for one in refused.value.violations] == ["prompt", "image_url"]
    with pytest.raises(InvalidRequest, match="video_url"):
        VideoTranslate(target_languages=["English"], video_url=IMAGE)


def test_the_error_for_a_number_in_quotes_says_so() -> None:
    with pytest.raises(InvalidRequest, match="write 0 without quotes"):
        VideoTranslate.from_dict(
            {"target_languages": ["English"], "video_url": URL, "speaker_num": "0"}
        )
