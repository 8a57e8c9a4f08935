"""The cells of a CSV file, turned into what the fields of their row's kind take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

from keevx_async import ImageToVideo
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request

KIND, KEY = "kind", "key"
NUMBER = re.compile(r"(-?\d{1,9})(?:[.,]0+)?")
"""A whole number; pandas and spreadsheets write 6.0, and 6,0 where the decimal point is a comma."""
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

_AFTER_A_FILE = re.compile(r"(\.(?:jpe?g|png|webp|gif|bmp))[,;]", re.IGNORECASE)
_BETWEEN = re.compile(r"(?<!\S)[,;]|[,;](?=\s|$|https?:|file:)", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::00)?(?:\s?([AP])\.?M\.?)?", re.IGNORECASE)
_PART_OF_A_DAY = re.compile(r"0[.,]\d{4,}")


def kind_of_row(given: object) -> str:
    """Return the name of the kind that a line is of: what it says, else image-to-video."""
    return ImageToVideo.kind.name if given is None else str(given)


def parse_cells(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of texts with each as its field takes it.

    What cannot be turned, or is of no known kind or field, is left for the rules to refuse.
    """
    request = REQUESTS.get(kind_of_row(row.get(KIND)), Request)
    return {name: _cell(request, name, text) for name, text in row.items()}


def _cell(request: type[Request], name: str, text: str) -> Any:
    taken = _types(request).get(name)
    whole = NUMBER.fullmatch(text)
    if taken is int:
        return int(whole[1]) if whole else text
    if taken is bool:
        return FLAGS.get(whole[1] if whole else text.lower(), text)
    if get_origin(taken) is tuple:  # of URLs and paths several; other texts may hold spaces
        return references(text) if name in request.source_fields else [text]
    return text


def references(text: str) -> list[str]:
    """Return the URLs and paths that a cell lists.

    1. Blanks and line breaks separate.
    2. A comma or semicolon separates beside a blank, before a URL, and after the name of an
       image file.
    3. Any other belongs to its URL, which may hold some: ``…/upload/w_300,h_200/a.jpg``.
    """
    text = _AFTER_A_FILE.sub(r"\1 ", text)
    return _BETWEEN.sub(" ", text).split()


def ratio_made_a_time(text: str) -> str | None:
    """Return the ratio of which a spreadsheet has made a time, if text looks like one.

    16:9 becomes 16:09, 16:09:00, 4:09 PM, or 0.67291667, the part of a day.
    """
    if found := _TIME.fullmatch(text):
        hours, minutes = int(found[1]), int(found[2])
        if found[3]:
            hours = hours % 12 + (12 if found[3] in "Pp" else 0)
        return f"{hours}:{minutes}"
    if _PART_OF_A_DAY.fullmatch(text):
        hours, minutes = divmod(round(float(text.replace(",", ".")) * 24 * 60), 60)
        return f"{hours}:{minutes}"
    return None


_TYPES: dict[type, Mapping[str, Any]] = {}


def _types(request: type[Request]) -> Mapping[str, Any]:
    if request not in _TYPES:
        _TYPES[request] = get_type_hints(request)
    return _TYPES[request]
