"""Requests as bytes: the body that is sent, and the canonical body that a journal knows them by."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

import attrs

from .request import Request
from .sources import to_canonical, to_json

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_Layout = tuple[Callable[[Any], Any], tuple[Any, ...], tuple[str, ...]]
_LAYOUTS: dict[type, _Layout] = {}


def _layout(cls: type) -> _Layout:
    """Return what reads a request's fields by the order of their names, their defaults, keys."""
    fields = sorted(attrs.fields(cls), key=lambda one: one.name)
    names = [one.name for one in fields]
    keys = tuple(f'"{name}":' for name in names)
    layout = attrgetter(*names), tuple(one.default for one in fields), keys
    return _LAYOUTS.setdefault(cls, layout)


def _json(value: object) -> str:
    return _encode(to_json(value))


def _lasting_json(value: object) -> str:
    return _encode(to_canonical(value))


# Texts and numbers take the short way, as every create has several.
_JSON: dict[type, Callable[[Any], str]] = {str: encode_basestring, int: str}


def encode_request(request: Request, callback_url: str | None = None) -> bytes:
    """Return the JSON body of a request as it is sent, with callback_url put in if given."""
    return _encoded(request, callback_url, _json)


def canonical_body(request: Request) -> bytes:
    """Return what a request is known by: an earlier task's result by the task, not by its URL.

    URLs are renewed (they live for 7 days), and a renewed one must not make another request.
    """
    return _encoded(request, None, _lasting_json)


def _encoded(request: Request, callback_url: str | None, write: Callable[[Any], str]) -> bytes:
    read, defaults, keys = _LAYOUTS.get(type(request)) or _layout(type(request))
    values = read(request)
    if callback_url is not None:
        at = keys.index('"callback_url":')
        values = (*values[:at], callback_url, *values[at + 1 :])
    cells = [
        key + _JSON.get(value.__class__, write)(value)
        for key, default, value in zip(keys, defaults, values, strict=True)
        if value is not default and (default is attrs.NOTHING or value != default)
    ]
    return f"{{{','.join(cells)}}}".encode()
