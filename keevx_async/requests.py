"""What every kind of request can do, and the checks their rules are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar, Protocol, Self, SupportsIndex, TypeGuard, cast

import attrs

from .errors import InvalidRequest, Violation
from .kinds import Kind

FILE_SCHEME = "file:"
TASK_SCHEME = "task:"

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


Found = tuple[Violation, ...]
"""What a check has found: mostly nothing, and then it must cost next to nothing."""
Check = Callable[[str, Any], Found]
"""Takes a field's name and value. A request's rules are one for each of its fields."""


class Made:
    """What an earlier job made: a source for the next."""

    __slots__ = ()
    task_id: str

    def made(self, name: str) -> str | None:
        """Return the URL in the field of that name, if the job has succeeded."""
        raise NotImplementedError


class Borrowed(str):
    """A URL that remembers whose result it is: the URL is renewed, the task stays.

    Attributes:
        task_id: of the task that made it.
    """

    task_id: str


def one_of(name: str, value: object, allowed: tuple[Any, ...], where: str = "") -> Found:
    """Return a violation unless value is one of allowed, of the same type."""
    if any(type(value) is type(good) and value == good for good in allowed):
        return ()
    listed = ", ".join(map(str, allowed))
    return (Violation(name, value, "allowed", f"{value!r} is not one of {listed}{where}"),)


def in_range(name: str, value: object, low: int, high: int) -> Found:
    """Return a violation unless value is an integer between low and high."""
    if is_int(value) and low <= value <= high:
        return ()
    message = f"{value!r} is not a whole number from {low} to {high}"
    return (Violation(name, value, "range", message),)


def at_least(name: str, value: object, low: int) -> Found:
    """Return a violation unless value is an integer from low on."""
    if is_int(value) and value >= low:
        return ()
    return (Violation(name, value, "range", f"{value!r} is not a whole number from {low} on"),)


def a_prompt(name: str, value: object, longest: int) -> Found:
    """Return a violation unless value is a text that is neither blank nor too long."""
    return a_text(name, value, longest, "is blank; describe what should be seen")


def a_text(name: str, value: object, longest: int, blank: str = "is blank") -> Found:
    """Return a violation unless value is a text that is neither blank nor too long."""
    if not isinstance(value, str):
        return (Violation(name, value, "type", f"{value!r} is not a text"),)
    if not value or value.isspace():
        return (Violation(name, value, "required", blank),)
    if len(value) > longest:
        message = f"has {len(value)} characters, at most {longest} are taken"
        return (Violation(name, value, "length", message),)
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return (Violation(name, value, "text", "holds a lone surrogate, which is no valid text"),)
    return ()


def a_url(name: str, value: object) -> Found:
    """Return a violation unless value is an absolute http(s) URL."""
    if is_url(value):
        return ()
    message = f"{value!r} is not an absolute http(s) URL with a host"
    if isinstance(value, Made):
        message = f"{value!r} has no such result; wait until one that makes it has succeeded"
    return (Violation(name, value, "url", message),)


def a_source(name: str, value: object) -> Found:
    """Return a violation unless value is a URL or a local path, which is uploaded later."""
    if is_url(value):
        return ()
    if isinstance(value, Made):
        return a_url(name, value)
    if not isinstance(value, PurePath):
        (found,) = a_url(name, value)
        message = f"{found.message}; for a local file give a pathlib.Path"
        return (Violation(name, value, "url", message),)
    if value.as_posix().isprintable():
        return ()
    message = f"{value!r} is a path with letters that cannot be written down; rename it"
    return (Violation(name, value, "text", message),)


def a_flag(name: str, value: object) -> Found:
    """Return a violation unless value is a bool."""
    if isinstance(value, bool):
        return ()
    return (Violation(name, value, "type", f"{value!r} is neither true nor false"),)


def some(name: str, value: object, check: Check, most: int | None = None) -> Found:
    """Return what check finds in a list, and a violation where it holds more than most."""
    if not isinstance(value, tuple):
        return (Violation(name, value, "type", f"{value!r} is not a list"),)
    several = cast(tuple[object, ...], value)
    found = tuple(
        one for number, each in enumerate(several) for one in check(f"{name}[{number}]", each)
    )
    if most is None or len(several) <= most:
        return found
    return (
        *found,
        Violation(name, value, "count", f"has {len(several)}, at most {most} are taken"),
    )


class Images(Protocol):
    """A list or a tuple of URLs, paths and tasks, for type checkers; one URL alone is none.

    A ``str`` is a sequence of texts, but its ``__contains__`` takes no more than texts.
    """

    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str | Path | Made]: ...
    def __getitem__(self, index: SupportsIndex, /) -> str | Path | Made: ...


def tupled(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return a list as a tuple; anything else is left for the rules to refuse."""
    return tuple(value) if isinstance(value, list) else value


def listed(value: Images) -> tuple[str | Path, ...]:
    """Return a list of sources as a tuple of them; anything else is left for the rules."""
    known = cast(list[str | Path | Made] | tuple[str | Path | Made, ...], value)
    if known and isinstance(known, list | tuple):
        return tuple(cast(str | Path, an_image(one)) for one in known)
    return () if isinstance(known, list) else cast(tuple[str | Path, ...], known)


def an_image(value: str | Path | Made | None) -> str | Path | None:
    """Return the URL of the image that a task made; one without is left for the rules."""
    return _borrowed(value, "image_url") if isinstance(value, Made) else value


def a_video(value: str | Made) -> str:
    """Return the URL of the video that a task made; one without is left for the rules."""
    return _borrowed(value, "video_url") if isinstance(value, Made) else value


def _borrowed(task: Made, name: str) -> str:
    url = task.made(name)
    if not url:
        return cast(str, task)
    borrowed = Borrowed(url)
    borrowed.task_id = task.task_id
    return borrowed


def plain(value: object) -> object:
    """Return a field's value as JSON knows it."""
    if isinstance(value, PurePath):
        return FILE_SCHEME + value.as_posix()
    if isinstance(value, tuple):
        return [plain(one) for one in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, Borrowed) else value


def lasting(value: object) -> object:
    """Return a field's value as a journal knows it: what a task made, by the task."""
    if isinstance(value, Borrowed):
        return TASK_SCHEME + value.task_id
    if isinstance(value, tuple):
        return [lasting(one) for one in cast(tuple[object, ...], value)]
    return plain(value)


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
    sources: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that take a URL or a local path."""
    alike: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that how long it takes depends on."""
    rules: ClassVar[Mapping[str, Check]] = {}
    """What each field takes; a default always will do."""
    callback_url: str | None

    @property
    def count(self) -> int:
        """How many tasks it makes."""
        return getattr(self, "generate_count", 1)

    @property
    def subject(self) -> str:
        """What it asks for, as a person knows it."""
        return str(getattr(self, "prompt", self.kind.name))

    @property
    def group(self) -> str:
        """What it is like: requests of one group are thought to take as long."""
        return "/".join((self.kind.name, *(str(getattr(self, name)) for name in self.alike)))

    def __attrs_post_init__(self) -> None:
        if violations := self.violations():
            raise InvalidRequest(violations)

    def violations(self) -> Found:
        """Return every rule this request breaks."""
        return tuple(
            found
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) is not default  # True equals 1, and is none
            for found in self.rules[name](name, value)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the body as the API names it, nulls and defaults left out.

        A local path is written ``file:PATH``, so that the result is plain JSON.
        """
        return {name: plain(value) for name, value in self.given()}

    def given(self) -> list[tuple[str, Any]]:
        """Return the fields that differ from their defaults, by name, as they are."""
        return [
            (name, value)
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) is not default and value != default
        ]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a request from what ``to_dict`` returned.

        A text that begins with ``file:`` becomes a local path, which is uploaded when submitted.
        In a stranger's data that is a file of yours: look at ``local_files()`` first.

        Raises:
            InvalidRequest: a field is unknown or missing, or a rule is broken.
        """
        raise_unless_fields(cls, data)
        return cls(
            **{name: _rich(one) if name in cls.sources else one for name, one in data.items()}
        )

    def local_files(self) -> tuple[Path, ...]:
        """Return the paths among its sources, in order, which are uploaded when submitted."""
        found: list[Path] = []
        for name in self.sources:
            value = getattr(self, name)
            if value and value.__class__ is not str:  # most are URLs
                found += [Path(one) for one in _several(value) if isinstance(one, PurePath)]
        return tuple(found)

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
