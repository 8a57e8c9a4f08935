"""Converters of the values that a request is made from: URLs, files, results, numbers, lists.

Callers hold values of many libraries: numpy's numbers, rows of pandas, pydantic's URLs. A
converter turns each into the built-in type that it stands for. A value that stands for none is
returned unchanged, so that the check of the field can refuse it and quote what was passed.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from numbers import Number
from pathlib import Path, PurePath
from typing import Protocol, SupportsIndex, cast
from urllib.parse import quote, unquote_to_bytes

from .object_path import STORAGE_SCHEMES, ObjectPath

FILE_SCHEME = "file:"
"""Begins a local path in ``Request.to_dict()``."""
TASK_SCHEME = "task:"
"""Begins a reference to a task's result in the canonical body of a request."""

STORED = tuple(f"{scheme}://" for scheme in STORAGE_SCHEMES)
"""Begins the address of an object in storage, in a request as in ``Request.to_dict()``."""
DIGEST_SCHEME = "sha256:"
"""Begins a reference to the bytes of a local file in the canonical body of a request."""

if sys.platform == "win32":
    from urllib.request import url2pathname  # elsewhere not needed, and it imports sockets


class HasResults:
    """The results of an earlier job, which a later request may use as a source.

    ``Task`` is one. A request takes it wherever a URL is taken.
    """

    __slots__ = ()
    task_id: str

    def result_url(self, name: str) -> str | None:
        """Return the URL in the field of that name, or None until the job has succeeded."""
        raise NotImplementedError


class ResultUrl(str):
    """A URL that remembers which task made it.

    Keevx renews the URLs of results, so that two URLs may mean the same file; the task stays.

    Attributes:
        task_id: the task that made it.
    """

    task_id: str


class ImageList(Protocol):
    """A list or a tuple of URLs, paths and tasks, for type checkers. A single URL is refused.

    A ``str`` is a sequence of strings too, but its ``__contains__`` accepts only strings, which
    is what tells the two apart.
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
    scalar = _scalar(value)
    # 1. A bool is an int to Python, but "duration: true" in a file is a mistake: unchanged.
    # 2. Integers of any library have __index__, which never loses anything.
    # 3. Other numbers pass if they are whole. Strings do not: "6" in a CSV file is converted by
    #    the reader of the file, which knows that every cell is text.
    if isinstance(scalar, bool):
        return value
    try:
        return operator.index(cast("SupportsIndex", scalar))
    except TypeError:
        pass
    if not isinstance(scalar, Number):
        return value
    try:
        whole = int(cast("int", scalar))
    except (TypeError, ValueError, OverflowError):  # complex, NaN, infinite
        return value
    return whole if cast(object, whole) == scalar else value


def to_bool(value: bool) -> bool:
    """Return the bool that a value stands for, such as ``numpy.True_``, or the value itself."""
    scalar: object = value if value.__class__ is bool else _scalar(value)
    return scalar if isinstance(scalar, bool) else value


def _scalar(value: object) -> object:
    """Return what a scalar of numpy or its like holds: it has no dimensions, and ``item()``."""
    if getattr(value, "ndim", None) == 0 and callable(item := getattr(value, "item", None)):
        return item()
    return value


def to_text(value: str) -> str:
    """Return a ``str`` subclass (an enum member, ``numpy.str_``) as a plain ``str``.

    A ``ResultUrl`` stays one: it knows its task.
    """
    if value.__class__ is str:
        return value
    if not isinstance(value, str) or isinstance(value, ResultUrl):
        return value
    return str.__str__(value)


def to_url(value: str | None) -> str | None:
    """Return the text of a URL object (pydantic's, yarl's, httpx's), anything else unchanged."""
    return value if value is None or value.__class__ is str else cast("str", url_text(value))


def url_text(value: object) -> object:
    """Return the text of a URL object or a string, anything else unchanged.

    A URL object is any value whose ``str()`` begins with ``http://`` or ``https://``; bytes, paths
    and tasks are never one.
    """
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, bytes | PurePath | HasResults):
        return value
    # No library's class is named here, so that none has to be installed or imported.
    text = str(value)
    return text if text[:8].lower().startswith(("http://", "https://")) else value


def to_secret(value: object) -> object:
    """Return the value inside a pydantic ``SecretStr`` or its like, anything else unchanged."""
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


def is_null(value: object) -> bool:
    """Return whether a value means "absent": None, or pandas' NaN, NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # NaN, and nothing else


def to_items(value: object) -> tuple[object, ...] | None:
    """Return the items of a list, tuple, array, Series or another iterable, or None.

    A string is not a list of its letters, nor a mapping one of its keys. A set is refused because
    the order of images matters.
    """
    if value.__class__ in (tuple, list):
        return tuple(cast("Iterable[object]", value))
    # These can be iterated over, but what comes out is not what was meant.
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        return None
    try:
        return tuple(cast("Iterable[object]", value))
    except TypeError:  # not an iterable, or an array of no dimensions
        return None


def as_tuple(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of strings as a tuple, anything else unchanged."""
    items = to_items(value)
    if items is None:
        return cast("tuple[str, ...]", value)
    return tuple([to_text(cast("str", item)) for item in items])


def as_images(value: ImageList) -> tuple[str | Path, ...]:
    """Return a list of sources as a tuple of URLs and paths, anything else unchanged.

    Each item is converted as ``as_image`` does.
    """
    items = to_items(value)
    if items is None:
        return cast("tuple[str | Path, ...]", value)
    if not items:  # as in most requests
        return ()
    return tuple([cast("str | Path", as_image(cast("str", item))) for item in items])


def as_image(value: str | Path | HasResults | None) -> str | Path | None:
    """Return the URL of the image that a task made, or the text of a URL object.

    The address of an object in storage becomes an ``ObjectPath``. A task without an image, and
    anything else, is returned unchanged.
    """
    if value is None or type(value) is str:
        return _stored(value) if value and value.startswith(STORED) else value
    image = _result_url(value, "image_url") if isinstance(value, HasResults) else url_text(value)
    return cast("str | Path", image)


def as_video(value: str | Path | HasResults) -> str | Path:
    """Return the URL of the video that a task made, or the text of a URL object.

    The address of an object in storage becomes an ``ObjectPath``. A task without a video, and
    anything else, is returned unchanged.
    """
    if type(value) is str:
        return _stored(value) if value.startswith(STORED) else value
    video = _result_url(value, "video_url") if isinstance(value, HasResults) else url_text(value)
    return cast("str | Path", video)


def _stored(address: str) -> Path:
    return cast(Path, ObjectPath(address))  # see as_path


def _result_url(task: HasResults, name: str) -> str:
    url = task.result_url(name)
    if not url:
        return cast(str, task)
    result = ResultUrl(url)
    result.task_id = task.task_id
    return result


def to_json(value: object) -> object:
    """Return a field's value as plain JSON: a path as ``file:PATH``, a tuple as a list.

    ``from_json`` is the exact inverse.
    """
    if isinstance(value, ObjectPath):
        return str(value)
    if isinstance(value, PurePath):
        path = value.as_posix()
        # After ``//`` a URI names a host, so a path that begins so is written as a whole URI.
        return FILE_SCHEME + (f"//{quote(path)}" if path.startswith("//") else path)
    if isinstance(value, tuple):
        return [to_json(item) for item in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, ResultUrl) else value


def to_canonical(value: object, digests: Mapping[Path, str]) -> object:
    """Return a field's value as the journal knows it.

    A task's result is ``task:ID``, a local file ``sha256:DIGEST``.

    Args:
        value: the field's.
        digests: of the local files; one that is not in it stays ``file:PATH``.
    """
    # The URL of a result is renewed every 7 days; the task that made it stays the same.
    if isinstance(value, ResultUrl):
        return TASK_SCHEME + value.task_id
    if isinstance(value, tuple):
        return [to_canonical(item, digests) for item in cast(tuple[object, ...], value)]
    if isinstance(value, Path) and value in digests:
        return DIGEST_SCHEME + digests[value]
    return to_json(value)


def from_json(value: object) -> object:
    """Return the field's value that ``to_json`` was called with.

    A string that begins with ``file:`` becomes a path, a list becomes a tuple.
    """
    # The slashes after "file:" tell two forms apart:
    # 1. file:PATH, as to_json writes it: the path itself, percent signs included.
    # 2. file:///PATH, a URI as Path.as_uri() writes it (RFC 8089): %20 is a blank. A URI that names
    #    another host is returned unchanged, and refused by the check of its field.
    if isinstance(value, str) and value[:5].lower() == FILE_SCHEME:
        path = value[len(FILE_SCHEME) :]
        if not path.startswith("//"):
            return Path(path)
        host, slash, rest = path[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            return value
        # url2pathname knows drives; elsewhere it would read the path's beginning as a host.
        if sys.platform == "win32":
            return Path(url2pathname(slash + rest))
        return Path(os.fsdecode(unquote_to_bytes(slash + rest)))
    items = None if isinstance(value, str) else to_items(value)
    return value if items is None else tuple([from_json(item) for item in items])
