"""What each model takes, held against a copy of the vendor's page made by hand.

Source: docs.keevx.com, "Create Image to Video Task", "Detailed Model Parameter Rules" and the
body's fields; KL's seven references: the China edition. Nothing here is taken from MODELS.
"""

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from keevx_async import MODELS, ImageToVideo, InvalidRequest, ModelRules
from tests.support.rules import (
    BAD_PROMPTS,
    BAD_URLS,
    GOOD_PROMPTS,
    GOOD_URLS,
    PAGES,
    PATHS,
    image,
    is_accepted,
    taken,
)


def is_taken(fields: dict[str, Any]) -> bool:
    """Whether the vendor's page takes a request with these fields, by our copy of it."""
    page = PAGES.get(fields["model"]) if type(fields["model"]) is str else None
    start, end = fields.get("image_url"), fields.get("end_image_url")
    references = fields.get("reference_images", [])
    count = fields.get("generate_count", 1)
    audio = fields.get("generate_audio", False)
    callback = fields.get("callback_url")
    if page is None or not isinstance(references, list):
        return False
    durations = page.with_start_frame if start is not None else page.references_alone
    return all(
        [
            any(fields["prompt"] is one for one in GOOD_PROMPTS),
            fields["aspect_ratio"] in ("16:9", "9:16"),
            fields["aspect_resolution"] in page.resolutions,
            is_whole(fields["duration"]) and fields["duration"] in durations,
            start is not None or references,
            not (references and not page.most_references),
            len(references) <= page.most_references,
            all(is_image(one) for one in references),
            start is None or (is_image(start) and bool(page.with_start_frame)),
            end is None or (is_image(end) and page.end_frame and start is not None),
            type(audio) is bool and (page.audio or not audio),
            is_whole(count) and count in (1, 2, 3, 4),
            callback is None or any(callback is one for one in GOOD_URLS),
        ]
    )


def is_whole(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def is_image(value: object) -> bool:
    return any(value is one for one in [*GOOD_URLS, *PATHS])


IMAGES = [None, *GOOD_URLS, *PATHS, *BAD_URLS]
VALUES: dict[str, list[Any]] = {
    "model": ["V", "KL", "S", "v", "", "X", None, 1, ["V"]],
    "prompt": [*GOOD_PROMPTS, *BAD_PROMPTS],
    "aspect_ratio": ["16:9", "9:16", "1:1", "16:9 ", "", None, 16],
    "aspect_resolution": ["720p", "1080p", "4k", "4K", "480p", None, 720],
    "duration": [4, 5, 6, 8, 10, 12, 0, -4, 7, True, "6", 4.0, 5.0, 6.0, 8.0, None],
    "image_url": IMAGES,
    "end_image_url": IMAGES,
    "reference_images": [None, "https://example.com/a.jpg", {}, 3, [], *([one] for one in IMAGES)],
    "generate_audio": [True, False, 0, 1, "true", None],
    "generate_count": [1, 2, 3, 4, 0, 5, -1, True, False, "1", 1.0, 2.0, None],
    "callback_url": IMAGES,
}
ANYTHING: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.sampled_from(values) for name, values in VALUES.items()},
    "reference_images": st.lists(image | st.sampled_from(BAD_URLS), max_size=8)
    | st.lists(image, max_size=8)
    | st.sampled_from(VALUES["reference_images"]),
}


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """Fields that the page takes, some of them then replaced by anything."""
    fields = draw(taken())
    for name in draw(st.lists(st.sampled_from(sorted(ANYTHING)), max_size=3, unique=True)):
        fields[name] = draw(ANYTHING[name])
    return fields


@given(taken())
def test_what_the_page_takes_is_accepted(fields: dict[str, Any]) -> None:
    assert is_taken(fields), "the test's own table is at odds with itself"
    ImageToVideo(**fields)


@given(changed())
def test_exactly_what_the_page_takes_is_accepted(fields: dict[str, Any]) -> None:
    expected = is_taken(fields)
    event(f"the page takes it: {expected}")
    assert is_accepted(fields) is expected


@given(st.fixed_dictionaries(ANYTHING))
def test_any_mixture_is_accepted_only_if_the_page_takes_it(fields: dict[str, Any]) -> None:
    assert is_accepted(fields) is is_taken(fields)


LEAST = {
    "V": {"duration": 4, "image_url": GOOD_URLS[0]},
    "V of references": {"model": "V", "duration": 8, "reference_images": [GOOD_URLS[0]]},
    "KL": {"duration": 5, "reference_images": [GOOD_URLS[0]]},
    "S": {"duration": 4, "image_url": GOOD_URLS[0]},
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("least", LEAST)
def test_each_value_of_each_field_is_judged_as_the_page_does(least: str, name: str) -> None:
    common = {"prompt": GOOD_PROMPTS[0], "aspect_ratio": "16:9", "aspect_resolution": "720p"}
    sound = {"model": least, **common, **LEAST[least]}
    assert is_taken(sound)
    for value in VALUES[name]:
        fields = {**sound, name: value}
        assert is_accepted(fields) is is_taken(fields), f"{name}={value!r}"


@pytest.mark.parametrize("model", sorted(PAGES))
def test_every_corner_of_the_table_is_held(model: str) -> None:
    """All combinations of what the page names, one good value each elsewhere."""
    url = GOOD_URLS[0]
    corners = itertools.product(
        ["720p", "1080p", "4k"],
        [4, 5, 6, 8, 10, 12],
        [None, url],
        [None, url],
        [0, 1, 3, 4, 7, 8],
        [False, True],
    )
    for resolution, duration, start, end, references, audio in corners:
        fields = {
            "model": model,
            "prompt": "a",
            "aspect_ratio": "9:16",
            "aspect_resolution": resolution,
            "duration": duration,
            "image_url": start,
            "end_image_url": end,
            "reference_images": [url] * references,
            "generate_audio": audio,
        }
        assert is_accepted(fields) is is_taken(fields), fields


def test_a_model_the_vendor_ships_tomorrow_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ModelRules(
        resolutions=("480p",),
        durations=(3,),
        start_frame="unused",
        max_references=1,
        aspect_ratios=("1:1",),
        max_prompt=10,
        max_count=9,
    )
    fields: dict[str, Any] = {
        "model": "F",
        "prompt": "ten chars.",
        "aspect_ratio": "1:1",
        "aspect_resolution": "480p",
        "duration": 3,
        "reference_images": [GOOD_URLS[0]],
        "generate_count": 9,
    }
    assert not is_accepted(fields)
    monkeypatch.setitem(MODELS, "F", fast)
    assert is_accepted(fields)
    for name, value in {
        "prompt": "eleven char",
        "aspect_ratio": "16:9",
        "aspect_resolution": "720p",
        "duration": 4,
        "reference_images": [GOOD_URLS[0]] * 2,
        "image_url": GOOD_URLS[0],
        "generate_audio": True,
        "generate_count": 10,
    }.items():
        with pytest.raises(InvalidRequest) as refused:
            ImageToVideo(**{**fields, name: value})
        assert [one.field for one in refused.value.violations] == [name]


def test_a_row_without_references_needs_its_start_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ModelRules(resolutions=("720p",), durations=(4,))
    monkeypatch.setitem(MODELS, "F", row)
    fields = {
        "model": "F",
        "prompt": "a",
        "aspect_ratio": "16:9",
        "aspect_resolution": "720p",
        "duration": 4,
    }
    assert is_accepted({**fields, "image_url": GOOD_URLS[0]})
    assert not is_accepted(fields)


def test_a_row_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        MODELS["V"].audio = False  # type: ignore[misc]
