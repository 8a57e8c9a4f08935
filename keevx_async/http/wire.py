"""Between values and bytes, without I/O. cattrs lives here and nowhere else."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError

from ..models.kinds import SUFFIXES, Kind
from ..models.tasks import Task
from ..models.validators import is_text

LANGUAGES_PATH = "/v1/video_translate/target_languages"
UPLOAD_PATH = "/v1/figure-resource/upload/file"

_parse = json.JSONDecoder().raw_decode
_parse_leniently = json.JSONDecoder(strict=False).raw_decode  # takes raw line breaks in texts

QUOTED = 300
"""Most characters of an answer's text that an error, a log line or the journal quotes."""
LONGEST_ID = 256
"""Characters; a longer text is no task id."""
_MASK = "***"
_SHORTEST_SECRET = 8
"""Characters; a shorter beginning of a secret says too little to be masked."""

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
    every kind, since ids that are not read are paid for and lost. An id that comes twice is
    returned once.
    """
    listed = data.__class__ is list
    ids = _texts([_field(one, "task_id") for one in data] if listed else _field(data, "task_ids"))
    if ids is None or not all(map(_can_be_id, ids)):
        return None
    return ids if len(ids) == 1 else tuple(dict.fromkeys(ids))


def _can_be_id(text: str) -> bool:
    """Tell whether a task can be asked about by this: a lone surrogate fits in no URL."""
    return len(text) <= LONGEST_ID and is_text(text)


class Contents(NamedTuple):
    """What the answer to a create holds, read as leniently as can be.

    Attributes:
        ids: task ids in their documented place, all of them readable; else empty.
        traces: what looks like a task id elsewhere, if there are no ids.
        code: what the answer has for a code, of any type.
    """

    ids: tuple[str, ...]
    traces: tuple[str, ...]
    code: Any = None


def read_contents(body: bytes, prefix: str, charset: str | None = None) -> Contents:
    """Find the task ids in the answer to a create, whatever else is odd about it.

    A byte-order mark, another encoding than UTF-8, raw control characters in a text, bytes before
    or after the JSON and an object that is cut off are all read over. Ids that are not found here
    are paid for and lost; what is found here is never taken for a refusal.

    Args:
        body: the answer, perhaps only its beginning.
        prefix: how the task ids of the kind begin.
        charset: what the answer says of its encoding.
    """
    text, value = "", None
    for text in _decoded(body, charset):
        if (value := _first_value(text)) is not None:
            break
    ids = decode_ids(value.get("data")) if value is not None else None
    if ids is not None:
        return Contents(ids, (), value.get("code") if value is not None else None)
    found = list(_labelled(value))
    if decode_envelope(body) is None:
        quoted = re.escape(prefix)
        found += re.findall(rf'"({quoted}[^"\\\s]{{1,{LONGEST_ID}}})"', text)
    return Contents((), tuple(dict.fromkeys(map(_printable, found))))


def _decoded(body: bytes, charset: str | None) -> Iterator[str]:
    """Yield what an answer's bytes may mean as text, the likeliest first."""
    for encoding in _encodings(body, charset):
        try:
            yield body.decode(encoding)
        except (ValueError, LookupError):  # of what the server calls its encoding
            continue


def _encodings(body: bytes, charset: str | None) -> Iterable[str]:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return (encoding, *_ENCODINGS)
    start = body[:2]
    if len(start) == 2 and start.count(0) == 1:  # UTF-16 without a mark
        return ("utf-16-be" if start[0] == 0 else "utf-16-le", *_ENCODINGS)
    return (_ENCODINGS[0], charset, *_ENCODINGS[1:]) if charset else _ENCODINGS


def _first_value(text: str) -> dict[str, Any] | None:
    """Return the first object of a text; it tells its own end, so what follows is left alone."""
    try:
        value, _ = _parse_leniently(text, max(0, text.find("{")))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _labelled(value: Any) -> Iterator[str]:
    """Yield every task id that is labelled as one, however deep."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            for name, inner in one.items():
                if name in ("task_id", "task_ids"):
                    yield from _as_ids(inner)
                rest.append(inner)
        elif isinstance(one, list):
            rest.extend(one)


def _as_ids(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str | int) and not isinstance(one, bool) and one != "":
            yield str(one)[:LONGEST_ID]


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def quotable(answer: bytes | str, secrets: Iterable[str] = ()) -> str:
    """Return the first part of an answer's text, as it may stand in errors, logs and the journal.

    An answer may echo our request: secrets, and the queries of URLs, which may be signed, are
    masked before it is cut. Lone surrogates become their escapes, so that it can be written down.

    Args:
        answer: its body, or a text out of it.
        secrets: what must not be shown.
    """
    text = next(_decoded(answer, None), "") if isinstance(answer, bytes) else answer
    text = text.replace("\\/", "/").removesuffix("\\")  # some write a slash so in JSON
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = _without_start_of(secret, text.replace(secret, _MASK))
    text = _URL_QUERY.sub(rf"\1?{_MASK}", text)
    text = _printable(text).strip()
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


def _without_start_of(secret: str, text: str) -> str:
    """Mask the beginning of a secret at the end of a text: an answer may break off there."""
    for length in range(len(secret) - 1, _SHORTEST_SECRET - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + _MASK
    return text


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
