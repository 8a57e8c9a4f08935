"""Between values and bytes, without I/O. cattrs lives here and nowhere else."""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any, TypeGuard, cast
from urllib.parse import quote

from attrs import frozen
from cattrs import Converter
from cattrs.errors import BaseValidationError

from .kinds import Kind
from .requests import Request, plain
from .tasks import Task

UPLOAD_PATH = "/v1/figure-resource/upload/file"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


_parse = json.JSONDecoder().decode


@frozen
class Envelope:
    """What every answer comes in: ``code`` 0 is success, anything else a refusal."""

    code: int
    msg: str = ""
    data: Any = None
    result: Any = None  # the upload's envelope says result where others say data


def _whole(value: Any, _: type) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value


def _text(value: Any, _: type) -> str:
    return value if isinstance(value, str) else ""


def _optional_text(value: Any, _: type) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any, _: type) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# A field that is missing, null or of an unexpected type must never cost a paid result:
# what is read strictly (code, ids, status) is checked below, the rest reads as absent.
_converter = Converter(detailed_validation=False)
_converter.register_structure_hook(int, _whole)
_converter.register_structure_hook(str, _text)
for _type in (int | None, float | None):
    _converter.register_structure_hook(_type, _number)
_converter.register_structure_hook(str | None, _optional_text)
_converter.register_structure_hook(Any, lambda value, _: value)
_UNREADABLE = (BaseValidationError, KeyError, TypeError, AttributeError)


def encode_request(request: Request, callback_url: str | None = None) -> bytes:
    """Return the canonical JSON body of a request, with callback_url put in if given."""
    fields = request.given()
    if callback_url is not None:
        fields = [
            *(one for one in fields if one[0] != "callback_url"),
            ("callback_url", callback_url),
        ]
    cells = [f'"{name}":{_json(value)}' for name, value in sorted(fields, key=_name)]
    return f"{{{','.join(cells)}}}".encode()


_name = itemgetter(0)


def _json(value: object) -> str:
    """Return value's JSON; texts and numbers take the short way, as every create has several."""
    if isinstance(value, str):
        return encode_basestring(value)
    return str(value) if value.__class__ is int else _encode(plain(value))


def query_path(kind: Kind, task_id: str) -> str:
    """Return the path that asks about one task."""
    return f"{kind.path}/{quote(task_id, safe='')}"


def decode_envelope(body: bytes) -> Envelope | None:
    """Return the envelope an answer holds, or None if it holds none.

    A refusal counts as Keevx's own only if it has ``msg`` (an upload's: a ``message`` object).
    A gateway's ``{"code": 504, "message": "timeout"}`` tells nothing of what happened behind it.
    """
    try:
        raw = _parse(body.decode())
        envelope = _converter.structure(raw, Envelope)
    except (*_UNREADABLE, ValueError, RecursionError):
        return None
    known = envelope.code == 0 or isinstance(raw.get("msg"), str)
    return envelope if known or isinstance(raw.get("message"), dict) else None


def decode_ids(data: Any) -> tuple[str, ...] | None:
    """Return the task ids a create answered with, or None if they cannot be read."""
    ids = _field(data, "task_ids")
    return tuple(ids) if _are_texts(ids) else None


def _are_texts(value: object) -> TypeGuard[list[str]]:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, str) and one for one in cast(list[object], value))


def decode_task(data: Any) -> Task | None:
    """Return the task a query answered with, or None if it cannot be read."""
    try:
        task = _converter.structure(data, Task)
    except _UNREADABLE:
        return None
    return task if task.task_id and task.status else None


def decode_upload(data: Any) -> str | None:
    """Return the URL an upload answered with, or None if it cannot be read."""
    url = _field(data, "url")
    return url if isinstance(url, str) and url else None


def _field(data: Any, name: str) -> Any:
    return cast(dict[str, Any], data).get(name) if isinstance(data, dict) else None
