"""Fields of every kind, right and wrong."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from keevx_async import ImageGenerate, VideoTranslate
from keevx_async.models.request import Request
from tests.support.rules import BAD_PROMPTS, BAD_URLS, GOOD_PROMPTS, GOOD_URLS, PATHS

URL = GOOD_URLS[0]


RATIOS = ["1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]


FLAGS = [True, False]


NO_FLAGS: list[Any] = [0, 1, "true", None]


NO_WHOLE: list[Any] = [True, False, "1", 1.5, None]


class Field(NamedTuple):
    """One field of the page: values that it takes, and others that it does not."""

    good: list[Any]
    bad: list[Any]
    default: Any = None  # what the server takes a missing one for


class Page(NamedTuple):
    """One kind's page, and the least that it asks for."""

    make: Callable[..., Request]
    least: dict[str, Any]
    fields: dict[str, Field]


PAGES = {
    "image_generate": Page(
        ImageGenerate,
        {"prompt": "A lighthouse"},
        {
            "prompt": Field(GOOD_PROMPTS, BAD_PROMPTS),
            "reference_images": Field(
                [[], [URL], [PATHS[0]], [*GOOD_URLS[:3], *PATHS[:2]], (URL, PATHS[1])],
                [None, URL, {}, 3, [URL] * 6, *([one] for one in [*BAD_URLS, None])],
            ),
            "module": Field(["std", "pro"], ["", "STD", "max", None, 1, ["std"]], "std"),
            "generate_count": Field([*range(1, 9), 2.0], [0, 9, -1, *NO_WHOLE], 1),
            "image_quality": Field(["1K", "2K", "4K"], ["", "2k", "8K", None, 2], "2K"),
            "image_ratio": Field(RATIOS, ["", "9:16 ", "9x16", "1:2", None, 1], "9:16"),
            "callback_url": Field([None, *GOOD_URLS], [*BAD_URLS, *PATHS]),
        },
    ),
    "video_translate": Page(
        VideoTranslate,
        {"target_languages": ["English"], "video_url": URL},
        {
            "target_languages": Field(
                [["English"], ("Chinese",)],
                [None, "English", [], ["English", "Chinese"], [""], [None], [["English"]], {}],
            ),
            "video_url": Field([*GOOD_URLS, *PATHS], [*BAD_URLS, None]),
            "speaker_num": Field([0, 1, 2, 10, 3.0], [-1, *NO_WHOLE], 1),
            "translate_audio_only": Field(FLAGS, NO_FLAGS, True),
            "enable_dynamic_duration": Field(FLAGS, NO_FLAGS, True),
            "enable_caption": Field(FLAGS, NO_FLAGS, False),
            "name": Field([None, "a", "x" * 99, "\N{GRINNING FACE}" * 99], ["", " ", "x" * 100, 5]),
            "callback_url": Field([None, *GOOD_URLS], [*BAD_URLS, *PATHS]),
        },
    ),
}


KINDS = sorted(PAGES)


@st.composite
def filled(draw: st.DrawFn, *, bad: bool) -> tuple[str, dict[str, Any], set[str]]:
    """A kind, fields for it, and the names of those that the page does not take."""
    kind = draw(st.sampled_from(KINDS))
    fields, wrong = dict(PAGES[kind].least), set[str]()
    for name, field in PAGES[kind].fields.items():
        how = draw(st.sampled_from(["left", "good", "good", "bad"] if bad else ["left", "good"]))
        if how == "bad":
            wrong.add(name)
        if how != "left":
            fields[name] = draw(st.sampled_from(field.bad if how == "bad" else field.good))
    return kind, fields, wrong
