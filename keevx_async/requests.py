"""What every kind of request can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar, Self, cast

import attrs

from .checks import Check, Found
from .errors import InvalidRequest, Violation
from .inputs import plain, rich
from .kinds import Kind


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
            **{name: rich(one) if name in cls.sources else one for name, one in data.items()}
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
