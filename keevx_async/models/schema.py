"""The JSON Schema and pydantic schema of requests, derived from the fields and their checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, cast

import attrs

from ..errors import InvalidRequest, Violation
from .converters import FILE_SCHEME
from .rules import MODELS, ModelRules
from .validators import (
    Check,
    check_each,
    check_flag,
    check_minimum,
    check_prompt,
    check_range,
    check_source,
    check_text,
    check_url,
)

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

Schema = dict[str, Any]

_SCHEME = "[hH][tT][tT][pP][sS]?:/"
_PORT = "(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
# The pattern of validators.is_url, in the dialect that JSON Schema (ECMA 262) shares with Python:
# no flags, and no trailing line break allowed. Several URLs in one string are rejected.
_URL = (
    rf"^(?!.*[,;]{_SCHEME}){_SCHEME}/(?:[^\s/?#@\\]*@)?"
    rf"(?:\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]\\]+)(?::{_PORT})?(?:[/?#]\S*)?$(?!\n)"
)


def url() -> Schema:
    """Return the schema of an absolute http(s) URL."""
    return {"type": "string", "format": "uri", "pattern": _URL}


def text(max_length: int, **_: Any) -> Schema:
    """Return the schema of a non-blank string."""
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": r"\S"}


def _each(check: Check, max_items: int | None = None) -> Schema:
    limit: Schema = {} if max_items is None else {"maxItems": max_items}
    return {"type": "array", "items": of_check(check), **limit}


def _integer(minimum: int, maximum: int | None = None) -> Schema:
    limit: Schema = {} if maximum is None else {"maximum": maximum}
    return {"type": "integer", "minimum": minimum, **limit}


def _boolean() -> Schema:
    return {"type": "boolean"}


_BY_CHECK: Mapping[Callable[..., Any], Callable[..., Schema]] = {
    check_prompt: text,
    check_text: text,
    check_url: url,
    check_source: url,
    check_flag: _boolean,
    check_range: _integer,
    check_minimum: _integer,
    check_each: _each,
}


def of_check(check: Check) -> Schema:
    """Return the schema of the values that a check accepts."""
    if isinstance(check, partial):
        return _BY_CHECK[check.func](**check.keywords)
    return _BY_CHECK[check]()


def of_request(cls: type[Any]) -> Schema:
    """Return the schema of the JSON objects that ``cls.from_dict`` accepts.

    Raises:
        KeyError: a field's check has no schema yet.
    """
    properties: dict[str, Schema] = {}
    required: list[str] = []
    described = _descriptions(cls)
    schemas = cls.field_schemas()
    for each in attrs.fields(cls):
        schema = dict(schemas[each.name])
        if each.default is attrs.NOTHING:
            required.append(each.name)
        else:  # null counts as absent
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
            if each.default not in (None, ()):
                schema["default"] = each.default
        if description := described.get(each.name):
            schema["description"] = description
        properties[each.name] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        "description": (cls.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _descriptions(cls: type[Any]) -> dict[str, str]:
    """Return each field's description from the class docstring."""
    # cleandoc is needed because only Python 3.13 and later remove the indentation of docstrings.
    _, _, listed = cleandoc(cls.__doc__ or "").partition("Args:\n")
    listed, _, _ = listed.partition("\n\n")
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", listed, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", words).replace("``", "`") for name, words in entries}


_HAS_START: Schema = {"required": ["image_url"], "properties": {"image_url": {"type": "string"}}}
_HAS_END: Schema = {
    "required": ["end_image_url"],
    "properties": {"end_image_url": {"type": "string"}},
}
_HAS_REFERENCES: Schema = {
    "required": ["reference_images"],
    "properties": {"reference_images": {"type": "array", "minItems": 1}},
}


def of_models() -> list[Schema]:
    """Return the ``allOf`` schemas that apply each model's rules to the other fields."""
    return [
        {
            "if": {"required": ["model"], "properties": {"model": {"const": name}}},
            "then": _of_rules(rules),
        }
        for name, rules in MODELS.items()
    ]


def _of_rules(rules: ModelRules) -> Schema:
    properties: Schema = {
        "prompt": {"maxLength": rules.max_prompt},
        "aspect_ratio": {"enum": list(rules.aspect_ratios)},
        "aspect_resolution": {"enum": list(rules.resolutions)},
        "generate_count": {"maximum": rules.max_count},
        "reference_images": {"maxItems": rules.max_references},
    }
    if not rules.audio:
        properties["generate_audio"] = {"enum": [False, None]}
    if not rules.end_frame:
        properties["end_image_url"] = {"type": "null"}
    if rules.start_frame == "unused":
        properties["image_url"] = {"type": "null"}
    demands: list[Schema] = [_duration(rules)]
    if rules.start_frame == "unused":
        demands.append(_HAS_REFERENCES)
    elif rules.start_frame == "required" or not rules.max_references:
        demands.append(_HAS_START)
    else:
        demands.append({"anyOf": [_HAS_START, _HAS_REFERENCES]})
    if rules.end_frame:
        demands.append({"if": _HAS_END, "then": _HAS_START})
    return {"properties": properties, "allOf": demands}


def _duration(rules: ModelRules) -> Schema:
    def among(seconds: tuple[int, ...]) -> Schema:
        return {"properties": {"duration": {"enum": list(seconds)}}}

    alone = rules.durations_for(start_frame=False)
    if alone == rules.durations:
        return among(rules.durations)
    return {"if": _HAS_START, "then": among(rules.durations), "else": among(alone)}


def pydantic_schema(cls: type[Any]) -> CoreSchema:
    """Return the schema with which pydantic validates and serializes a field of this type.

    A mapping is validated by ``from_dict``, and the error's ``ctx`` lists every broken rule. The
    mapping must not name a local file, because its source is not trusted. A request object is
    accepted unchanged.
    """
    from pydantic_core import PydanticCustomError, core_schema

    def validate(value: object) -> Any:
        if isinstance(value, cls):
            return value
        try:
            request = cls.from_dict(cast("Mapping[str, Any]", value))
            if request.local_files():
                message = f"must be URLs: {FILE_SCHEME} refers to a file on this machine"
                fields = ", ".join(cls.source_fields)
                raise InvalidRequest([Violation(fields, None, "url", message)])
        except InvalidRequest as error:
            broken = [
                {"field": each.field, "rule": each.rule, "message": each.message}
                for each in error.violations
            ]
            raise PydanticCustomError(
                "invalid_request", "{message}", {"message": error.message, "violations": broken}
            ) from None
        return request

    return core_schema.no_info_plain_validator_function(
        validate,
        serialization=core_schema.plain_serializer_function_ser_schema(cls.to_dict),
    )
