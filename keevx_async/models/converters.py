"""Converters for the values passed to a request: URLs, files, results, numbers, lists.

Callers pass values from many libraries: numpy numbers, pandas rows, pydantic URLs. A converter
turns such a value into the built-in type that it represents. Any other value is returned unchanged,
so the field's check can reject and quote the value.
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
"""The prefix of a local path in ``Request.to_dict()``."""
TASK_SCHEME = "task:"
"""The prefix of a reference to a task's result, in a request's canonical body."""

STORED = tuple(f"{scheme}://" for scheme in STORAGE_SCHEMES)
"""The prefixes of object storage addresses, in requests and in ``Request.to_dict()``."""
DIGEST_SCHEME = "sha256:"
"""The prefix of a local file's digest, in a request's canonical body."""

if sys.platform == "win32":
    from urllib.request import url2pathname  # not needed elsewhere, and it imports sockets


class HasResults:
    """The results of an earlier job, which a later request may use as sources.

    ``Task`` implements this class. A request accepts a ``Task`` in every field that accepts a
    source.
    """

    __slots__ = ()
    task_id: str

    def result_url(self, name: str) -> str | None:
        """Return the URL in the named field, or None until the job has succeeded."""
        raise NotImplementedError


class ResultUrl(str):
    """A URL that remembers which task made it.

    Keevx renews result URLs, so two URLs may refer to the same file. The task is stable.

    Attributes:
        task_id: the id of the task that made the result.
    """

    task_id: str


class ImageList(Protocol):
    """A list or tuple of URLs, paths and tasks. Type checkers reject a single URL.

    A ``str`` is also a sequence of strings, but its ``__contains__`` accepts only strings, so it
    does not match this protocol.
    """

    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str | Path | HasResults]: ...
    def __getitem__(self, index: SupportsIndex, /) -> str | Path | HasResults: ...


def to_int(value: int) -> int:
    """Return the integer that a value represents, or the value itself.

    Integers from any library count (``operator.index``), and so do floats and decimals without a
    fraction, as spreadsheets and pandas write them. A bool does not count.
    """
    if value.__class__ is int:
        return value
    scalar = _scalar(value)
    # 1. A bool is an int in Python, but "duration: true" in a file is a mistake: keep the bool.
    # 2. Integers from any library have __index__, which is lossless.
    # 3. Other numbers are converted if they are whole. Strings are not: the reader of a CSV file
    #    converts "6", because it knows that every cell is text.
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
    """Return the bool that a value represents, such as ``numpy.True_``, or the value itself."""
    scalar: object = value if value.__class__ is bool else _scalar(value)
    return scalar if isinstance(scalar, bool) else value


def _scalar(value: object) -> object:
    """Return the value in a numpy-like scalar, which has no dimensions and an ``item()`` method."""
    if getattr(value, "ndim", None) == 0 and callable(item := getattr(value, "item", None)):
        return item()
    return value


def to_text(value: str) -> str:
    """Return a ``str`` subclass (an enum member, ``numpy.str_``) as a plain ``str``."""
    if value.__class__ is str or not isinstance(value, str):
        return value
    return str.__str__(value)


def to_url(value: str | None) -> str | None:
    """Return a URL object (pydantic, yarl, httpx) as text; anything else is returned unchanged."""
    return value if value is None else to_text(cast("str", url_text(value)))


def url_text(value: object) -> object:
    """Return the text of a URL object or a string; anything else is returned unchanged.

    A URL object is any value whose ``str()`` starts with ``http://`` or ``https://``, except bytes,
    paths and tasks.
    """
    if isinstance(value, str):
        # A source keeps the id of the task that made it.
        return value if isinstance(value, ResultUrl) else to_text(value)
    if isinstance(value, bytes | PurePath | HasResults):
        return value
    # No library's class is named here, so no library must be installed or imported.
    text = str(value)
    return text if text[:8].lower().startswith(("http://", "https://")) else value


def to_secret(value: object) -> object:
    """Return the value inside a ``SecretStr`` or similar; anything else is returned unchanged."""
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


def is_null(value: object) -> bool:
    """Return whether a value means "absent": None, or pandas' NaN, NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # true only for NaN


def to_items(value: object) -> tuple[object, ...] | None:
    """Return the items of a list, tuple, array, Series or other iterable; None for other values.

    A string is not a list of its letters, and a mapping is not a list of its keys. A set is
    rejected because the order of images matters.
    """
    if value.__class__ in (tuple, list):
        return tuple(cast("Iterable[object]", value))
    # These are iterable, but their items are not what was meant.
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        return None
    try:
        return tuple(cast("Iterable[object]", value))
    except TypeError:  # not iterable, or a zero-dimensional array
        return None


def as_tuple(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of strings as a tuple; anything else is returned unchanged."""
    items = to_items(value)
    if items is None:
        return cast("tuple[str, ...]", value)
    return tuple([to_text(cast("str", item)) for item in items])


def as_images(value: ImageList) -> tuple[str | Path, ...]:
    """Return a list of sources as a tuple of URLs and paths; anything else is returned unchanged.

    Each item is converted by ``as_image``.
    """
    source: object = value  # to mypy, an ImageList is never a tuple
    if source.__class__ is tuple and not source:  # as in most requests
        return ()
    items = to_items(value)
    if items is None:
        return cast("tuple[str | Path, ...]", value)
    return tuple([cast("str | Path", as_image(cast("str", item))) for item in items])


def as_image(value: str | Path | HasResults | None) -> str | Path | None:
    """Return the URL of the image that a task made, or the text of a URL object.

    The address of an object in storage becomes an ``ObjectPath``. Anything else, including a task
    without an image, is returned unchanged.
    """
    if value is None or type(value) is str:
        return _stored(value) if value and value.startswith(STORED) else value
    image = _result_url(value, "image_url") if isinstance(value, HasResults) else url_text(value)
    return cast("str | Path", image)


def as_video(value: str | Path | HasResults) -> str | Path:
    """Return the URL of the video that a task made, or the text of a URL object.

    The address of an object in storage becomes an ``ObjectPath``. Anything else, including a task
    without a video, is returned unchanged.
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

    ``from_json`` is its exact inverse.
    """
    if isinstance(value, ObjectPath):
        return str(value)
    if isinstance(value, PurePath):
        path = value.as_posix()
        # In a URI, ``//`` introduces a host, so a path that starts with it is written as a full
        # URI.
        return FILE_SCHEME + (f"//{quote(path)}" if path.startswith("//") else path)
    if isinstance(value, tuple):
        return [to_json(item) for item in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, ResultUrl) else value


def to_canonical(value: object, digests: Mapping[Path, str]) -> object:
    """Return a field's value in the form that identifies a request in the journal.

    A task's result becomes ``task:ID``, and a local file becomes ``sha256:DIGEST``.

    Args:
        value: the field's value.
        digests: the digests of local files; a file without a digest becomes ``file:PATH``.
    """
    # The URL of a result is valid for 7 days and then renewed; its task stays the same.
    if isinstance(value, ResultUrl):
        return TASK_SCHEME + value.task_id
    if isinstance(value, tuple):
        return [to_canonical(item, digests) for item in cast(tuple[object, ...], value)]
    if isinstance(value, Path) and value in digests:
        return DIGEST_SCHEME + digests[value]
    return to_json(value)


def from_json(value: object) -> object:
    """Convert a JSON value from ``to_json`` back to a field's value.

    A string that starts with ``file:`` becomes a path, and a list becomes a tuple.
    """
    # The slashes after "file:" distinguish two forms:
    # 1. file:PATH, as written by to_json: the path itself, including any percent signs.
    # 2. file:///PATH, a URI as written by Path.as_uri() (RFC 8089): %20 is a space. A URI with
    #    another host is returned unchanged, and rejected by the field's check.
    if isinstance(value, str) and value[:5].lower() == FILE_SCHEME:
        path = value[len(FILE_SCHEME) :]
        if not path.startswith("//"):
            return Path(path)
        host, slash, rest = path[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            return value
        # url2pathname handles drives; on other systems it would mistake the start of the path for
        # a host.
        if sys.platform == "win32":
            return Path(url2pathname(slash + rest))
        return Path(os.fsdecode(unquote_to_bytes(slash + rest)))
    items = None if isinstance(value, str) else to_items(value)
    return value if items is None else tuple([from_json(item) for item in items])
