"""ImageToVideo: a frozen request, validated against MODELS on creation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from attrs import field, frozen

from ..errors import Violation
from .advice import ends_advice, narration_advice
from .converters import HasResults, ImageList, as_image, as_images, to_bool, to_int, to_text, to_url
from .kinds import Kind
from .pictures import Picture
from .request import Request
from .rules import ASPECT_RATIOS, MAX_COUNT, MAX_PROMPT, MODELS, ModelRules
from .schema import Schema, of_models, text, url
from .validators import (
    Violations,
    check_choice,
    check_each,
    check_flag,
    check_prompt,
    check_range,
    check_source,
    check_url,
    is_choice,
)


@frozen(kw_only=True)
class ImageToVideo(Request):
    """A request for one image-to-video job. The fields are named as in the API.

    ``ImageToVideo.V(...)``, ``.KL(...)`` and ``.S(...)`` each accept the fields of one model, so an
    editor can complete the allowed values and a type checker can reject others. This constructor
    accepts any model name and any ``str`` or ``int``: use it for values read from a file, and for
    models that you added to ``MODELS``. All of them check the same rules at run time.

    Source: the vendor's create page, "Create Image to Video Task".

    Args:
        model: ``V``, ``KL`` or ``S``; see ``MODELS``.
        prompt: a text of 1 to 1000 characters.
        aspect_ratio: ``16:9`` or ``9:16``.
        aspect_resolution: ``720p``, ``1080p`` or ``4k``; see ``MODELS`` for each model.
        duration: the length in seconds; see ``MODELS`` for each model.
        image_url: the start frame: a URL, a ``pathlib.Path``, the address of an object
            (``s3://``, ``gs://``, ``az://``), or an earlier task that made an image. Files and
            objects are uploaded when the request is submitted.
        end_image_url: the end frame, specified like ``image_url``; requires a start frame. V only.
        reference_images: up to three (V) or seven (KL) images, each specified like ``image_url``.
        generate_audio: whether the video has sound. V only.
        generate_count: the number of videos, 1 to 4; each is its own task.
        callback_url: a URL that Keevx notifies when a task ends.

    Raises:
        InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
    """

    kind: ClassVar[Kind] = Kind(
        name="image_to_video",
        path="/v1/image_to_video",
        prefix="i2v-",
        results=("video_url",),
        max_seconds=1200.0,
    )
    source_fields: ClassVar[tuple[str, ...]] = ("image_url", "end_image_url", "reference_images")
    duration_fields: ClassVar[tuple[str, ...]] = (
        "model",
        "aspect_resolution",
        "duration",
        "generate_audio",
    )

    model: str = field(converter=to_text)
    prompt: str = field(converter=to_text)
    aspect_ratio: str = field(converter=to_text)
    aspect_resolution: str = field(converter=to_text)
    duration: int = field(converter=to_int)
    image_url: str | Path | None = field(default=None, converter=as_image)
    end_image_url: str | Path | None = field(default=None, converter=as_image)
    reference_images: tuple[str | Path, ...] = field(default=(), converter=as_images)
    generate_audio: bool = field(default=False, converter=to_bool)
    generate_count: int = field(default=1, converter=to_int)
    callback_url: str | None = field(default=None, converter=to_url)

    @classmethod
    def V(  # noqa: N802  # the model's name
        cls,
        *,
        prompt: str,
        aspect_ratio: Literal["16:9", "9:16"],
        aspect_resolution: Literal["720p", "1080p", "4k"],
        duration: Literal[4, 6, 8],
        image_url: str | Path | HasResults | None = None,
        end_image_url: str | Path | HasResults | None = None,
        reference_images: ImageList = (),
        generate_audio: bool = False,
        generate_count: Literal[1, 2, 3, 4] = 1,
        callback_url: str | None = None,
    ) -> Self:
        """Build a request for model V: a start frame, reference images or both, and sound.

        At least one of ``image_url`` and ``reference_images`` is required. With references alone,
        ``duration`` must be 8. The fields are described in ``ImageToVideo``.

        Raises:
            InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
        """
        return cls(
            model="V",
            prompt=prompt,
            aspect_ratio=aspect_ratio,
            aspect_resolution=aspect_resolution,
            duration=duration,
            image_url=image_url,
            end_image_url=end_image_url,
            reference_images=reference_images,
            generate_audio=generate_audio,
            generate_count=generate_count,
            callback_url=callback_url,
        )

    @classmethod
    def KL(  # noqa: N802  # the model's name
        cls,
        *,
        prompt: str,
        aspect_ratio: Literal["16:9", "9:16"],
        aspect_resolution: Literal["720p", "1080p"],
        duration: Literal[5, 10],
        reference_images: ImageList,
        generate_count: Literal[1, 2, 3, 4] = 1,
        callback_url: str | None = None,
    ) -> Self:
        """Build a request for model KL: one to seven reference images, and no start frame.

        The fields are described in ``ImageToVideo``.

        Raises:
            InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
        """
        return cls(
            model="KL",
            prompt=prompt,
            aspect_ratio=aspect_ratio,
            aspect_resolution=aspect_resolution,
            duration=duration,
            reference_images=reference_images,
            generate_count=generate_count,
            callback_url=callback_url,
        )

    @classmethod
    def S(  # noqa: N802  # the model's name
        cls,
        *,
        prompt: str,
        aspect_ratio: Literal["16:9", "9:16"],
        aspect_resolution: Literal["720p"],
        duration: Literal[4, 8, 12],
        image_url: str | Path | HasResults,
        generate_count: Literal[1, 2, 3, 4] = 1,
        callback_url: str | None = None,
    ) -> Self:
        """Build a request for model S: a single start frame, which is required.

        The fields are described in ``ImageToVideo``.

        Raises:
            InvalidRequest: a field breaks a rule; ``violations`` lists every broken rule.
        """
        return cls(
            model="S",
            prompt=prompt,
            aspect_ratio=aspect_ratio,
            aspect_resolution=aspect_resolution,
            duration=duration,
            image_url=image_url,
            generate_count=generate_count,
            callback_url=callback_url,
        )

    @classmethod
    def field_schemas(cls) -> dict[str, Schema]:
        """Return each field's JSON Schema, accepting any value that at least one model accepts."""
        resolutions = dict.fromkeys(each for row in MODELS.values() for each in row.resolutions)
        return {
            "model": {"type": "string", "enum": list(MODELS)},
            "prompt": text(max(row.max_prompt for row in MODELS.values())),
            "aspect_ratio": {"type": "string"},
            "aspect_resolution": {"type": "string", "enum": list(resolutions)},
            "duration": {"type": "integer"},
            "image_url": url(),
            "end_image_url": url(),
            "reference_images": {"type": "array", "items": url()},
            "generate_audio": {"type": "boolean"},
            "generate_count": {"type": "integer", "minimum": 1},
            "callback_url": url(),
        }

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema, including each model's rules in ``MODELS``."""
        return super().json_schema() | {"allOf": of_models()}

    def frame_ratio(self, name: str) -> str | None:
        """Return ``aspect_ratio`` for the frames; None for references, which may have any ratio."""
        return None if name == "reference_images" else self.aspect_ratio

    def iter_warnings(self, pictures: Mapping[Path, Picture]) -> Iterator[Violation]:
        """Yield the common warnings, then mismatched frames, then narration without sound."""
        yield from Request.iter_warnings(self, pictures)
        yield from ends_advice(self.image_url, self.end_image_url, pictures)
        yield from narration_advice(self.prompt, self.model, self.generate_audio)

    def violations(self) -> Violations:
        """Return a violation for each of its model's rules in ``MODELS`` that this request breaks.

        A model that is not in ``MODELS`` is itself a violation; the other fields are then checked
        against the limits that all models share.
        """
        rules = MODELS.get(self.model) if isinstance(self.model, str) else None
        references: object = self.reference_images
        # An empty tuple means "no references". A value that is not a list counts as references, so
        # check_each rejects the value, and no message claims that references are missing.
        has_references = not isinstance(references, tuple) or bool(references)
        broken = check_prompt("prompt", self.prompt, rules.max_prompt if rules else MAX_PROMPT)
        if self.image_url is not None:
            broken += check_source("image_url", self.image_url)
        if self.end_image_url is not None:
            broken += check_source("end_image_url", self.end_image_url)
        if has_references:
            broken += check_each("reference_images", references, check_source)
        if self.callback_url is not None:
            broken += check_url("callback_url", self.callback_url)
        ratios = rules.aspect_ratios if rules else ASPECT_RATIOS
        max_count = rules.max_count if rules else MAX_COUNT
        if not is_choice(self.aspect_ratio, ratios):
            broken += check_choice("aspect_ratio", self.aspect_ratio, ratios)
        if self.generate_audio is not False:
            broken += check_flag("generate_audio", self.generate_audio)
        broken += check_range("generate_count", self.generate_count, 1, max_count)
        # Without a row, nothing more can be checked: the message lists the models that have a row.
        if rules is None:
            return broken + check_choice("model", self.model, tuple(MODELS))
        broken += _check_settings(self, rules, has_references)
        return broken + _check_images(self, rules, has_references)


def _check_settings(request: ImageToVideo, rules: ModelRules, has_references: bool) -> Violations:
    """Return a violation for each setting that the model does not accept."""
    model = request.model
    broken: Violations = ()
    if not is_choice(request.aspect_resolution, rules.resolutions):
        where = f" for model {model}"
        broken = check_choice(
            "aspect_resolution", request.aspect_resolution, rules.resolutions, where
        )
    # With neither a start frame nor references, only the missing image is reported, not a duration
    # that may be valid once an image is added.
    starts = request.image_url is not None or not has_references
    durations = rules.durations_for(start_frame=starts)
    if not is_choice(request.duration, durations):
        where = f" seconds for model {model}"
        if rules.reference_durations is not None:
            where += " with a start frame" if starts else " with references alone"
        broken += check_choice("duration", request.duration, durations, where)
    if request.generate_audio is True and not rules.audio:
        broken += _unused(request, "generate_audio")
    return broken


def _check_images(request: ImageToVideo, rules: ModelRules, has_references: bool) -> Violations:
    """Return the violations concerning the choice and the number of images."""
    model, starts = request.model, request.image_url is not None
    broken: Violations = ()
    # 1. The model has no start frame (KL): references are required, a start frame is rejected.
    # 2. It requires a start frame (S): a request without a start frame is rejected, even if it has
    #    references.
    # 3. The start frame is optional (V): a start frame, references or both are required. If both
    #    are missing, this is reported once, as image_url.
    if rules.start_frame == "unused":
        if starts:
            broken += _unused(request, "image_url")
        if not has_references:
            what = f"1 to {rules.max_references} of them"
            broken += _required(request, "reference_images", what)
    elif not starts and rules.start_frame == "required":
        broken += _required(request, "image_url", "a start frame")
    elif not starts and not has_references:
        what = "a start frame or reference_images" if rules.max_references else "a start frame"
        broken += _required(request, "image_url", what)
    # An end frame requires a model that supports one, and a start frame.
    if request.end_image_url is not None:
        if not rules.end_frame:
            broken += _unused(request, "end_image_url")
        elif not starts:
            what = "a start frame, since end_image_url is given"
            broken += _required(request, "image_url", what)
    # Too many references are reported by number only if the model accepts any. A value that is not
    # a list was already rejected by check_each and is not counted.
    count = len(request.reference_images) if isinstance(request.reference_images, tuple) else 0
    if count > rules.max_references == 0:
        broken += _unused(request, "reference_images")
    elif count > rules.max_references:
        message = f"must have at most {rules.max_references} images for model {model} (got {count})"
        broken += (Violation("reference_images", request.reference_images, "count", message),)
    return broken


def _unused(request: ImageToVideo, name: str) -> Violations:
    message = f"is not used by model {request.model}: leave it out"
    return (Violation(name, getattr(request, name), "unused", message),)


def _required(request: ImageToVideo, name: str, what: str) -> Violations:
    message = f"model {request.model} needs {what}"
    return (Violation(name, getattr(request, name), "required", message),)
