"""What a request is made from: URLs, local files, what earlier tasks made, and plain values.

Callers hold values of many libraries: numpy's numbers, rows of pandas, pydantic's URLs. The
converters here turn each into the built-in type that it stands for, and leave what stands for
none of them as it is, for the checks to refuse with the value that the caller gave.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from numbers import Number
from pathlib import Path, PurePath
from typing import Protocol, SupportsIndex, cast
from urllib.parse import quote, unquote_to_bytes
from urllib.request import url2pathname

FILE_SCHEME = "file:"
TASK_SCHEME = "task:"


class HasResults:
    """What an earlier job made: a source for the next."""

    __slots__ = ()
    task_id: str

    def result_url(self, name: str) -> str | None:
        """Return the URL in the field of that name, if the job has succeeded."""
        raise NotImplementedError


class ResultUrl(str):
    """A URL that remembers whose result it is: the URL is renewed, the task stays.

    Attributes:
        task_id: of the task that made it.
    """

    task_id: str


class ImageList(Protocol):
    """A list or a tuple of URLs, paths and tasks, for type checkers; one URL alone is none.

    A ``str`` is a sequence of texts, but its ``__contains__`` takes no more than texts.
    """

    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str | Path | HasResults]: ...
    def __getitem__(self, index: SupportsIndex, /) -> str | Path | HasResults: ...


def to_int(value: int) -> int:
    """Return the integer that a value stands for, or the value itself.

    Integers of any library count (``operator.index``), and so do floats and decimals without a
    fraction, as spreadsheets and pandas write them. A bool is not an integer here.
    """
    if value.__class__ is int:
        return value
    found = _scalar(value)
    if isinstance(found, bool):
        return value
    try:
        return operator.index(cast("SupportsIndex", found))
    except TypeError:
        pass
    if not isinstance(found, Number):
        return value
    try:
        whole: object = int(cast("int", found))
    except (TypeError, ValueError, OverflowError):  # complex, NaN, infinite
        return value
    return cast("int", whole) if whole == found else value


def to_bool(value: bool) -> bool:
    """Return the bool that a value stands for, such as ``numpy.True_``, or the value itself."""
    found: object = value if value.__class__ is bool else _scalar(value)
    return found if isinstance(found, bool) else value


def _scalar(value: object) -> object:
    """Return what a scalar of numpy or its like holds: those have no dimensions, and ``item``."""
    if getattr(value, "ndim", None) == 0 and callable(item := getattr(value, "item", None)):
        return item()
    return value


def to_text(value: str) -> str:
    """Return a ``str`` of another class (an enum's member, ``numpy.str_``) as a plain one."""
    if value.__class__ is str:
        return value
    if not isinstance(value, str) or isinstance(value, ResultUrl):
        return value
    return str.__str__(value)


def to_url(value: str | None) -> str | None:
    """Return a URL object (pydantic's, yarl's, httpx's) as its text, anything else as it is."""
    return value if value is None or value.__class__ is str else cast("str", url_text(value))


def url_text(value: object) -> object:
    """Return the text of a URL object, or of a string; anything else as it is."""
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, bytes | PurePath | HasResults):
        return value
    text = str(value)
    return text if text[:8].lower().startswith(("http://", "https://")) else value


def to_secret(value: object) -> object:
    """Return what a SecretStr of pydantic or its like holds, anything else as it is."""
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


def is_null(value: object) -> bool:
    """Tell whether a value means "nothing there": None, or what pandas writes for it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # NaN, and nothing else


def to_items(value: object) -> tuple[object, ...] | None:
    """Return the items of a list, tuple, array, Series or another iterable; else None.

    One text is not a list of its letters, a mapping not one of its names. A set has no order,
    which matters to images.
    """
    if value.__class__ in (tuple, list):
        return tuple(cast("Iterable[object]", value))
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        return None
    try:
        return tuple(cast("Iterable[object]", value))
    except TypeError:  # not an iterable, or an array of no dimensions
        return None


def as_tuple(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of texts as a tuple; what is not a list is left for the rules to refuse."""
    items = to_items(value)
    if items is None:
        return cast("tuple[str, ...]", value)
    return tuple([to_text(cast("str", one)) for one in items])


def as_images(value: ImageList) -> tuple[str | Path, ...]:
    """Return a list of sources as a tuple; what is not a list is left for the rules to refuse."""
    items = to_items(value)
    if items is None:
        return cast("tuple[str | Path, ...]", value)
    return tuple([cast("str | Path", as_image(cast("str", one))) for one in items])


def as_image(value: str | Path | HasResults | None) -> str | Path | None:
    """Return the URL of the image that a task made; one without is left for the rules."""
    if value is None or value.__class__ is str:
        return value
    found = _result_url(value, "image_url") if isinstance(value, HasResults) else url_text(value)
    return cast("str | Path", found)


def as_video(value: str | Path | HasResults) -> str | Path:
    """Return the URL of the video that a task made; one without is left for the rules."""
    found = _result_url(value, "video_url") if isinstance(value, HasResults) else url_text(value)
    return cast("str | Path", found)


def _result_url(task: HasResults, name: str) -> str:
    url = task.result_url(name)
    if not url:
        return cast(str, task)
    borrowed = ResultUrl(url)
    borrowed.task_id = task.task_id
    return borrowed


def to_json(value: object) -> object:
    """Return a field's value as JSON knows it."""
    if isinstance(value, PurePath):
        path = value.as_posix()
        # After ``//`` a URI names a host, so a path that begins so is written as a whole URI.
        return FILE_SCHEME + (f"//{quote(path)}" if path.startswith("//") else path)
    if isinstance(value, tuple):
        return [to_json(one) for one in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, ResultUrl) else value


def to_canonical(value: object) -> object:
    """Return a field's value as a journal knows it: what a task made, by the task."""
    if isinstance(value, ResultUrl):
        return TASK_SCHEME + value.task_id
    if isinstance(value, tuple):
        return [to_canonical(one) for one in cast(tuple[object, ...], value)]
    return to_json(value)


def from_json(value: object) -> object:
    """Return a field's value as ``plain`` was given it.

    Two forms of ``file:`` are read, which the slashes after it tell apart:

    1. ``file:PATH``, as ``plain`` writes it: the path as it is, percent signs included.
    2. ``file:///PATH``, a URI as ``Path.as_uri()`` writes it (RFC 8089): ``%20`` is a blank. A
       URI that names another host is left for the rules to refuse.
    """
    if isinstance(value, str) and value[:5].lower() == FILE_SCHEME:
        path = value[len(FILE_SCHEME) :]
        if not path.startswith("//"):
            return Path(path)
        host, slash, rest = path[2:].partition("/")
        return _path_of(slash + rest) if host.lower() in ("", "localhost") else value
    items = None if isinstance(value, str) else to_items(value)
    return value if items is None else tuple([from_json(one) for one in items])


def _path_of(quoted: str) -> Path:
    """Return the path of a URI; url2pathname alone knows drives, and elsewhere it reads hosts."""
    if os.name == "nt":
        return Path(url2pathname(quoted))
    return Path(os.fsdecode(unquote_to_bytes(quoted)))
