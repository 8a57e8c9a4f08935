"""What every kind of request can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, ClassVar, Self, cast

import attrs

from ..errors import InvalidRequest, Violation
from .kinds import Kind
from .sources import from_json, is_null, to_json
from .validators import Check, Violations, shown

LIKENESS = 0.75
"""How much alike (``difflib``) a wrong name must be to one that it is taken for; ``model`` is no
misspelt ``module``."""


class Request:
    """What every kind of request can do. Subclasses are frozen attrs classes."""

    __slots__ = ()
    kind: ClassVar[Kind]
    source_fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that take a URL or a local path."""
    duration_fields: ClassVar[tuple[str, ...]] = ()
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
        return "/".join(
            (self.kind.name, *(str(getattr(self, name)) for name in self.duration_fields))
        )

    def __attrs_post_init__(self) -> None:
        if violations := self.violations():
            raise InvalidRequest(violations)

    def violations(self) -> Violations:
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
        return {name: to_json(value) for name, value in self.explicit_fields()}

    def explicit_fields(self) -> list[tuple[str, Any]]:
        """Return the fields that differ from their defaults, by name, as they are."""
        return [
            (name, value)
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) is not default and value != default
        ]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a request from what ``to_dict`` returned, or from a row of any table.

        Null is absent: None, and the NaN that pandas writes for it. A text that begins with
        ``file:`` becomes a local path, which is uploaded when submitted. In a stranger's data
        that is a file of yours: look at ``local_files()`` first.

        Raises:
            InvalidRequest: a field is unknown or missing, or a rule is broken; with every
                violation.
        """
        if not isinstance(cast(object, data), Mapping):
            message = f"must be a mapping of fields to values (got {shown(data)})"
            raise InvalidRequest([Violation("request", data, "type", message)])
        known = dict(_defaults(cls))
        values = {
            name: from_json(value) if name in cls.source_fields else value
            for name, value in data.items()
            if name in known and not is_null(value)
        }
        missing = [
            name
            for name, default in known.items()
            if default is attrs.NOTHING and name not in values
        ]
        found = [
            *(_unknown(str(name), data[name], cls) for name in data if name not in known),
            *(Violation(name, None, "required", "is required") for name in missing),
        ]
        if not found:
            return cls(**values)
        # What is missing stands as None, so that the rest is checked in the same round.
        try:
            cls(**values, **dict.fromkeys(missing))
        except InvalidRequest as error:
            found += [one for one in error.violations if one.field not in missing]
        raise InvalidRequest(found)

    @classmethod
    def many(cls, rows: Iterable[Mapping[str, Any]]) -> list[Self]:
        """Build a request from each row, as ``from_dict`` does.

        Args:
            rows: such as ``frame.to_dict("records")`` of a pandas DataFrame.

        Raises:
            InvalidRequest: with every violation of every row; ``rows[2].prompt`` names the field
                ``prompt`` of the third row.
        """
        found: list[Violation] = []
        made: list[Self] = []
        for number, row in enumerate(rows):
            try:
                made.append(cls.from_dict(row))
            except InvalidRequest as error:
                found += [_in_row(number, one) for one in error.violations]
        if found:
            raise InvalidRequest(found)
        return made

    def local_files(self) -> tuple[Path, ...]:
        """Return the paths among its sources, in order, which are uploaded when submitted."""
        found: list[Path] = []
        for name in self.source_fields:
            value = getattr(self, name)
            if value and value.__class__ is not str:  # most are URLs
                found += [Path(one) for one in _as_tuple(value) if isinstance(one, PurePath)]
        return tuple(found)

    def with_urls(self, urls: Mapping[Path, str]) -> Self:
        """Return the request with each local path replaced by its uploaded URL."""

        def swap(value: object) -> object:
            several = _as_tuple(value)
            if isinstance(value, tuple):
                return tuple(swap(one) for one in several)
            return urls[Path(value)] if isinstance(value, PurePath) else value

        changes = {name: swap(getattr(self, name)) for name in self.source_fields}
        return cast(Self, attrs.evolve(cast(Any, self), **changes))


def _as_tuple(value: object) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


_DEFAULTS: dict[type, tuple[tuple[str, Any], ...]] = {}


def _defaults(cls: type) -> tuple[tuple[str, Any], ...]:
    if cls not in _DEFAULTS:
        _DEFAULTS[cls] = tuple((one.name, one.default) for one in attrs.fields(cls))
    return _DEFAULTS[cls]


def _unknown(name: str, value: object, cls: type[Request]) -> Violation:
    """Return the violation by a field that there is none of, with the nearest there is."""
    known = [field for field, _ in _defaults(cls)]
    plain_names = {_plain_name(field): field for field in known}
    near = get_close_matches(_plain_name(name), plain_names, n=1, cutoff=LIKENESS)
    hint = f"did you mean {plain_names[near[0]]!r}?" if near else f"known are {', '.join(known)}"
    return Violation(name, value, "unknown", f"unknown field {name!r}: {hint}")


def _in_row(number: int, violation: Violation) -> Violation:
    """Return a violation as one of a row; of an unknown field the message says where it stands."""
    row = f"rows[{number}]"
    unknown = violation.rule == "unknown"
    message = f"{row}: {violation.message}" if unknown else violation.message
    return attrs.evolve(violation, field=f"{row}.{violation.field}", message=message)


def _plain_name(name: str) -> str:
    """Return a name without what spellings differ by: ``imageUrl`` and ``Image URL`` are one."""
    return "".join(filter(str.isalnum, name)).casefold()


def check_request(value: object) -> Request:
    """Return value if it is a request.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(value, Request):
        message = f"must be a request (got {shown(value)}): make an ImageToVideo, for example"
        raise InvalidRequest([Violation("request", value, "type", message)])
    return value
