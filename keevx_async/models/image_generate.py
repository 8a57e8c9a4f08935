"""ImageGenerate: a request for images made from a prompt and reference images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from .converters import as_images, to_int, to_text, to_url
from .kinds import REFERENCE_FORMATS, Kind
from .request import Request
from .rules import IMAGE_VALUES
from .schema import Schema, of_check
from .validators import (
    Check,
    Violations,
    check_choice,
    check_each,
    check_prompt,
    check_range,
    check_source,
    check_url,
)


def _check_value(name: str, value: object) -> Violations:
    return check_choice(name, value, IMAGE_VALUES[name])


@frozen(kw_only=True)
class ImageGenerate(Request):
    """A request for one image-generation job. The fields are named as in the API.

    The accepted values of ``module``, ``image_quality`` and ``image_ratio`` are listed in
    ``keevx_async.models.rules.IMAGE_VALUES``, where you can add values.

    Source: the vendor's skill pages, "image_generate".

    Args:
        prompt: a text of 1 to 1000 characters.
        reference_images: up to five URLs, local paths or earlier tasks, since the server silently
            ignores any further images. Files may be JPEG, PNG, WebP, BMP or GIF.
        module: ``std`` or ``pro``.
        generate_count: the number of images, 1 to 8; each is its own task.
        image_quality: ``1K``, ``2K`` or ``4K``.
        image_ratio: the ratio of width to height, such as ``9:16``.
        callback_url: a URL that Keevx notifies when a task ends.

    Raises:
        InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
    """

    kind: ClassVar[Kind] = Kind(
        name="image_generate",
        path="/v1/image_generate",
        prefix="i2is-",
        results=("image_url",),
        max_seconds=600.0,
        formats=REFERENCE_FORMATS,
        codes={100002: 100001, 110002: 100003},
    )
    source_fields: ClassVar[tuple[str, ...]] = ("reference_images",)
    duration_fields: ClassVar[tuple[str, ...]] = ("module", "image_quality")
    rules: ClassVar[Mapping[str, Check]] = {
        "prompt": partial(check_prompt, max_length=1000),
        "reference_images": partial(check_each, check=check_source, max_items=5),
        "module": _check_value,
        "generate_count": partial(check_range, minimum=1, maximum=8),
        "image_quality": _check_value,
        "image_ratio": _check_value,
        "callback_url": check_url,
    }

    prompt: str = field(converter=to_text)
    reference_images: tuple[str | Path, ...] = field(default=(), converter=as_images)
    module: str = field(default="std", converter=to_text)
    generate_count: int = field(default=1, converter=to_int)
    image_quality: str = field(default="2K", converter=to_text)
    image_ratio: str = field(default="9:16", converter=to_text)
    callback_url: str | None = field(default=None, converter=to_url)

    @classmethod
    def field_schemas(cls) -> dict[str, Schema]:
        """Return the JSON Schema of each field, with the values in ``IMAGE_VALUES``."""
        checked = {name: check for name, check in cls.rules.items() if name not in IMAGE_VALUES}
        schemas = {name: of_check(check) for name, check in checked.items()}
        for name, values in IMAGE_VALUES.items():
            schemas[name] = {"type": "string", "enum": list(values)}
        return schemas
