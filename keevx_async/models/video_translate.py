"""VideoTranslate: a request to dub a video in another language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from attrs import field, frozen
from attrs.converters import optional

from ..errors import Violation
from .converters import as_tuple, as_video, to_bool, to_int, to_text, to_url
from .kinds import VIDEO_FORMATS, Kind
from .request import Request
from .schema import Schema, of_check, text
from .validators import (
    Check,
    Violations,
    check_each,
    check_flag,
    check_minimum,
    check_source,
    check_text,
    check_url,
    not_a_list,
)

MAX_LANGUAGE = 100
"""The maximum number of characters in a language's name."""


def _check_language(name: str, value: object) -> Violations:
    """Check that there is exactly one language, although the API accepts a list.

    The vendor's page shows several languages in one create, but its skill pages allow only one. A
    single language is therefore the safe choice (keevx-api.md, "Found later").
    """
    if not isinstance(value, tuple):
        return (Violation(name, value, "count", not_a_list(value)),)
    count = len(cast(tuple[object, ...], value))
    if count == 1:
        return check_each(name, cast(object, value), partial(check_text, max_length=MAX_LANGUAGE))
    message = f"must have one language (got {count}): for_languages() makes a request for each"
    return (Violation(name, cast(object, value), "count", message),)


@frozen(kw_only=True)
class VideoTranslate(Request):
    """A request to translate one video. The fields are named as in the API.

    Source: the vendor's skill pages, "video_translate".

    Args:
        target_languages: one language, as ``Keevx.target_languages()`` names it.
        video_url: the video: a URL, a ``pathlib.Path``, or an earlier task that made a video. A
            file is uploaded when the request is submitted.
        speaker_num: the number of speakers; 0 to detect the number.
        translate_audio_only: whether only the sound is changed; with False, lip movements are
            changed too.
        enable_dynamic_duration: whether the video may become longer or shorter.
        enable_caption: whether to also make captions, as an ``.ass`` file.
        name: a name of fewer than 100 characters.
        callback_url: a URL that Keevx notifies when the task ends.

    Raises:
        InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
    """

    kind: ClassVar[Kind] = Kind(
        name="video_translate",
        path="/v1/video_translate",
        prefix="vt-",
        results=("video_url", "caption_url"),
        max_seconds=7200.0,
        formats=VIDEO_FORMATS,
    )
    source_fields: ClassVar[tuple[str, ...]] = ("video_url",)
    rules: ClassVar[Mapping[str, Check]] = {
        "target_languages": _check_language,
        "video_url": check_source,
        "speaker_num": partial(check_minimum, minimum=0),
        "translate_audio_only": check_flag,
        "enable_dynamic_duration": check_flag,
        "enable_caption": check_flag,
        "name": partial(check_text, max_length=99),
        "callback_url": check_url,
    }

    target_languages: tuple[str, ...] = field(converter=as_tuple)
    video_url: str | Path = field(converter=as_video)
    speaker_num: int = field(default=1, converter=to_int)
    translate_audio_only: bool = field(default=True, converter=to_bool)
    enable_dynamic_duration: bool = field(default=True, converter=to_bool)
    enable_caption: bool = field(default=False, converter=to_bool)
    name: str | None = field(default=None, converter=optional(to_text))
    callback_url: str | None = field(default=None, converter=to_url)

    @classmethod
    def field_schemas(cls) -> dict[str, Schema]:
        """Return the JSON Schema of each field; exactly one language is allowed."""
        checked = {name: check for name, check in cls.rules.items() if name != "target_languages"}
        languages = {"type": "array", "items": text(MAX_LANGUAGE), "minItems": 1, "maxItems": 1}
        schemas = {name: of_check(check) for name, check in checked.items()}
        return {"target_languages": languages, **schemas}

    @property
    def subject(self) -> str:
        """The language, followed by the video's name or URL."""
        return f"{self.target_languages[0]}: {self.name or self.video_url}"

    @classmethod
    def for_languages(cls, languages: Iterable[str], **fields: Any) -> list[Self]:
        """Return a request for each language.

        Args:
            languages: the languages; a repeated language makes only one request.
            fields: the other fields, which are the same in every request.

        Raises:
            InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
        """
        unique = (languages,) if isinstance(languages, str) else dict.fromkeys(languages)
        return [cls(target_languages=(language,), **fields) for language in unique]
