"""ImageGenerate: an image from a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

from attrs import field, frozen

from .checks import Check, a_prompt, a_source, a_url, in_range, one_of, some
from .inputs import listed
from .kinds import Kind
from .requests import Request

Module = Literal["std", "pro"]
Quality = Literal["1K", "2K", "4K"]
Ratio = Literal["1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]


@frozen(kw_only=True)
class ImageGenerate(Request):
    """One image-generation job, fields named as the API names them.

    Source: the vendor's skill pages, "image_generate".

    Args:
        prompt: 1 to 1000 characters.
        reference_images: up to five URLs, local paths or earlier tasks; the server would cut
            more off without a word.
        module: ``std`` or ``pro``.
        generate_count: number of images, 1 to 8; one task id each.
        image_quality: ``1K``, ``2K`` or ``4K``.
        image_ratio: such as ``9:16``.
        callback_url: notified when a task ends.

    Raises:
        InvalidRequest: with every violation.
    """

    kind: ClassVar[Kind] = Kind(
        name="image_generate",
        path="/v1/image_generate",
        prefix="i2is-",
        results=("image_url",),
        longest=600.0,
        codes={100002: 100001, 110002: 100003},
    )
    sources: ClassVar[tuple[str, ...]] = ("reference_images",)
    alike: ClassVar[tuple[str, ...]] = ("module", "image_quality")
    rules: ClassVar[Mapping[str, Check]] = {
        "prompt": partial(a_prompt, longest=1000),
        "reference_images": partial(some, check=a_source, most=5),
        "module": partial(one_of, allowed=get_args(Module)),
        "generate_count": partial(in_range, low=1, high=8),
        "image_quality": partial(one_of, allowed=get_args(Quality)),
        "image_ratio": partial(one_of, allowed=get_args(Ratio)),
        "callback_url": a_url,
    }

    prompt: str
    reference_images: tuple[str | Path, ...] = field(default=(), converter=listed)
    module: Module = "std"
    generate_count: int = 1
    image_quality: Quality = "2K"
    image_ratio: Ratio = "9:16"
    callback_url: str | None = None
