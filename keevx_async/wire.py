"""Between values and bytes, without I/O. cattrs lives here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError

from .inputs import lasting, plain
from .kinds import SUFFIXES, Kind
from .requests import Request
from .tasks import Task

LANGUAGES_PATH = "/v1/video_translate/target_languages"
UPLOAD_PATH = "/v1/figure-resource/upload/file"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_parse = json.JSONDecoder().raw_decode


class Envelope(NamedTuple):
    """What every answer comes in: ``code`` 0 is success, anything else a refusal."""

    code: int
    msg: str = ""
    data: Any = None
    result: Any = None  # the upload's envelope says result where others say data


def _text(value: Any, _: type) -> str:
    return value if isinstance(value, str) else ""


def _optional_text(value: Any, _: type) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any, _: type) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# A field that is missing, null or of an unexpected type must never cost a paid result:
# what is read strictly (code, ids, status) is checked below, the rest reads as absent.
_converter = Converter(detailed_validation=False)
_converter.register_structure_hook(str, _text)
for _type in (int | None, float | None):
    _converter.register_structure_hook(_type, _number)
_converter.register_structure_hook(str | None, _optional_text)
_UNREADABLE = (BaseValidationError, KeyError, TypeError, AttributeError)


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
    return _encode(plain(value))


def _lasting_json(value: object) -> str:
    return _encode(lasting(value))


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


def query_path(kind: Kind, task_id: str) -> str:
    """Return the path that asks about one task."""
    return f"{kind.path}/{quote(task_id, safe='')}"


def decode_envelope(body: bytes) -> Envelope | None:
    """Return the envelope an answer holds, or None if it holds none.

    A refusal counts as Keevx's own only if it has ``msg`` (an upload's: a ``message`` object).
    A gateway's ``{"code": 504, "message": "timeout"}`` tells nothing of what happened behind it.
    """
    try:
        text = body.decode().strip(" \t\r\n")
        raw, end = _parse(text)
    except (ValueError, RecursionError):
        return None
    return _envelope(raw) if end == len(text) and isinstance(raw, dict) else None


def _envelope(raw: Any) -> Envelope | None:
    code, msg = raw.get("code"), raw.get("msg")
    if code.__class__ is not int:  # True is no code
        return None
    if not isinstance(msg, str):
        msg = ""
        if code != 0 and not isinstance(raw.get("message"), dict):
            return None
    return Envelope(code, msg, raw.get("data"), raw.get("result"))


def decode_ids(data: Any) -> tuple[str, ...] | None:
    """Return the task ids a create answered with, or None if they cannot be read.

    They come as ``{"task_ids": [ID, …]}`` or as ``[{"task_id": ID, …}, …]``: either is read of
    every kind, since ids that are not read are paid for and lost.
    """
    listed = data.__class__ is list
    return _texts([_field(one, "task_id") for one in data] if listed else _field(data, "task_ids"))


def decode_languages(data: Any) -> tuple[str, ...] | None:
    """Return the languages on offer, or None if they cannot be read."""
    return _texts(data)


def _texts(data: Any) -> tuple[str, ...] | None:
    """Return a list of texts, or None if it is none, or empty, or one of them is."""
    if data.__class__ is not list or not data:
        return None
    for one in data:
        if not isinstance(one, str) or not one:
            return None
    return tuple(data)


def decode_task(data: Any, kind: Kind) -> Task | None:
    """Return the task a query answered with, or None if it cannot be read.

    A URL that is no result of its kind is none of the task's: it may be what it was made from.
    """
    try:
        task = _converter.structure(data, Task)
    except _UNREADABLE:
        return None
    if not (task.task_id and task.status):
        return None
    strange = [name for name in SUFFIXES if name not in kind.results and getattr(task, name)]
    nothing: dict[str, Any] = dict.fromkeys(strange)
    return attrs.evolve(task, **nothing) if strange else task


def decode_upload(data: Any) -> str | None:
    """Return the URL an upload answered with, or None if it cannot be read."""
    url = _field(data, "url")
    return url if isinstance(url, str) and url else None


def _field(data: Any, name: str) -> Any:
    return data.get(name) if data.__class__ is dict else None
