"""Decodes answers: bytes to envelopes, task ids and tasks. Pure: no I/O, no clock."""

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
"""Characters of an answer's text that an error, a log line or the journal quotes at most."""
MAX_ID_LENGTH = 256
"""Characters; a longer string is not a task id."""
_MASK = "***"
_MIN_PREFIX = 8
"""Characters; a shorter beginning of a secret reveals too little to be masked."""

# Longest first: UTF-32's little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Without a mark. Latin-1 reads all bytes, so it comes last; GBK before it, since the second byte
# of its characters may be a backslash.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")
_URL_QUERY = re.compile(r"""(https?://[^\s"'<>?]+)\?[^\s"'<>]+""")


class Envelope(NamedTuple):
    """The object that wraps every answer of Keevx.

    Attributes:
        code: 0 for success, anything else for a refusal.
        msg: what is wrong, "" where nothing is.
        data: the payload.
        result: the payload of an upload, whose envelope has it under this name.
    """

    code: int
    msg: str = ""
    data: Any = None
    result: Any = None


def _number(value: Any, _: type) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# A field that is missing, null or of an unexpected type must never cost a paid result: what is
# read strictly (code, ids, status) is checked below, and anything else of another type is absent.
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
        kind: the task's.
        task_id: any string without lone surrogates.
    """
    return f"{kind.path}/{quote(task_id, safe='')}"


def decode_envelope(body: bytes) -> Envelope | None:
    """Return an answer's envelope, read strictly; None if it has none.

    A refusal counts as Keevx's own only if it has ``msg`` (an upload's: a ``message`` object).
    A gateway's ``{"code": 504, "message": "timeout"}`` does not know what happened behind it.

    Args:
        body: UTF-8 JSON with nothing but white space around it.
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
    if code.__class__ is not int:  # nor bool, a subclass of int
        return None
    if not isinstance(msg, str):
        msg = ""
        if code != 0 and not isinstance(answer.get("message"), dict):
            return None
    return Envelope(code, msg, answer.get("data"), answer.get("result"))


def decode_ids(data: Any) -> tuple[str, ...] | None:
    """Return the task ids in the answer to a create; None if they cannot be read.

    They come as ``{"task_ids": [ID, …]}`` or as ``[{"task_id": ID, …}, …]``. Either is read for
    every kind, since ids that are not read are paid for and lost. An id that comes twice is
    returned once.

    Args:
        data: of the envelope.
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
        if not (task_id.isascii() or is_text(task_id)):  # no URL holds a lone surrogate
            return None
    return ids if len(ids) == 1 else tuple(dict.fromkeys(ids))


class Contents(NamedTuple):
    """What the answer to a create holds, read as leniently as possible.

    Attributes:
        ids: task ids in their documented place, all of them readable; else empty.
        traces: what looks like a task id elsewhere, if there are no ids.
        code: the value under ``code``, of any type.
    """

    ids: tuple[str, ...]
    traces: tuple[str, ...]
    code: Any = None


def read_contents(body: bytes, prefix: str, charset: str | None = None) -> Contents:
    """Find the task ids in the answer to a create, whatever else is odd about it.

    A byte-order mark, an encoding other than UTF-8, raw control characters in a string, bytes
    before or after the JSON, and an object that is cut off do no harm. Ids that this misses are
    paid for and lost; an answer in which it finds some is never taken for a refusal.

    Args:
        body: the answer, perhaps only its beginning.
        prefix: how the task ids of the kind begin.
        charset: of the answer's ``Content-Type``.
    """
    text = ""
    value: dict[str, Any] | None = None
    for text in _decode(body, charset):
        try:  # the first object knows where it ends, so what follows it does no harm
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
    # 1. Whatever stands under "task_id" or "task_ids", however deep.
    # 2. Unless Keevx's envelope could be read: every string that begins as this kind's ids do.
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
    """Yield what an answer's bytes may mean as text, the likeliest first."""
    # 1. A byte-order mark decides; the answer's own charset is then ignored.
    # 2. One zero byte among the first two is UTF-16 without a mark.
    # 3. UTF-8, then what the answer declares, then the encodings that its text may be in.
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
        except (ValueError, LookupError):  # LookupError: the server's name for it is unknown
            continue


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def quotable(answer: bytes | str, secrets: Iterable[str] = ()) -> str:
    """Return the first part of an answer's text, fit for errors, logs and the journal.

    An answer may echo our request, so secrets, and the queries of URLs, which may be signed, are
    masked before the text is cut. Lone surrogates become escapes, so that it can be written.

    Args:
        answer: its body, or a text from it.
        secrets: what must not be shown.
    """
    text = next(_decode(answer, None), "") if isinstance(answer, bytes) else answer
    text = text.replace("\\/", "/").removesuffix("\\")  # JSON may escape a slash
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _MASK)
        # An answer may break off in the middle of a secret, whose beginning is then at the end.
        for length in range(len(secret) - 1, _MIN_PREFIX - 1, -1):
            if text.endswith(secret[:length]):
                text = text[:-length] + _MASK
                break
    text = _URL_QUERY.sub(rf"\1?{_MASK}", text)
    text = _printable(text).strip()
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…"


def decode_languages(data: Any) -> tuple[str, ...] | None:
    """Return the languages that a video can be translated to; None if they cannot be read.

    Args:
        data: of the envelope, a list of names.
    """
    return _strings(data)


def _strings(data: Any) -> tuple[str, ...] | None:
    """Return a list of strings; None if it is anything else, is empty, or holds an empty one."""
    if data.__class__ is not list or not data:
        return None
    for item in data:
        if not isinstance(item, str) or not item:
            return None
    return tuple(data)


def decode_task(data: Any, kind: Kind) -> Task | None:
    """Return the task in the answer to a query; None if it has no readable id and status.

    A URL in a field that is not among its kind's results is dropped: it may be an input's. Fields
    that a Task has no name for are kept in ``extra``, where there are any.

    Args:
        data: of the envelope.
        kind: the task's.
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
    """Return the URL in the answer to an upload; None if it cannot be read.

    Args:
        data: the envelope's ``result``.
    """
    url = _field(data, "url")
    return url if isinstance(url, str) and url else None


def _field(data: Any, name: str) -> Any:
    return data.get(name) if data.__class__ is dict else None
