"""VideoTranslate: a video, dubbed in another language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from attrs import field, frozen
from attrs.converters import optional

from ..errors import Violation
from .kinds import VIDEO_FORMATS, Kind
from .request import Request
from .sources import as_tuple, as_video, to_bool, to_int, to_text, to_url
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


def _one_language(name: str, value: object) -> Violations:
    if isinstance(value, tuple) and len(cast(tuple[object, ...], value)) == 1:
        return check_each(name, cast(object, value), partial(check_text, longest=100))
    if isinstance(value, tuple):
        many = len(cast(tuple[object, ...], value))
        message = f"must have one language (got {many}): for_languages() makes a request for each"
    else:
        message = not_a_list(value)
    return (Violation(name, value, "count", message),)


@frozen(kw_only=True)
class VideoTranslate(Request):
    """One translation of a video, fields named as the API names them.

    Source: the vendor's skill pages, "video_translate".

    Args:
        target_languages: one language, as ``Keevx.target_languages()`` names it.
        video_url: the video: a URL, or a ``pathlib.Path`` that is uploaded when submitted, or an
            earlier task that made one.
        speaker_num: number of speakers; 0 to have them detected.
        translate_audio_only: whether the lips stay as they are.
        enable_dynamic_duration: whether the video may become longer or shorter.
        enable_caption: whether captions are made as well, an ``.ass`` file.
        name: fewer than 100 characters.
        callback_url: notified when the task ends.

    Raises:
        InvalidRequest: with every violation.
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
        "target_languages": _one_language,
        "video_url": check_source,
        "speaker_num": partial(check_minimum, low=0),
        "translate_audio_only": check_flag,
        "enable_dynamic_duration": check_flag,
        "enable_caption": check_flag,
        "name": partial(check_text, longest=99),
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

    @property
    def subject(self) -> str:
        """The language, and the name of the video or where it lies."""
        return f"{self.target_languages[0]}: {self.name or self.video_url}"

    @classmethod
    def for_languages(cls, languages: Iterable[str], **fields: Any) -> list[Self]:
        """Return a request for each language.

        Args:
            languages: each is asked for once, however often it is named.
            fields: the other fields, the same in all.

        Raises:
            InvalidRequest: a field breaks a rule.
        """
        named = (languages,) if isinstance(languages, str) else dict.fromkeys(languages)
        return [cls(target_languages=(one,), **fields) for one in named]
