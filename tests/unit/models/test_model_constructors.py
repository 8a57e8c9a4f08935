"""Each model's constructor takes what MODELS says: parameters, literals and defaults."""

import itertools
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from keevx_async import MODELS, ImageToVideo, InvalidRequest, ModelRules
from keevx_async.models.converters import HasResults, ImageList
from tests.support.rules import is_accepted

URL = "https://example.com/start.jpg"
REQUIRED = Parameter.empty
SOURCE = str | Path | HasResults


def literal(*values: object) -> Any:
    return Literal[values]


def expected(rules: ModelRules) -> dict[str, tuple[Any, Any]]:
    """Each parameter's type and default, from a row of MODELS. Write a new constructor from it."""
    both = (*rules.durations, *(rules.reference_durations or ()))
    fields: dict[str, tuple[Any, Any]] = {
        "prompt": (str, REQUIRED),
        "aspect_ratio": (literal(*rules.aspect_ratios), REQUIRED),
        "aspect_resolution": (literal(*rules.resolutions), REQUIRED),
        "duration": (literal(*sorted(set(both))), REQUIRED),
    }
    if rules.start_frame == "required":
        fields["image_url"] = SOURCE, REQUIRED
    if rules.start_frame == "optional":
        fields["image_url"] = SOURCE | None, None
    if rules.end_frame:
        fields["end_image_url"] = SOURCE | None, None
    if rules.max_references:
        alone = rules.start_frame == "unused"
        fields["reference_images"] = ImageList, REQUIRED if alone else ()
    if rules.audio:
        fields["generate_audio"] = bool, False
    fields["generate_count"] = literal(*range(1, rules.max_count + 1)), 1
    fields["callback_url"] = str | None, None
    return fields


@pytest.mark.parametrize("model", MODELS)
def test_the_signature_is_what_models_says(model: str) -> None:
    assert hasattr(ImageToVideo, model), (
        f"write ImageToVideo.{model} with {expected(MODELS[model])}"
    )
    constructor = getattr(ImageToVideo, model)
    hints = get_type_hints(constructor)
    parameters = signature(constructor).parameters
    assert {each.kind for each in parameters.values()} == {Parameter.KEYWORD_ONLY}
    actual = {name: (hints[name], each.default) for name, each in parameters.items()}
    assert actual == expected(MODELS[model])
    assert list(actual) == list(expected(MODELS[model]))


@pytest.mark.parametrize("model", MODELS)
def test_defaults_are_those_of_the_class(model: str) -> None:
    plain = signature(ImageToVideo).parameters
    for name, each in signature(getattr(ImageToVideo, model)).parameters.items():
        assert each.default in (REQUIRED, plain[name].default), name


CORNERS: list[dict[str, Any]] = [
    dict(zip(("aspect_ratio", "aspect_resolution", "duration"), corner[:3], strict=True))
    | dict(zip(("image_url", "end_image_url", "reference_images"), corner[3:6], strict=True))
    | {"generate_audio": corner[6]}
    for corner in itertools.product(
        ["16:9", "9:16", "1:1"],
        ["480p", "720p", "1080p", "4k"],
        [3, 4, 5, 6, 8, 10, 12],
        [None, URL],
        [None, Path("end.jpg")],
        [(), [URL]],
        [False, True],
    )
]


@pytest.mark.parametrize("model", MODELS)
def test_every_valid_request_can_be_built_and_is_the_plain_constructors(model: str) -> None:
    constructor = getattr(ImageToVideo, model)
    hints, parameters = get_type_hints(constructor), signature(constructor).parameters
    for corner in CORNERS:
        fields: dict[str, Any] = {
            "prompt": "A kite",
            "generate_count": 3,
            "callback_url": URL,
            **corner,
        }
        if not is_accepted({"model": model, **fields}):
            continue
        taken = {name: value for name, value in fields.items() if name in parameters}
        assert all(is_of(value, hints[name]) for name, value in taken.items()), fields
        assert constructor(**taken) == ImageToVideo(model=model, **fields)


def is_of(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    return kind is ImageList or isinstance(value, kind)


@pytest.mark.parametrize("model", MODELS)
def test_a_value_outside_the_literals_is_refused_at_run_time(model: str) -> None:
    constructor = getattr(ImageToVideo, model)
    fields: dict[str, Any] = {
        name: get_args(kind)[-1] if get_origin(kind) is Literal else URL
        for name, (kind, default) in expected(MODELS[model]).items()
        if default is REQUIRED
    }
    if "reference_images" in fields or MODELS[model].start_frame == "optional":
        fields["reference_images"] = [URL]
    constructor(**fields)
    wrong = fields | {"duration": 3, "aspect_resolution": "480p", "generate_count": 5}
    with pytest.raises(InvalidRequest) as caught:
        constructor(**wrong)
    broken = {each.field for each in caught.value.violations}
    assert broken == {"duration", "aspect_resolution", "generate_count"}


def test_a_field_of_another_model_is_not_a_parameter() -> None:
    with pytest.raises(TypeError, match="generate_audio"):
        ImageToVideo.S(  # type: ignore[call-arg]
            prompt="A kite",
            aspect_ratio="16:9",
            aspect_resolution="720p",
            duration=4,
            image_url=URL,
            generate_audio=True,
        )


def test_a_subclass_builds_its_own_kind() -> None:
    class Mine(ImageToVideo):
        pass

    made = Mine.KL(
        prompt="A kite",
        aspect_ratio="16:9",
        aspect_resolution="720p",
        duration=5,
        reference_images=[URL],
    )
    assert type(made) is Mine
