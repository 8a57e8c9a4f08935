"""Encode requests: as the body of a create, and as the canonical body that the journal compares.

Fields are sorted by name and defaults are left out, so equal requests have equal bytes in every
version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from json.encoder import encode_basestring
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from .request import Request
from .sources import to_canonical, to_json

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_Layout = tuple[Callable[[Any], Any], tuple[Any, ...], tuple[str, ...]]
NO_FILES: Mapping[Path, str] = MappingProxyType({})
_LAYOUTS: dict[type, _Layout] = {}
"""For each request class: a getter of all fields, their defaults, and their JSON keys."""
# Strings and integers are encoded directly, because every create has several.
_DIRECT: dict[type, Callable[[Any], str]] = {str: encode_basestring, int: str}


def encode_request(request: Request, callback_url: str | None = None) -> bytes:
    """Return the JSON body of a create.

    Args:
        request: the request, whose non-default fields are written.
        callback_url: replaces the request's own callback URL; None keeps it.
    """
    return _encoded(request, callback_url, to_json)


def canonical_body(request: Request, digests: Mapping[Path, str] = NO_FILES) -> bytes:
    """Return the bytes that identify a request by the content of each source, not its location.

    1. A task's result is identified by the task: Keevx renews the URLs of results, which are valid
       for 7 days.
    2. A local file is identified by its bytes: a moved file is the same image, and a file replaced
       under the same name is another.

    A journal refuses a key whose canonical body has changed.

    Args:
        request: the request to identify.
        digests: the SHA-256 of each local file, in hexadecimal.
    """
    return _encoded(request, None, partial(to_canonical, digests=digests))


def _encoded(
    request: Request, callback_url: str | None, convert: Callable[[object], object]
) -> bytes:
    # Every create encodes its body, so whatever depends only on the class is computed once.
    cls: type = type(request)
    if (layout := _LAYOUTS.get(cls)) is None:
        fields = sorted(attrs.fields(cls), key=lambda each: each.name)
        names = [each.name for each in fields]
        keys = tuple(f'"{name}":' for name in names)
        layout = attrgetter(*names), tuple(each.default for each in fields), keys
        _LAYOUTS[cls] = layout
    read, defaults, keys = layout
    values = read(request)
    if callback_url is not None:
        index = keys.index('"callback_url":')
        values = (*values[:index], callback_url, *values[index + 1 :])
    members: list[str] = []
    for key, default, value in zip(keys, defaults, values, strict=True):
        # Defaults are left out: the vendor's defaults are the same, and a field added in a later
        # version does not change the canonical body of requests that do not use it.
        if value is default or (default is not attrs.NOTHING and value == default):
            continue
        direct = _DIRECT.get(value.__class__)
        members.append(key + (direct(value) if direct else _encode(convert(value))))
    return f"{{{','.join(members)}}}".encode()
