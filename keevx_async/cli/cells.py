"""The cells of a CSV file, turned into what the fields of their row's kind take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

from keevx_async import ImageToVideo
from keevx_async.family import REQUESTS
from keevx_async.requests import Request

KIND = "kind"
NUMBER = re.compile(r"-?\d{1,9}")
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def kind_named(given: object) -> str:
    """Return the name of the kind that a line is of: what it says, else image-to-video."""
    return ImageToVideo.kind.name if given is None else str(given)


def typed(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of texts with each as its field takes it.

    What cannot be turned, or is of no known kind or field, is left for the rules to refuse.
    """
    request = REQUESTS.get(kind_named(row.get(KIND)), Request)
    return {name: _cell(request, name, text) for name, text in row.items()}


def _cell(request: type[Request], name: str, text: str) -> Any:
    taken = _types(request).get(name)
    if taken is int:
        return int(text) if NUMBER.fullmatch(text) else text
    if taken is bool:
        return FLAGS.get(text.lower(), text)
    if get_origin(taken) is tuple:  # of URLs and paths several; other texts may hold spaces
        return text.split() if name in request.sources else [text]
    return text


_TYPES: dict[type, Mapping[str, Any]] = {}


def _types(request: type[Request]) -> Mapping[str, Any]:
    if request not in _TYPES:
        _TYPES[request] = get_type_hints(request)
    return _TYPES[request]
