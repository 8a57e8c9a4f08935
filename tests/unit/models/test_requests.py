"""Requests: every violation at once and in words, exact copies as data, frozen."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import ImageToVideo, InvalidRequest
from keevx_async.models.converters import as_image, as_images, as_video
from keevx_async.models.registry import REQUESTS
from tests.support.requests import LEAST, URL, make
from tests.support.rules import VENDORS_EXAMPLE, taken


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        make(**fields)
    return refused.value


class Pair(NamedTuple):
    one: str
    other: str


class Many(tuple[str, ...]):
    __slots__ = ()


def test_a_tuple_of_its_own_kind_is_counted_as_any() -> None:
    make(reference_images=Pair(*["https://example.com/a.jpg"] * 2))
    refused = refusal(reference_images=Many(["https://example.com/a.jpg"] * 9))
    assert [one.field for one in refused.violations] == ["reference_images"]


def test_all_violations_are_reported_at_once() -> None:
    refused = refusal(
        model="S",
        prompt=" ",
        aspect_ratio="1:1",
        aspect_resolution="4k",
        duration=5,
        image_url="start.jpg",
        end_image_url=URL,
        reference_images=[URL],
        generate_audio=True,
        generate_count=5,
        callback_url="localhost",
    )
    assert sorted(one.field for one in refused.violations) == [
        "aspect_ratio",
        "aspect_resolution",
        "callback_url",
        "duration",
        "end_image_url",
        "generate_audio",
        "generate_count",
        "image_url",
        "prompt",
        "reference_images",
    ]
    assert all(str(one) in str(refused) for one in refused.violations)


def test_with_an_unknown_model_the_rest_is_checked_all_the_same() -> None:
    refused = refusal(model="X", prompt="", generate_count=0, image_url="a.jpg")
    assert {one.field for one in refused.violations} == {
        "model",
        "prompt",
        "generate_count",
        "image_url",
    }


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": "X"}, ["model", "'X'", "V", "KL", "S"]),
        ({"aspect_ratio": "1:1"}, ["aspect_ratio", "'1:1'", "16:9", "9:16"]),
        ({"model": "S", "aspect_resolution": "4k"}, ["aspect_resolution", "'4k'", "720p", "S"]),
        ({"duration": 5}, ["duration", "5", "4, 6, 8", "model V", "start frame"]),
        (
            {"duration": 4, "image_url": None, "reference_images": [URL]},
            ["duration", "4", "8", "model V", "references alone"],
        ),
        ({"duration": "6"}, ["duration", "'6'", "4, 6, 8"]),
        ({"generate_count": 5}, ["generate_count", "5", "1 to 4"]),
        ({"generate_count": True}, ["generate_count", "True", "1 to 4"]),
        ({"prompt": "x" * 1001}, ["prompt", "1001", "1000"]),
        ({"prompt": "  "}, ["prompt", "blank"]),
        ({"image_url": "start.jpg"}, ["image_url", "'start.jpg'", "http", "pathlib.Path"]),
        ({"callback_url": Path("a")}, ["callback_url", "http"]),
        ({"reference_images": [URL, "b"]}, ["reference_images[1]", "'b'", "http"]),
        ({"reference_images": [URL] * 4}, ["reference_images", "4", "at most 3", "model V"]),
        ({"reference_images": URL}, ["reference_images", URL, "list"]),
        ({"image_url": None}, ["image_url", "start frame", "reference_images", "model V"]),
        ({"model": "S", "image_url": None}, ["image_url", "start frame", "model S"]),
        (
            {"model": "KL", "duration": 5, "image_url": None},
            ["reference_images", "1 to 7", "model KL"],
        ),
        (
            {"model": "KL", "duration": 5, "reference_images": [URL]},
            ["image_url", "not used", "model KL"],
        ),
        ({"model": "S", "reference_images": [URL]}, ["reference_images", "not used", "model S"]),
        ({"model": "S", "end_image_url": URL}, ["end_image_url", "not used", "model S"]),
        (
            {"image_url": None, "end_image_url": URL, "reference_images": [URL], "duration": 8},
            ["image_url", "start frame", "end_image_url"],
        ),
        ({"model": "S", "generate_audio": True}, ["generate_audio", "not used", "model S"]),
        ({"generate_audio": "yes"}, ["generate_audio", "'yes'", "true"]),
    ],
)
def test_a_violation_names_field_value_and_what_is_allowed(
    fields: dict[str, Any], named: list[str]
) -> None:
    refused = refusal(**fields)
    assert len(refused.violations) == 1
    violation = refused.violations[0]
    name, _, number = violation.field.rstrip("]").partition("[")
    value = {**LEAST, "reference_images": [], **fields}[name]
    expected = value[int(number)] if number else value
    assert violation.value == (tuple(expected) if isinstance(expected, list) else expected)
    assert [word for word in named if word not in str(refused)] == []


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"duration": "6"}, "write 6 without quotes"),
        ({"generate_count": "2"}, "write 2 without quotes"),
        ({"duration": "7"}, ""),
        ({"generate_count": "5"}, ""),
        ({"duration": "6 s"}, ""),
        ({"generate_count": "9" * 5000}, ""),  # more digits than Python turns into a number
    ],
)
def test_the_error_for_a_number_in_quotes_says_so_if_the_number_is_valid(
    fields: dict[str, Any], hint: str
) -> None:
    (broken,) = refusal(**fields).violations
    assert ("without quotes" in broken.message) == bool(hint)
    assert broken.message.endswith(hint)


@given(taken())
def test_to_dict_and_from_dict_are_exact_inverses(fields: dict[str, Any]) -> None:
    request = ImageToVideo(**fields)
    data = request.to_dict()
    through_json = json.loads(json.dumps(data))
    assert through_json == data
    back = ImageToVideo.from_dict(through_json)
    assert back == request
    assert back.local_files() == request.local_files()
    assert back.to_dict() == data


@given(taken())
def test_a_copy_is_equal_and_hashes_the_same(fields: dict[str, Any]) -> None:
    request = ImageToVideo(**fields)
    for twin in (ImageToVideo(**fields), pickle.loads(pickle.dumps(request)), copy.copy(request)):  # noqa: S301
        assert twin == request
        assert hash(twin) == hash(request)


def test_the_vendors_example_comes_back_as_it_was_but_for_its_defaults() -> None:
    sent = ImageToVideo.from_dict(VENDORS_EXAMPLE).to_dict()
    assert {**sent, "generate_count": 1} == VENDORS_EXAMPLE
    assert "generate_count" not in sent


def test_nulls_and_defaults_are_not_sent() -> None:
    defaults: dict[str, Any] = {
        "end_image_url": None,
        "reference_images": [],
        "generate_audio": False,
        "generate_count": 1,
        "callback_url": None,
    }
    assert make(**defaults).to_dict() == LEAST


def test_paths_are_written_as_what_they_are() -> None:
    request = make(image_url=Path("in/a b.jpg"), reference_images=[URL, Path("/r.png")])
    assert request.to_dict()["image_url"] == "file:in/a b.jpg"
    assert request.to_dict()["reference_images"] == [URL, "file:/r.png"]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("file:a.jpg", Path("a.jpg")),
        ("file:/b/a.jpg", Path("/b/a.jpg")),
        ("file:///b/a.jpg", Path("/b/a.jpg")),
        ("FILE:a.jpg", Path("a.jpg")),
    ],
)
def test_file_urls_are_read_as_paths(written: str, path: Path) -> None:
    assert ImageToVideo.from_dict({**LEAST, "image_url": written}).image_url == path


def test_only_images_may_be_files() -> None:
    request = ImageToVideo.from_dict({**LEAST, "prompt": "file: a cabinet, dusty"})
    assert request.prompt == "file: a cabinet, dusty"
    with pytest.raises(InvalidRequest, match="callback_url"):
        ImageToVideo.from_dict({**LEAST, "callback_url": "file:a"})


def test_missing_fields_are_named_all() -> None:
    with pytest.raises(InvalidRequest) as refused:
        ImageToVideo.from_dict({"model": "V", "sed": 1})
    assert {one.field for one in refused.value.violations} == {
        "sed",
        "image_url",  # model V needs an image: what is there is checked in the same round
        "prompt",
        "aspect_ratio",
        "aspect_resolution",
        "duration",
    }


def test_a_list_may_change_later_without_the_request() -> None:
    references = [URL]
    request = make(reference_images=references)
    references.append("nonsense")
    assert request.reference_images == (URL,)


@pytest.mark.parametrize("name", [*LEAST, "generate_count", "anything_else"])
def test_it_is_frozen(name: str) -> None:
    request = make()
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        setattr(request, name, "x")
    assert request == make()


def test_arguments_are_named() -> None:
    with pytest.raises(TypeError):
        ImageToVideo("V", "A dog", "16:9", "720p", 4)  # type: ignore[call-arg]


def test_a_changed_copy_is_validated_again() -> None:
    with pytest.raises(InvalidRequest, match="duration"):
        attrs.evolve(make(), duration=5)


paths = st.sampled_from([Path("a.jpg"), Path("/b c/d.png"), Path("e.webp")])


@given(st.none() | paths, st.lists(paths | st.just(URL), max_size=3))
def test_local_files_are_found_and_replaced(end: Path | None, references: list[Any]) -> None:
    request = make(image_url=Path("a.jpg"), end_image_url=end, reference_images=references)
    found = request.local_files()
    expected = [Path("a.jpg"), end, *references]
    assert list(found) == [one for one in expected if isinstance(one, Path)]

    urls = {path: f"https://up.example/{number}" for number, path in enumerate(set(found))}
    sent = request.with_urls(urls)
    assert sent.local_files() == ()
    assert sent.image_url == urls[Path("a.jpg")]
    assert sent.end_image_url == (None if end is None else urls[end])
    assert sent.reference_images == tuple(urls.get(one, one) for one in references)
    others = {"image_url", "end_image_url", "reference_images"}
    assert {k: v for k, v in request.to_dict().items() if k not in others} == {
        k: v for k, v in sent.to_dict().items() if k not in others
    }


def test_a_request_of_urls_alone_has_no_local_files() -> None:
    assert make(reference_images=[URL]).local_files() == ()
    assert make().with_urls({}) == make()


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=list(REQUESTS))
def test_each_field_that_accepts_a_result_is_a_source(kind: type[Any]) -> None:
    accepting: set[Any] = {as_image, as_images, as_video}
    fields = attrs.fields_dict(kind).items()
    assert set(kind.source_fields) == {
        name for name, field in fields if field.converter in accepting
    }
