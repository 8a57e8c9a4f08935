"""Decodes responses: bytes to envelopes, task ids and tasks. Pure: no I/O, no clock."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError

from ..models.kinds import SUFFIXES, Kind
from ..models.tasks import FIELDS, Task
from ..models.validators import is_text

LANGUAGES_PATH = "/v1/video_translate/target_languages"
UPLOAD_PATH = "/v1/figure-resource/upload/file"

_parse = json.JSONDecoder().raw_decode
_parse_leniently = json.JSONDecoder(strict=False).raw_decode  # accepts raw line breaks in strings

MAX_QUOTED = 300
"""The maximum number of characters that an error, a log line or the journal quotes from a
response."""
MAX_ID_LENGTH = 256
"""The maximum length of a task id in characters; a longer string is not an id."""
_MASK = "***"
_MIN_PREFIX = 8
"""In characters. A shorter prefix of a secret reveals too little to need masking."""

# Longest first: UTF-32's little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encodings to try if there is no mark. Latin-1 accepts any bytes, so it comes last; GBK comes
# before it, since the second byte of a GBK character may be a backslash.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")
_URL_QUERY = re.compile(r"""(https?://[^\s"'<>?]+)\?[^\s"'<>]+""")


@attrs.define
class Envelope:
    """The object that wraps every response from Keevx. Treated as immutable.

    Attributes:
        code: 0 for success, anything else for a refusal.
        msg: Keevx's message, which explains a refusal; "" if there is none.
        data: the payload.
        result: the payload of a response to an upload, which uses this name instead of ``data``.
    """

    code: int
    msg: str = ""
    data: Any = None
    result: Any = None


def _number(value: Any, _: type) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# A field that is missing, null or of an unexpected type must never lose a paid result. The code,
# ids and status are read strictly, below; any other field of an unexpected type counts as absent.
_converter = Converter(detailed_validation=False)
_converter.register_structure_hook(str, lambda value, _: value if isinstance(value, str) else "")
for _type in (int | None, float | None):
    _converter.register_structure_hook(_type, _number)
_converter.register_structure_hook(
    str | None, lambda value, _: value if isinstance(value, str) and value else None
)
_UNREADABLE = (BaseValidationError, KeyError, TypeError, AttributeError)


def query_path(kind: Kind, task_id: str) -> str:
    """Return the path of a task's status query, with the id percent-encoded.

    Args:
        kind: the task's kind.
        task_id: any string without lone surrogates.
    """
    return f"{kind.path}/{quote(task_id, safe='')}"


def decode_envelope(body: bytes) -> Envelope | None:
    """Return a response's envelope, read strictly; None if the response has no envelope.

    A refusal counts as Keevx's own only if it has ``msg`` (for an upload, a ``message`` object).
    A gateway that sends ``{"code": 504, "message": "timeout"}`` does not know what happened behind
    it.

    Args:
        body: UTF-8 JSON, with nothing but whitespace around it.
    """
    try:
        text = body.decode().strip(" \t\r\n")
        raw, end = _parse(text)
    except (ValueError, RecursionError):
        return None
    if end != len(text) or not isinstance(raw, dict):
        return None
    answer = cast("dict[str, Any]", raw)
    code: Any = answer.get("code")
    msg = answer.get("msg")
    if code.__class__ is not int:  # this also excludes bool, a subclass of int
        return None
    if not isinstance(msg, str):
        msg = ""
        if code != 0 and not isinstance(answer.get("message"), dict):
            return None
    return Envelope(code, msg, answer.get("data"), answer.get("result"))


def decode_ids(data: Any) -> tuple[str, ...] | None:
    """Return the task ids from a create's response, or None if they cannot be read.

    The data has the form ``{"task_ids": [ID, …]}`` or ``[{"task_id": ID, …}, …]``. Both forms are
    accepted for every kind, because a task whose id is missed is paid for and lost. A repeated id
    is returned once.

    Args:
        data: the envelope's data.
    """
    listed = data.__class__ is list
    ids = _strings(
        [_field(item, "task_id") for item in data] if listed else _field(data, "task_ids")
    )
    if ids is None:
        return None
    for task_id in ids:
        if len(task_id) > MAX_ID_LENGTH:
            return None
        if not (task_id.isascii() or is_text(task_id)):  # no URL contains a lone surrogate
            return None
    return ids if len(ids) == 1 else tuple(dict.fromkeys(ids))


class Contents(NamedTuple):
    """The contents of a create's response, read as leniently as possible.

    Attributes:
        ids: the task ids in their documented place, if all of them are readable; otherwise empty.
        traces: strings elsewhere that look like task ids, if ``ids`` is empty.
        code: the value of ``code``, of any type.
    """

    ids: tuple[str, ...]
    traces: tuple[str, ...]
    code: Any = None


def read_contents(body: bytes, prefix: str, charset: str | None = None) -> Contents:
    """Find the task ids in a create's response, however malformed the response is.

    The response may have a byte-order mark, an encoding other than UTF-8, raw control characters
    in a string, bytes before or after the JSON, or a truncated object. A task whose id is missed
    is paid for and lost, so a response with ids is never treated as a refusal.

    Args:
        body: the response's body, possibly truncated.
        prefix: the prefix of the kind's task ids.
        charset: the charset from the response's ``Content-Type``.
    """
    text = ""
    value: dict[str, Any] | None = None
    for text in _decode(body, charset):
        try:  # the first object marks its own end, so what follows it does not matter
            first, _ = _parse_leniently(text, max(0, text.find("{")))
        except (ValueError, RecursionError):
            continue
        if isinstance(first, dict):
            value = cast("dict[str, Any]", first)
            break
    ids = decode_ids(value.get("data")) if value is not None else None
    if ids is not None:
        return Contents(ids, (), value.get("code") if value is not None else None)
    # Traces of ids, in two steps:
    # 1. Any value of "task_id" or "task_ids", at any depth.
    # 2. Unless Keevx's envelope could be read: every string with the prefix of this kind's ids.
    traces: list[str] = []
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for name, inner in cast("dict[str, Any]", item).items():
                if name in ("task_id", "task_ids"):
                    listed = cast("list[object]", inner) if isinstance(inner, list) else [inner]
                    traces += [
                        str(task_id)[:MAX_ID_LENGTH]
                        for task_id in listed
                        if isinstance(task_id, str | int)
                        and not isinstance(task_id, bool)
                        and task_id != ""
                    ]
                pending.append(inner)
        elif isinstance(item, list):
            pending.extend(cast("list[object]", item))
    if decode_envelope(body) is None:
        quoted = re.escape(prefix)
        traces += re.findall(rf'"({quoted}[^"\\\s]{{1,{MAX_ID_LENGTH}}})"', text)
    return Contents((), tuple(dict.fromkeys(map(_printable, traces))))


def _decode(body: bytes, charset: str | None) -> Iterator[str]:
    """Decode a response with each plausible encoding, and yield the texts, likeliest first."""
    # 1. With a byte-order mark: its encoding first; the declared charset is ignored.
    # 2. With one zero byte among the first two: UTF-16 without a mark first.
    # 3. Otherwise: UTF-8, then the declared charset, then other likely encodings.
    encodings: tuple[str, ...] = _ENCODINGS
    start = body[:2]
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            encodings = (encoding, *_ENCODINGS)
            break
    else:
        if len(start) == 2 and start.count(0) == 1:
            encodings = ("utf-16-be" if start[0] == 0 else "utf-16-le", *_ENCODINGS)
        elif charset:
            encodings = (_ENCODINGS[0], charset, *_ENCODINGS[1:])
    for encoding in encodings:
        try:
            yield body.decode(encoding)
        except (ValueError, LookupError):  # LookupError: an unknown charset name
            continue


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def quotable(answer: bytes | str, secrets: Iterable[str] = ()) -> str:
    """Return the beginning of a response's text, made safe for errors, logs and the journal.

    A response may echo our request, so secrets are masked before the text is truncated. URL
    queries are masked too, because they may contain signatures. Lone surrogates are escaped so
    that the text can be encoded.

    Args:
        answer: the response's body, or text from it.
        secrets: the values to mask.
    """
    text = next(_decode(answer, None), "") if isinstance(answer, bytes) else answer
    text = text.replace("\\/", "/").removesuffix("\\")  # JSON may escape a slash
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _MASK)
        # A response may be cut off in the middle of a secret, and so end with part of it.
        for length in range(len(secret) - 1, _MIN_PREFIX - 1, -1):
            if text.endswith(secret[:length]):
                text = text[:-length] + _MASK
                break
    text = _URL_QUERY.sub(rf"\1?{_MASK}", text)
    text = _printable(text).strip()
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…"


def decode_languages(data: Any) -> tuple[str, ...] | None:
    """Return the languages that a video can be translated into, or None if they cannot be read.

    Args:
        data: the envelope's data, a list of names.
    """
    return _strings(data)


def _strings(data: Any) -> tuple[str, ...] | None:
    """Return data as a tuple if it is a non-empty list of non-empty strings; otherwise None."""
    if data.__class__ is not list or not data:
        return None
    for item in data:
        if not isinstance(item, str) or not item:
            return None
    return tuple(data)


def decode_task(data: Any, kind: Kind) -> Task | None:
    """Return the task from a query's response, or None if its id or status cannot be read.

    A URL is dropped if its field is not one of the kind's results, because it may be an input.
    Fields that Task does not define are kept in ``extra``.

    Args:
        data: the envelope's data.
        kind: the task's kind.
    """
    try:
        fields = {name: value for name, value in data.items() if name in FIELDS}
        task = _converter.structure(fields, Task)
    except _UNREADABLE:
        return None
    if not (task.task_id and task.status):
        return None
    foreign = [name for name in SUFFIXES if name not in kind.results and getattr(task, name)]
    changes: dict[str, Any] = dict.fromkeys(foreign)
    if len(fields) < len(data):
        changes["extra"] = {name: value for name, value in data.items() if name not in FIELDS}
    return attrs.evolve(task, **changes) if changes else task


def decode_upload(data: Any) -> str | None:
    """Return the URL from an upload's response, or None if it cannot be read.

    Args:
        data: the envelope's ``result``.
    """
    url = _field(data, "url")
    return url if isinstance(url, str) and url else None


def _field(data: Any, name: str) -> Any:
    return data.get(name) if data.__class__ is dict else None
