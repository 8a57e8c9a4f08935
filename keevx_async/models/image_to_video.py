"""ImageToVideo: frozen, validated when made against MODELS, every violation at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from attrs import field, frozen

from ..errors import Violation
from .kinds import Kind
from .request import Request
from .rules import ASPECT_RATIOS, MAX_COUNT, MAX_PROMPT, MODELS, ModelRules
from .sources import HasResults, ImageList, as_image, as_images, to_bool, to_int, to_text, to_url
from .validators import (
    Violations,
    check_choice,
    check_each,
    check_flag,
    check_prompt,
    check_range,
    check_source,
    check_url,
)


@frozen(kw_only=True)
class ImageToVideo(Request):
    """One image-to-video job, fields named as the API names them.

    ``ImageToVideo.V(...)``, ``.KL(...)`` and ``.S(...)`` take the fields of one model each, so that
    an editor completes the allowed values and a type checker refuses the others. This constructor
    takes any model by name and any ``str`` and ``int``: use it for values read from a file, and for
    models that you added to ``MODELS``. The same rules are checked at run time either way.

    Source: the vendor's create page, "Create Image to Video Task".

    Args:
        model: ``V``, ``KL`` or ``S``, or another key of ``MODELS``.
        prompt: 1 to 1000 characters.
        aspect_ratio: ``16:9`` or ``9:16``.
        aspect_resolution: ``720p``, ``1080p`` or ``4k``; see ``MODELS`` for each model.
        duration: seconds; see ``MODELS`` for each model.
        image_url: the start frame: a URL, a ``pathlib.Path``, which is uploaded when the request
            is submitted, or a ``Task`` that made an image.
        end_image_url: the end frame, likewise; requires a start frame. V only.
        reference_images: up to three (V) or seven (KL) images, likewise.
        generate_audio: whether the video has sound. V only.
        generate_count: number of videos, 1 to 4; each is a task of its own.
        callback_url: URL that Keevx notifies when a task ends.

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

    def violations(self) -> Violations:
        """Return every rule this request breaks."""
        rules = MODELS.get(self.model) if isinstance(self.model, str) else None
        found, choice = _free(self, rules), _choice(self, rules)
        try:
            if choice in _SOUND:
                return found
        except TypeError:  # a list, say, is none of what is remembered
            return found + _settings(self, rules)
        broken = _settings(self, rules)
        if not broken:
            _SOUND.add(choice)
        return found + broken


_SOUND: set[tuple[object, ...]] = set()
"""Choices of settings that broke no rule; there are few, so each is checked once."""


def _choice(request: ImageToVideo, rules: ModelRules | None) -> tuple[object, ...]:
    """Return all that _settings looks at."""
    many, duration, count = request.reference_images, request.duration, request.generate_count
    return (
        rules,
        request.aspect_ratio,
        request.aspect_resolution,
        duration,
        duration.__class__,  # True is 1, but not here
        request.generate_audio,
        request.generate_audio.__class__,
        count,
        count.__class__,
        request.image_url is not None,
        request.end_image_url is not None,
        len(many) if isinstance(many, tuple) else None,
    )


def _free(request: ImageToVideo, rules: ModelRules | None) -> Violations:
    """Return what is broken by texts, of which no two are alike."""
    found = check_prompt("prompt", request.prompt, rules.max_prompt if rules else MAX_PROMPT)
    if request.image_url is not None:
        found += check_source("image_url", request.image_url)
    if request.end_image_url is not None:
        found += check_source("end_image_url", request.end_image_url)
    if _has_references(request):
        found += check_each("reference_images", request.reference_images, check_source)
    if request.callback_url is not None:
        found += check_url("callback_url", request.callback_url)
    return found


def _settings(request: ImageToVideo, rules: ModelRules | None) -> Violations:
    """Return what is broken by the choice of settings."""
    most = rules.max_count if rules else MAX_COUNT
    ratios = rules.aspect_ratios if rules else ASPECT_RATIOS
    found = (
        *check_choice("aspect_ratio", request.aspect_ratio, ratios),
        *check_flag("generate_audio", request.generate_audio),
        *check_range("generate_count", request.generate_count, 1, most),
    )
    if rules is None:
        return found + check_choice("model", request.model, tuple(MODELS))
    return found + tuple(one for check in _MODEL_CHECKS for one in check(request, rules))


def _has_references(request: ImageToVideo) -> bool:
    """Tell whether there are references; what is not a list of them is refused by its own check."""
    references: object = request.reference_images
    return not isinstance(references, tuple) or bool(references)


def _resolution(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    where = f" for model {request.model}"
    yield from check_choice(
        "aspect_resolution", request.aspect_resolution, rules.resolutions, where
    )


def _duration(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    # With neither image nor references the one violation is that: not the duration as well.
    started = request.image_url is not None or not _has_references(request)
    where = f" seconds for model {request.model}"
    if rules.reference_durations is not None:
        where += " with a start frame" if started else " with references alone"
    allowed = rules.durations_for(start_frame=started)
    yield from check_choice("duration", request.duration, allowed, where)


def _images(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    started, referring = request.image_url is not None, _has_references(request)
    if started and rules.start_frame == "unused":
        yield _unused(request, "image_url")
    if not started and rules.start_frame == "required":
        yield _required(request, "image_url", "a start frame")
    if not (started or referring) and rules.start_frame == "optional":
        need = "a start frame or reference_images" if rules.max_references else "a start frame"
        yield _required(request, "image_url", need)
    if not referring and rules.start_frame == "unused":
        yield _required(request, "reference_images", f"1 to {rules.max_references} of them")


def _end_frame(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    if request.end_image_url is None:
        return
    if not rules.end_frame:
        yield _unused(request, "end_image_url")
    elif request.image_url is None:
        yield _required(request, "image_url", "a start frame, since end_image_url is given")


def _reference_count(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    references, most = request.reference_images, rules.max_references
    if isinstance(references, tuple) and len(references) > most:
        if most == 0:
            yield _unused(request, "reference_images")
            return
        got = len(references)
        message = f"must have at most {most} images for model {request.model} (got {got})"
        yield Violation("reference_images", references, "count", message)


def _audio(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    if request.generate_audio is True and not rules.audio:
        yield _unused(request, "generate_audio")


def _unused(request: ImageToVideo, name: str) -> Violation:
    message = f"is not used by model {request.model}: leave it out"
    return Violation(name, getattr(request, name), "unused", message)


def _required(request: ImageToVideo, name: str, what: str) -> Violation:
    message = f"model {request.model} needs {what}"
    return Violation(name, getattr(request, name), "required", message)


_Check = Callable[[ImageToVideo, ModelRules], Iterable[Violation]]
_MODEL_CHECKS: tuple[_Check, ...] = (
    _resolution,
    _duration,
    _images,
    _end_frame,
    _reference_count,
    _audio,
)
