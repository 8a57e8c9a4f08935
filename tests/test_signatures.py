"""What type checkers take is what the validator takes, model by model and value by value."""

import itertools
from inspect import Parameter, signature
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, cast, get_args, get_origin, get_overloads, get_type_hints

import pytest

from keevx_async import MODELS, ImageToVideo, ModelRules
from keevx_async.models import image_to_video
from keevx_async.models.sources import ImageList
from tests.signatures import PATH, written
from tests.test_rules import is_accepted

pytestmark = pytest.mark.unit

URL = "https://example.com/start.jpg"
OTHERS = {
    "no references": ModelRules(resolutions=("480p", "4k"), durations=(3, 6)),
    "references too": ModelRules(resolutions=("480p",), durations=(3,), max_references=2),
    "wide": ModelRules(
        resolutions=("720p",),
        durations=(8,),
        start_frame="required",
        end_frame=True,
        max_references=1,
        audio=True,
        aspect_ratios=("1:1",),
    ),
}
ROWS = dict(MODELS) | OTHERS


def test_the_module_is_as_models_are() -> None:
    assert PATH.read_text(encoding="utf-8") == written(MODELS), "run python -m tests.signatures"


def test_they_cost_nothing_at_run_time() -> None:
    assert ImageToVideo is image_to_video.ImageToVideo
    assert "__new__" not in vars(ImageToVideo)


@pytest.mark.parametrize("model", ROWS)
def test_a_corner_has_a_signature_exactly_if_it_is_taken(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, model, ROWS[model])
    overloads = overloads_of(written({model: ROWS[model]}))
    corners = itertools.product(
        ["16:9", "9:16", "1:1"],
        ["480p", "720p", "1080p", "4k"],
        [3, 4, 5, 6, 8, 10, 12],
        [None, URL],
        [None, Path("end.jpg")],
        [(), [URL]],
        [False, True],
    )
    for ratio, resolution, duration, start, end, references, audio in corners:
        fields = {
            "model": model,
            "prompt": "a",
            "aspect_ratio": ratio,
            "aspect_resolution": resolution,
            "duration": duration,
            "image_url": start,
            "end_image_url": end,
            "reference_images": references,
            "generate_audio": audio,
        }
        assert any(takes(one, fields) for one in overloads) is is_accepted(fields), fields


def test_each_signature_has_the_fields_and_defaults_of_the_class() -> None:
    real = signature(ImageToVideo).parameters
    for overload in overloads_of(written(MODELS)):
        told = dict(signature(overload).parameters)
        del told["cls"]
        assert list(told) == list(real)
        assert {one.kind for one in told.values()} == {Parameter.KEYWORD_ONLY}
        for name, default in (overload.__kwdefaults__ or {}).items():
            assert default == real[name].default


def overloads_of(source: str) -> list[FunctionType]:
    """The signatures in a text, made as a type checker would see them."""
    names: dict[str, Any] = {"__name__": "keevx_async.checked", "__package__": "keevx_async.models"}
    exec(source.replace("if TYPE_CHECKING:", "if True:"), names)  # noqa: S102  # our own text
    return cast(list[FunctionType], get_overloads(names["ImageToVideo"].__new__))


def takes(overload: FunctionType, fields: dict[str, Any]) -> bool:
    hints, defaults = get_type_hints(overload), overload.__kwdefaults__ or {}
    return all(
        (name in defaults and value == defaults[name]) or fits(value, hints[name])
        for name, value in fields.items()
    )


def fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is ImageList:
        return bool(value)  # a type cannot refuse an empty list, the validator does
    return isinstance(value, kind) if kind != tuple[()] else value == ()
