"""The vendor's pages as rules, written independently of the SDK's own validation.

The source of each rule is https://docs.keevx.com, "Create Image to Video Task", unless noted
otherwise. "Not used in model X" is taken strictly: a field that X does not use is refused, so that
tests catch clients that send it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from .records import Broken

PARAMETER, PROMPT_TOO_LONG = 100001, 100005

RESOLUTIONS: dict[str, tuple[str, ...]] = {
    "V": ("720p", "1080p", "4k"),
    "KL": ("720p", "1080p"),
    "S": ("720p",),
}
DURATIONS: dict[str, tuple[int, ...]] = {"V": (4, 6, 8), "KL": (5, 10), "S": (4, 8, 12)}
# KL's limit is from the China edition of the page, V's from "Max 3 images".
REFERENCES = {"V": 3, "KL": 7, "S": 0}
SIDES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}

_ALWAYS = {"model", "prompt", "aspect_ratio", "aspect_resolution", "duration"}
_IMAGES = {"image_url", "end_image_url", "reference_images"}
IMAGE_TO_VIDEO_FIELDS = frozenset(
    _ALWAYS | _IMAGES | {"generate_audio", "generate_count", "callback_url"}
)


def image_to_video(body: Mapping[str, Any]) -> Broken | None:
    """Return the first rule of the create page that the body breaks, or None.

    The rules for all models are checked first, because the model-specific rules rely on them.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, str) and len(prompt) > 1000:
        return PROMPT_TOO_LONG, "Parameter error: prompt is limited to 1000 characters"
    return _broken(next(_form(body), None) or next(_model(body), None))


def _broken(message: str | None) -> Broken | None:
    return (PARAMETER, f"Parameter error: {message}") if message else None


def _form(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the violations of rules that apply to every model."""
    if not isinstance(body.get("prompt"), str) or not body["prompt"]:
        yield "prompt cannot be empty"
    if not _among(body.get("model"), DURATIONS):
        yield "model must be V, KL or S"
    if not _among(body.get("aspect_ratio"), ("16:9", "9:16")):
        yield "aspect_ratio must be 16:9 or 9:16"
    if not _whole(body.get("generate_count", 1), 1, 4):
        yield "generate_count must be 1 to 4"
    if not isinstance(body.get("generate_audio", False), bool):
        yield "generate_audio must be a boolean"
    yield from _addresses(body)


def _addresses(body: Mapping[str, Any]) -> Iterator[str]:
    for name in ("image_url", "end_image_url", "video_url", "callback_url"):
        if name in body and not _is_url(body[name]):
            yield f"{name} must be a URL"
    references: list[Any] = body.get("reference_images", [])  # or any JSON
    if not isinstance(references, list) or not all(_is_url(url) for url in references):
        yield "reference_images must be a list of URLs"


def _model(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the violations of the model's own rules; the body is otherwise valid."""
    model, start = body["model"], "image_url" in body
    references = body.get("reference_images", [])
    if not _among(body.get("aspect_resolution"), RESOLUTIONS[model]):
        yield f"aspect_resolution of model {model} must be one of {RESOLUTIONS[model]}"
    if len(references) > REFERENCES[model]:
        yield f"reference_images of model {model}: at most {REFERENCES[model]}"
    if model != "V" and ("end_image_url" in body or body.get("generate_audio")):
        yield f"end_image_url and generate_audio are not supported by model {model}"
    if "end_image_url" in body and not start:
        yield "end_image_url needs image_url"
    if model == "S" and not start:
        yield "image_url is required for model S"
    if model == "KL" and start:
        yield "image_url is not used in model KL"
    if model == "KL" and not references:
        yield "reference_images is required for model KL"
    if model == "V" and not (start or references):
        yield "image_url or reference_images is required for model V"
    # The page's own example has a start frame, two references and 6 seconds, so only references
    # alone select the multi-image mode, which always lasts 8 seconds.
    allowed = (8,) if model == "V" and not start else DURATIONS[model]
    duration = body.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, int) or duration not in allowed:
        yield f"duration must be one of {allowed}"


# The sister endpoints: the vendor's skill pages, "image_generate" and "video_translate".
CHOICES = {
    "module": ("std", "pro"),
    "image_quality": ("1K", "2K", "4K"),
    "image_ratio": ("1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
}
IMAGE_GENERATE_FIELDS = frozenset(
    {"prompt", "reference_images", "generate_count", "callback_url", *CHOICES}
)
_FLAGS = ("translate_audio_only", "enable_dynamic_duration", "enable_caption")
VIDEO_TRANSLATE_FIELDS = frozenset(
    {"target_languages", "video_url", "speaker_num", "name", "callback_url", *_FLAGS}
)
LANGUAGES = ("English", "Chinese", "Japanese", "Spanish", "German")
_VALIDATION = 100002  # of image_generate alone: "validation failed"


def image_generate(body: Mapping[str, Any]) -> Broken | None:
    """Return the first rule that an image_generate body breaks, or None.

    The server ignores references after the fifth. Here they are refused, so that tests catch
    clients that send too many.
    """
    message = next(_image(body), None)
    return (_VALIDATION, f"Validation failed: {message}") if message else None


def _image(body: Mapping[str, Any]) -> Iterator[str]:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not 0 < len(prompt) <= 1000:
        yield "prompt must have 1 to 1000 characters"
    if not _whole(body.get("generate_count", 1), 1, 8):
        yield "generate_count must be 1 to 8"
    for name, allowed in CHOICES.items():
        if not _among(body.get(name, allowed[0]), allowed):
            yield f"{name} must be one of {allowed}"
    yield from _addresses(body)
    if len(body.get("reference_images", [])) > 5:
        yield "reference_images: at most 5"


def video_translate(body: Mapping[str, Any]) -> Broken | None:
    """Return the first rule that a video_translate body breaks, or None."""
    return _broken(next(_translation(body), None))


def _translation(body: Mapping[str, Any]) -> Iterator[str]:
    languages: list[Any] = body.get("target_languages", [])  # or any JSON
    if not isinstance(languages, list) or len(languages) != 1:
        yield "target_languages must be a list of one language"
    elif not _among(languages[0], LANGUAGES):
        yield f"target_languages: {languages[0]!r} is not supported"
    if "video_url" not in body:
        yield "video_url is required"
    if not _whole(body.get("speaker_num", 1), 0, 100):
        yield "speaker_num must be 0 or more"
    if not all(isinstance(body.get(name, True), bool) for name in _FLAGS):
        yield f"{', '.join(_FLAGS)} must be booleans"
    name = body.get("name", "")
    if not isinstance(name, str) or len(name) >= 100:
        yield "name must have fewer than 100 characters"
    yield from _addresses(body)


def _among(value: object, allowed: Any) -> bool:
    return isinstance(value, str) and value in allowed


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
