"""The base of every request: validation, local files, and conversion to dicts and bytes.

A request is converted to bytes for two purposes: the body of a create, and the canonical body that
the journal compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from json.encoder import encode_basestring
from operator import attrgetter
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import attrs

from ..errors import InvalidRequest, Violation
from .advice import frame_advice, image_advice
from .converters import from_json, is_null, to_canonical, to_json
from .kinds import Kind
from .object_path import ObjectPath
from .pictures import Picture, look_at
from .schema import of_check, of_request, pydantic_schema
from .validators import Check, Violations, shown

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

MIN_SIMILARITY = 0.75
"""The minimum ``difflib`` similarity at which a known field is suggested for an unknown field. High
enough that ``model`` does not count as a misspelled ``module``."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_Layout = tuple[Callable[[Any], Any], tuple[Any, ...], tuple[str, ...]]
NO_FILES: Mapping[Path, str] = MappingProxyType({})
_LAYOUTS: dict[type, _Layout] = {}
"""For each request class: a getter for all fields, their defaults, and their JSON keys."""


class Request:
    """The base class of all requests. Its subclasses are frozen attrs classes, one per kind of job.

    A request is validated on creation, so an existing request breaks no rule. Two requests with
    equal fields are equal.
    """

    __slots__ = ()
    kind: ClassVar[Kind]
    """The kind of job: its endpoint and its peculiarities."""
    source_fields: ClassVar[tuple[str, ...]] = ()
    """The names of the fields that accept a URL or a local path."""
    duration_fields: ClassVar[tuple[str, ...]] = ()
    """The names of the fields that determine how long a task takes."""
    rules: ClassVar[Mapping[str, Check]] = {}
    """The check for each field. Defaults are never checked."""
    callback_url: str | None

    @property
    def count(self) -> int:
        """The number of tasks that the request makes. Each task is charged."""
        return getattr(self, "generate_count", 1)

    @property
    def subject(self) -> str:
        """The text by which people recognize the request: its prompt, or the name of its kind."""
        return str(getattr(self, "prompt", self.kind.name))

    @property
    def group(self) -> str:
        """The name of the request's group. Tasks in the same group should take equally long.

        The name consists of the kind and the ``duration_fields``, such as
        ``image_to_video/V/720p/8/False``.
        """
        return "/".join(
            (self.kind.name, *(str(getattr(self, name)) for name in self.duration_fields))
        )

    def __attrs_post_init__(self) -> None:
        if violations := self.violations():
            raise InvalidRequest(violations)

    def violations(self) -> Violations:
        """Return a violation for each rule that this request breaks; empty if it is valid."""
        return tuple(
            violation
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) is not default  # equality would let True pass for 1
            for violation in self.rules[name](name, value)
        )

    def warnings(self) -> Violations:
        """Return warnings about probable mistakes in valid fields, such as a frame's wrong ratio.

        This opens the local images and, if Pillow is installed (the ``images`` extra), decodes them
        completely; call it in a thread if that would block an event loop. An image that cannot be
        read is skipped: submitting reports it. Each warning's ``rule`` is ``ratio``, ``ends``,
        ``small``, ``orientation``, ``damaged`` or ``narration``. Nothing is sent.
        """
        pictures = {path: picture for path in self.local_files() if (picture := look_at(path))}
        return tuple(self.iter_warnings(pictures))

    def iter_warnings(self, pictures: Mapping[Path, Picture]) -> Iterator[Violation]:
        """Yield warnings about local images, skipping images whose properties are not given."""
        resolution = getattr(self, "aspect_resolution", "")
        for name in self.source_fields:
            for path in _as_tuple(getattr(self, name)):
                picture = pictures.get(path) if isinstance(path, Path) else None
                if picture is not None and isinstance(path, Path):
                    yield from image_advice(name, path, picture)
                    if ratio := self.frame_ratio(name):
                        yield from frame_advice(name, path, picture, ratio, resolution)

    def frame_ratio(self, name: str) -> str | None:
        """Return the ratio that a field's images should have, such as ``16:9``; None for any ratio.

        Args:
            name: one of ``source_fields``.
        """
        return None

    def frame_ratios(self) -> dict[Path, str]:
        """Return each local image's required ratio, leaving out images that may have any ratio.

        A file used in two fields gets the ratio of the field that requires a ratio.
        """
        return {
            path: ratio
            for name in self.source_fields
            if (ratio := self.frame_ratio(name))
            for path in _as_tuple(getattr(self, name))
            if isinstance(path, Path)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as the API names them, without nulls and defaults.

        The result is plain JSON: a local path becomes ``file:PATH``. ``from_dict`` is its exact
        inverse.
        """
        return {name: to_json(value) for name, value in self.explicit_fields()}

    def explicit_fields(self) -> list[tuple[str, Any]]:
        """Return the names and values of the fields that differ from their defaults."""
        return [
            (name, value)
            for name, default in _defaults(type(self))
            if (value := getattr(self, name)) is not default and value != default
        ]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a request from the result of ``to_dict``, or from a table row.

        None counts as absent, and so does the NaN that pandas uses instead. A string that starts
        with ``file:`` becomes a local path, which is uploaded when the request is submitted. In
        untrusted data, such a string can name one of your files: check ``local_files()`` first.

        Raises:
            InvalidRequest: a field is unknown or missing, or breaks a rule; ``violations`` lists
                every such field.
        """
        if not isinstance(cast(object, data), Mapping):
            message = f"must be a mapping of fields to values (got {shown(data)})"
            raise InvalidRequest([Violation("request", data, "type", message)])
        # Three kinds of mistakes are reported together: unknown fields, missing fields, and rules
        # that the other fields break. A null is dropped, so a required field that is null counts as
        # missing.
        defaults = dict(_defaults(cls))
        values = {
            name: from_json(value) if name in cls.source_fields else value
            for name, value in data.items()
            if name in defaults and not is_null(value)
        }
        missing = [
            name
            for name, default in defaults.items()
            if default is attrs.NOTHING and name not in values
        ]
        broken = [
            *(
                _unknown_field(str(name), data[name], defaults)
                for name in data
                if name not in defaults
            ),
            *(Violation(name, None, "required", "is required") for name in missing),
        ]
        if not broken:
            return cls(**values)
        # The missing fields are set to None, and the request is built only to check the other
        # fields.
        try:
            cls(**values, **dict.fromkeys(missing))
        except InvalidRequest as error:
            broken += [each for each in error.violations if each.field not in missing]
        raise InvalidRequest(broken)

    @classmethod
    def many(cls, rows: Iterable[Mapping[str, Any]]) -> list[Self]:
        """Build a request from each row, as ``from_dict`` does.

        Args:
            rows: the rows, such as ``frame.to_dict("records")`` of a pandas DataFrame.

        Raises:
            InvalidRequest: a row is invalid; ``violations`` lists every broken rule of every row,
                and ``rows[2].prompt`` names the field ``prompt`` of the third row.
        """
        broken: list[Violation] = []
        requests: list[Self] = []
        for number, row in enumerate(rows):
            try:
                requests.append(cls.from_dict(row))
            except InvalidRequest as error:
                for each in error.violations:
                    # The message about an unknown field is printed alone, so it must name the row
                    # as well.
                    unknown = each.rule == "unknown"
                    message = f"rows[{number}]: {each.message}" if unknown else each.message
                    field = f"rows[{number}].{each.field}"
                    broken.append(attrs.evolve(each, field=field, message=message))
        if broken:
            raise InvalidRequest(broken)
        return requests

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the objects that ``from_dict`` accepts.

        The schema follows the same fields, checks and tables, including rows that you add to
        ``MODELS``. It is meant for data from elsewhere, so it does not allow ``file:`` paths.
        """
        return of_request(cls)

    @classmethod
    def field_schemas(cls) -> dict[str, dict[str, Any]]:
        """Return each field's JSON Schema, by name, derived from the field's check."""
        return {name: of_check(check) for name, check in cls.rules.items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        return pydantic_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        return {name: value for name, value in cls.json_schema().items() if name != "$schema"}

    def local_files(self) -> tuple[Path, ...]:
        """Return the local paths among the request's sources, in order.

        The files are uploaded when the request is submitted. Nothing is read until then.
        """
        return tuple(Path(path) for path in self.files() if not isinstance(path, ObjectPath))

    def files(self) -> list[PurePath]:
        """Return the sources that are not URLs, in order: local paths and objects in storage."""
        paths: list[PurePath] = []
        for name in self.source_fields:
            value = getattr(self, name)
            if value and value.__class__ is not str:  # most are URLs
                paths += [item for item in _as_tuple(value) if isinstance(item, PurePath)]
        return paths

    @property
    def has_plain_sources(self) -> bool:
        """Whether every source is a single URL and not a task's result, as in most requests.

        Such a request has nothing to upload, and its canonical body is the body that is sent.
        """
        for name in self.source_fields:
            value = getattr(self, name)
            if value and value.__class__ is not str:
                return False
        return True

    def with_urls(self, urls: Mapping[Any, str | Path]) -> Self:
        """Return a copy with paths replaced, for example by the URLs of their uploads.

        Args:
            urls: the replacement for each path; a path without a replacement is kept.
        """

        def replaced(value: object) -> object:
            if isinstance(value, tuple):
                return tuple(map(replaced, _as_tuple(cast(object, value))))
            return urls.get(value, value) if isinstance(value, PurePath) else value

        changes = {name: replaced(getattr(self, name)) for name in self.source_fields}
        return cast(Self, attrs.evolve(cast(Any, self), **changes))


def encode_request(request: Request, callback_url: str | None = None) -> bytes:
    """Return the JSON body of a create.

    Args:
        request: the request; only fields that differ from their defaults are written.
        callback_url: replaces the request's own callback URL; None keeps it.
    """
    return _encoded(request, callback_url, None)


def canonical_body(request: Request, digests: Mapping[Path, str] = NO_FILES) -> bytes:
    """Return the bytes that identify a request. They do not depend on its sources' locations.

    1. A task's result is identified by the task, because Keevx renews the result's URL after 7
       days.
    2. A local file is identified by its bytes: a moved file is the same image, and a file replaced
       by another of the same name is a different image.

    A journal refuses a key whose canonical body has changed.

    Args:
        request: the request to identify.
        digests: the SHA-256 of each local file, in hexadecimal.
    """
    return _encoded(request, None, digests)


def _encoded(
    request: Request, callback_url: str | None, digests: Mapping[Path, str] | None
) -> bytes:
    # Fields are sorted by name and defaults are left out, so that equal requests have equal bytes
    # in every version.
    # Every create encodes its body, so everything that depends only on the class is computed once.
    cls: type = type(request)
    if (layout := _LAYOUTS.get(cls)) is None:
        fields = sorted(attrs.fields(cls), key=lambda each: each.name)
        names = [each.name for each in fields]
        keys = tuple(f'"{name}":' for name in names)
        layout = attrgetter(*names), tuple(each.default for each in fields), keys
        _LAYOUTS[cls] = layout
    read, defaults, keys = layout
    values = read(request)
    if callback_url is not None:
        index = keys.index('"callback_url":')
        values = (*values[:index], callback_url, *values[index + 1 :])
    members: list[str] = []
    for key, default, value in zip(keys, defaults, values, strict=True):
        # A default is left out: the vendor's default is the same, and a field that a later version
        # adds does not change the canonical body of requests that do not use it.
        # A required field has NOTHING as its default, which equals no value.
        if value is default or value == default:
            continue
        # Strings and integers are encoded directly: every create has several.
        if value.__class__ is str:
            members.append(key + encode_basestring(value))
        elif value.__class__ is int:
            members.append(f"{key}{value}")
        else:
            converted = to_json(value) if digests is None else to_canonical(value, digests)
            members.append(key + _encode(converted))
    return f"{{{','.join(members)}}}".encode()


def _as_tuple(value: object) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


_DEFAULTS: dict[type, tuple[tuple[str, Any], ...]] = {}


def _defaults(cls: type) -> tuple[tuple[str, Any], ...]:
    if cls not in _DEFAULTS:
        _DEFAULTS[cls] = tuple((each.name, each.default) for each in attrs.fields(cls))
    return _DEFAULTS[cls]


def _unknown_field(name: str, value: object, fields: Iterable[str]) -> Violation:
    """Return the violation for an unknown field, suggesting the most similar known field."""
    similar = similar_name(name, fields)
    hint = f"did you mean {similar!r}?" if similar else f"the fields are {', '.join(fields)}"
    return Violation(name, value, "unknown", f"unknown field {name!r}: {hint}")


def similar_name(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of several names, or None if none is similar enough."""
    by_spelling = {_normalized(each): each for each in names}
    similar = get_close_matches(_normalized(name), by_spelling, n=1, cutoff=MIN_SIMILARITY)
    return by_spelling[similar[0]] if similar else None


def _normalized(name: str) -> str:
    """Return a name in lower case without separators, so ``imageUrl`` equals ``Image URL``."""
    return "".join(filter(str.isalnum, name)).casefold()


def check_request(value: object) -> Request:
    """Return value if it is a request.

    Raises:
        InvalidRequest: value is not a request.
    """
    if not isinstance(value, Request):
        message = f"must be a request, such as an ImageToVideo (got {shown(value)})"
        raise InvalidRequest([Violation("request", value, "type", message)])
    return value
