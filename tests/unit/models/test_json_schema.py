"""JSON Schema of requests: it accepts exactly what from_dict does, as far as it can tell."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from keevx_async import MODELS, ImageGenerate, ImageToVideo, InvalidRequest, VideoTranslate
from keevx_async.models import AspectRatio, Model, Resolution
from keevx_async.models.request import Request
from keevx_async.models.rules import ASPECT_RATIOS, IMAGE_VALUES, ModelRules
from tests.support.rules import BAD_URLS, GOOD_URLS

URL = "https://example.com/a.png"


def beyond_schema(url: str) -> bool:
    """Whether a URL is one that a pattern cannot refuse, or a path, which from_dict takes."""
    return url.startswith("file:") or not url.rstrip("\n").isprintable()


URLS = st.sampled_from(
    [
        URL,
        "HTTP://example.com",
        "https://user@example.com:65535/a?b#c",
        "http://[::1]:8080/a",
        "https://example.com:65536/",
        "https://example.com:99999/",
        "https://example.com:070000/",
        "https://a,https://b",
        "https://a;HTTP://b/c",
        "https://a/b,c;d",
        *GOOD_URLS,
        *(each for each in BAD_URLS if isinstance(each, str) and not beyond_schema(each)),
    ]
)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, 2.5, 4.0, -1, "", " ", "x", "6", "\n", [], {}, [None], ["", "x"]]
)
TEXTS = st.sampled_from(["a", " a ", "\u3000", "\t\n", "é" * 1000, "x" * 1000, "x" * 1001, ""])


def fields_of(bases: list[dict[str, Any]], pools: Mapping[str, Any]) -> Any:
    """Valid objects in which up to three fields are changed, and perhaps one is missing."""

    def changes(names: list[str]) -> Any:
        return st.fixed_dictionaries({name: pools[name] | ODD for name in names})

    def changed(base: dict[str, Any], change: dict[str, Any], drop: str | None) -> dict[str, Any]:
        return {name: value for name, value in {**base, **change}.items() if name != drop}

    names = st.lists(st.sampled_from([*pools]), max_size=3, unique=True)
    drops = st.sampled_from([None] * 5 + [*pools])
    return st.builds(changed, st.sampled_from(bases), names.flatmap(changes), drops)


COUNTS = st.sampled_from([1, 2, 4, 5, 8, 9, 0, 3.0])
IMAGES = st.lists(URLS, max_size=8) | st.lists(st.just(URL), max_size=8)
SHAPE = {"prompt": "a dog", "aspect_ratio": "16:9", "aspect_resolution": "720p"}
VIDEO = fields_of(
    [
        {**SHAPE, "model": "V", "duration": 6, "image_url": URL},
        {**SHAPE, "model": "V", "duration": 8, "reference_images": [URL]},
        {**SHAPE, "model": "V", "duration": 4, "image_url": URL, "end_image_url": URL},
        {**SHAPE, "model": "KL", "duration": 5, "reference_images": [URL] * 7},
        {**SHAPE, "model": "S", "duration": 12, "image_url": URL, "generate_count": 4},
    ],
    {
        "model": st.sampled_from(["V", "KL", "S", "v"]),
        "prompt": TEXTS | st.just("a dog"),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
        "aspect_resolution": st.sampled_from(["720p", "720p", "1080p", "4k", "8k"]),
        "duration": st.sampled_from([4, 5, 6, 8, 8, 10, 12, 7]),
        "image_url": st.just(URL) | URLS,
        "end_image_url": st.just(URL) | URLS,
        "reference_images": IMAGES,
        "generate_audio": st.booleans(),
        "generate_count": COUNTS,
        "callback_url": URLS,
        "unknown": ODD,
    },
)
IMAGE = fields_of(
    [{"prompt": "a dog"}, {"prompt": "a dog", "reference_images": [URL] * 5, "module": "pro"}],
    {
        "prompt": TEXTS,
        "reference_images": IMAGES,
        "module": st.sampled_from(["std", "pro", "max"]),
        "generate_count": COUNTS,
        "image_quality": st.sampled_from(["1K", "2K", "4K", "8K"]),
        "image_ratio": st.sampled_from([*IMAGE_VALUES["image_ratio"], "2:1"]),
        "callback_url": URLS,
        "unknown": ODD,
    },
)
TRANSLATION = fields_of(
    [{"target_languages": ["English"], "video_url": URL}],
    {
        "target_languages": st.lists(TEXTS, max_size=2),
        "video_url": URLS,
        "speaker_num": COUNTS | st.just(-1),
        "translate_audio_only": st.booleans(),
        "enable_dynamic_duration": st.booleans(),
        "enable_caption": st.booleans(),
        "name": TEXTS,
        "callback_url": URLS,
        "unknown": ODD,
    },
)


def agree(kind: type[Request], data: dict[str, Any]) -> None:
    """Both accept, or both refuse."""
    errors = list(Draft202012Validator(kind.json_schema()).iter_errors(data))
    try:
        kind.from_dict(data)
        refusal = None
    except InvalidRequest as error:
        refusal = error
    assert bool(errors) == bool(refusal), (errors, refusal)


@settings(max_examples=400)
@given(VIDEO)
def test_image_to_video(data: dict[str, Any]) -> None:
    agree(ImageToVideo, data)


@given(IMAGE)
def test_image_generate(data: dict[str, Any]) -> None:
    agree(ImageGenerate, data)


@given(TRANSLATION)
def test_video_translate(data: dict[str, Any]) -> None:
    agree(VideoTranslate, data)


@pytest.mark.parametrize("kind", [ImageToVideo, ImageGenerate, VideoTranslate])
def test_each_schema_is_one_and_describes_every_field(kind: type[Request]) -> None:
    schema = kind.json_schema()
    Draft202012Validator.check_schema(schema)
    assert all(each.get("description") for each in schema["properties"].values())
    assert schema["title"] == kind.__name__


def test_a_row_that_a_user_adds_is_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ModelRules(resolutions=("8k",), durations=(3,), start_frame="required")
    monkeypatch.setitem(MODELS, "X", row)
    data = {
        "model": "X",
        "prompt": "a",
        "aspect_ratio": "9:16",
        "aspect_resolution": "8k",
        "duration": 3,
        "image_url": URL,
    }
    agree(ImageToVideo, data)
    assert not list(Draft202012Validator(ImageToVideo.json_schema()).iter_errors(data))
    agree(ImageToVideo, {**data, "duration": 4})


def test_local_files_are_not_for_data_from_elsewhere() -> None:
    request = ImageGenerate.from_dict({"prompt": "a", "reference_images": ["file:/etc/passwd"]})
    errors = Draft202012Validator(ImageGenerate.json_schema()).iter_errors(request.to_dict())
    assert list(errors)


def test_the_types_for_annotations_are_those_of_the_rules() -> None:
    assert get_args(Model) == tuple(MODELS)
    assert get_args(AspectRatio) == ASPECT_RATIOS
    assert set(get_args(Resolution)) == {
        each for row in MODELS.values() for each in row.resolutions
    }
