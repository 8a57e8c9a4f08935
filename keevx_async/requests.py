"""Requests: frozen, validated when made, every violation reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar, Self, TypeGuard, cast

import attrs
from attrs import field, frozen

from .errors import InvalidRequest, Violation
from .kinds import IMAGE_TO_VIDEO, Kind
from .rules import ASPECT_RATIOS, MAX_COUNT, MAX_PROMPT, MODELS, ModelRules

FILE_SCHEME = "file:"

_URL = re.compile(
    r"https?://(?:[^\s/?#@\\]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::(\d{1,5}))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)


def is_url(value: object) -> TypeGuard[str]:
    """Tell whether value is an absolute http(s) URL with a host."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    found = _URL.fullmatch(value)
    return found is not None and int(found[1] or 0) <= 65535


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether value is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(
    name: str, value: object, allowed: tuple[Any, ...], where: str = ""
) -> Iterator[Violation]:
    """Yield a violation unless value is one of allowed, of the same type."""
    if not any(type(value) is type(good) and value == good for good in allowed):
        listed = ", ".join(map(str, allowed))
        yield Violation(name, value, "allowed", f"{value!r} is not one of {listed}{where}")


def in_range(name: str, value: object, low: int, high: int) -> Iterator[Violation]:
    """Yield a violation unless value is an integer between low and high."""
    if not (is_int(value) and low <= value <= high):
        message = f"{value!r} is not a whole number from {low} to {high}"
        yield Violation(name, value, "range", message)


def a_prompt(name: str, value: object, longest: int) -> Iterator[Violation]:
    """Yield a violation unless value is a text that is neither blank nor too long."""
    if not isinstance(value, str):
        yield Violation(name, value, "type", f"{value!r} is not a text")
    elif not value.strip():
        yield Violation(name, value, "required", "is blank; describe what should be seen")
    elif len(value) > longest:
        message = f"has {len(value)} characters, at most {longest} are taken"
        yield Violation(name, value, "length", message)
    elif not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        yield Violation(name, value, "text", "holds a lone surrogate, which is no valid text")


def a_url(name: str, value: object) -> Iterator[Violation]:
    """Yield a violation unless value is an absolute http(s) URL."""
    if not is_url(value):
        message = f"{value!r} is not an absolute http(s) URL with a host"
        yield Violation(name, value, "url", message)


def a_source(name: str, value: object) -> Iterator[Violation]:
    """Yield a violation unless value is a URL or a local path, which is uploaded later."""
    if not isinstance(value, PurePath) and not is_url(value):
        message = (
            f"{value!r} is not an absolute http(s) URL with a host; "
            "for a local file give a pathlib.Path"
        )
        yield Violation(name, value, "url", message)


def a_flag(name: str, value: object) -> Iterator[Violation]:
    """Yield a violation unless value is a bool."""
    if not isinstance(value, bool):
        yield Violation(name, value, "type", f"{value!r} is neither true nor false")


def _listed(value: Iterable[str | Path]) -> tuple[str | Path, ...]:
    return tuple(value) if isinstance(value, list) else cast(tuple[str | Path, ...], value)


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return FILE_SCHEME + value.as_posix()
    if isinstance(value, tuple):
        return [_plain(one) for one in cast(tuple[object, ...], value)]
    return value


def _rich(value: object) -> object:
    if isinstance(value, str) and value[:5].lower() == FILE_SCHEME:
        path = value[len(FILE_SCHEME) :]
        return Path(path[2:] if path.startswith("///") else path)
    if isinstance(value, list):
        return tuple(_rich(one) for one in cast(list[object], value))
    return value


class Request:
    """What every kind of request can do. Subclasses are frozen attrs classes."""

    __slots__ = ()
    kind: ClassVar[Kind]
    sources: ClassVar[tuple[str, ...]]
    """Names of the fields that take a URL or a local path."""

    def __attrs_post_init__(self) -> None:
        violations = tuple(self.violations())
        if violations:
            raise InvalidRequest(violations)

    def violations(self) -> Iterable[Violation]:
        """Return every rule this request breaks."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the body as the API names it, nulls and defaults left out.

        A local path is written ``file:PATH``, so that the result is plain JSON.
        """
        return {
            name: _plain(value)
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) != default or type(value) is not type(default)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a request from what ``to_dict`` returned.

        Raises:
            InvalidRequest: a field is unknown or missing, or a rule is broken.
        """
        raise_unless_fields(cls, data)
        return cls(
            **{name: _rich(one) if name in cls.sources else one for name, one in data.items()}
        )

    def local_files(self) -> tuple[Path, ...]:
        """Return the paths among its sources, in order, which are uploaded when submitted."""
        values: list[object] = [getattr(self, name) for name in self.sources]
        flat = [one for value in values for one in _several(value)]
        return tuple(Path(one) for one in flat if isinstance(one, PurePath))

    def with_urls(self, urls: Mapping[Path, str]) -> Self:
        """Return the request with each local path replaced by its uploaded URL."""

        def swap(value: object) -> object:
            several = _several(value)
            if isinstance(value, tuple):
                return tuple(swap(one) for one in several)
            return urls[Path(value)] if isinstance(value, PurePath) else value

        changes = {name: swap(getattr(self, name)) for name in self.sources}
        return cast(Self, attrs.evolve(cast(Any, self), **changes))


def _several(value: object) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


_DEFAULTS: dict[type, tuple[tuple[str, Any], ...]] = {}


def _defaults(cls: type) -> tuple[tuple[str, Any], ...]:
    if cls not in _DEFAULTS:
        _DEFAULTS[cls] = tuple((one.name, one.default) for one in attrs.fields(cls))
    return _DEFAULTS[cls]


def raise_unless_fields(cls: type, data: Mapping[str, Any]) -> None:
    """Raise InvalidRequest naming each unknown and each missing field of data."""
    known = dict(_defaults(cls))
    unknown = [
        Violation(str(name), data[name], "unknown", f"is no field; known are {', '.join(known)}")
        for name in data
        if name not in known
    ]
    missing = [
        Violation(name, None, "required", "is required")
        for name, default in known.items()
        if default is attrs.NOTHING and name not in data
    ]
    if unknown or missing:
        raise InvalidRequest([*unknown, *missing])


@frozen(kw_only=True)
class ImageToVideo(Request):
    """One image-to-video job, fields named as the API names them.

    Source: the vendor's create page, "Create Image to Video Task".

    Args:
        model: ``V``, ``KL`` or ``S``; see ``MODELS``.
        prompt: 1 to 1000 characters.
        aspect_ratio: ``16:9`` or ``9:16``.
        aspect_resolution: ``720p``, ``1080p`` or ``4k``, as the model takes.
        duration: seconds, as the model takes.
        image_url: start frame: a URL, or a ``pathlib.Path`` that is uploaded when submitted.
        end_image_url: end frame, likewise; needs a start frame.
        reference_images: up to three (V) or seven (KL) of the same.
        generate_audio: V only.
        generate_count: number of videos, 1 to 4; one task id each.
        callback_url: notified when a task ends.

    Raises:
        InvalidRequest: with every violation.
    """

    kind: ClassVar[Kind] = IMAGE_TO_VIDEO
    sources: ClassVar[tuple[str, ...]] = ("image_url", "end_image_url", "reference_images")

    model: str
    prompt: str
    aspect_ratio: str
    aspect_resolution: str
    duration: int
    image_url: str | Path | None = None
    end_image_url: str | Path | None = None
    reference_images: tuple[str | Path, ...] = field(default=(), converter=_listed)
    generate_audio: bool = False
    generate_count: int = 1
    callback_url: str | None = None

    def violations(self) -> Iterable[Violation]:
        """Return every rule this request breaks."""
        rules = MODELS.get(self.model) if isinstance(self.model, str) else None
        found = [*_general(self, rules)]
        if rules is None:
            message = f"{self.model!r} is not one of {', '.join(MODELS)}"
            return [Violation("model", self.model, "allowed", message), *found]
        for check in _MODEL_CHECKS:
            found += check(self, rules)
        return found


def _general(request: ImageToVideo, rules: ModelRules | None) -> Iterator[Violation]:
    yield from a_prompt("prompt", request.prompt, rules.max_prompt if rules else MAX_PROMPT)
    ratios = rules.aspect_ratios if rules else ASPECT_RATIOS
    yield from one_of("aspect_ratio", request.aspect_ratio, ratios)
    for name in ("image_url", "end_image_url"):
        if (value := getattr(request, name)) is not None:
            yield from a_source(name, value)
    yield from _references(request.reference_images)
    yield from a_flag("generate_audio", request.generate_audio)
    most = rules.max_count if rules else MAX_COUNT
    yield from in_range("generate_count", request.generate_count, 1, most)
    if request.callback_url is not None:
        yield from a_url("callback_url", request.callback_url)


def _references(value: object) -> Iterator[Violation]:
    if not isinstance(value, tuple):
        yield Violation("reference_images", value, "type", f"{value!r} is not a list of URLs")
        return
    for number, one in enumerate(cast(tuple[object, ...], value)):
        yield from a_source(f"reference_images[{number}]", one)


def _resolution(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    where = f" that model {request.model} takes"
    yield from one_of("aspect_resolution", request.aspect_resolution, rules.resolutions, where)


def _duration(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    started = request.image_url is not None
    where = f" seconds that model {request.model} takes"
    if rules.reference_durations is not None:
        where += " with a start frame" if started else " with references alone"
    allowed = rules.durations_for(start_frame=started)
    yield from one_of("duration", request.duration, allowed, where)


def _images(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    started, referring = request.image_url is not None, bool(request.reference_images)
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
        message = f"has {len(references)} images, model {request.model} takes at most {most}"
        yield Violation("reference_images", references, "count", message)


def _audio(request: ImageToVideo, rules: ModelRules) -> Iterator[Violation]:
    if request.generate_audio is True and not rules.audio:
        yield _unused(request, "generate_audio")


def _unused(request: ImageToVideo, name: str) -> Violation:
    message = f"is not used by model {request.model}; leave it out"
    return Violation(name, getattr(request, name), "unused", message)


def _required(request: ImageToVideo, name: str, what: str) -> Violation:
    message = f"model {request.model} needs {what}"
    return Violation(name, getattr(request, name), "required", message)


_Check = Callable[[ImageToVideo, ModelRules], Iterator[Violation]]
_MODEL_CHECKS: tuple[_Check, ...] = (
    _resolution,
    _duration,
    _images,
    _end_frame,
    _reference_count,
    _audio,
)
