"""Converts the cells of a CSV row to the field types of the row's kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

from keevx_async import ImageToVideo
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request

KIND, KEY = "kind", "key"
NUMBER = re.compile(r"(-?\d{1,9})(?:[.,]0+)?")
"""A whole number. pandas and spreadsheets write 6.0, or 6,0 if a comma is the decimal separator."""
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

_AFTER_IMAGE_NAME = re.compile(r"(\.(?:jpe?g|png|webp|gif|bmp))[,;]", re.IGNORECASE)
_SEPARATOR = re.compile(r"(?<!\S)[,;]|[,;](?=\s|$|https?:|file:|(?:s3|gs|az)://)", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::00)?(?:\s?([AP])\.?M\.?)?", re.IGNORECASE)
_DAY_FRACTION = re.compile(r"0[.,]\d{4,}")

IMAGE = "image"
ALIASES: Mapping[str, tuple[str, ...]] = {
    IMAGE: ("image_url", "reference_images"),
    "ratio": ("aspect_ratio", "image_ratio"),
    "resolution": ("aspect_resolution",),
    "seconds": ("duration",),
    "video": ("video_url",),
}
"""Column aliases, each with the fields that it may stand for. The first field that the row's kind
has is used."""

_types: dict[type, Mapping[str, Any]] = {}


def kind_of_row(value: object) -> str:
    """Return the name of a row's kind; a row without a kind is image-to-video.

    The name is not checked.
    """
    return ImageToVideo.kind.name if value is None else str(value)


def parse_cells(row: Mapping[str, str], kind: str | None = None) -> dict[str, Any]:
    """Convert each cell of a row to the type of its field.

    A cell stays a string if it cannot be converted, or if its kind or field is unknown. Validation
    reports the cell later; nothing is raised here.

    Args:
        row: the row's cells, keyed by field name or alias.
        kind: the kind to assume if the row does not set one.
    """
    request = REQUESTS.get(kind_of_row(row.get(KIND, kind)), Request)
    types = _types.get(request) or _types.setdefault(request, get_type_hints(request))
    values: dict[str, Any] = {}
    for name, text in row.items():
        # Spreadsheets have only one number type: 6 may arrive as 6.0, and true as 1 or 1.0.
        number = NUMBER.fullmatch(text)
        field = next((each for each in ALIASES.get(name, ()) if each in types), name)
        field_type = types.get(field)
        if field_type is int:
            values[name] = int(number[1]) if number else text
        elif field_type is bool:
            values[name] = FLAGS.get(number[1] if number else text.lower(), text)
        elif get_origin(field_type) is tuple:
            # Sources are lists of URLs and paths. Other texts may contain spaces and commas.
            values[name] = references(text) if field in request.source_fields else [text]
        else:
            values[name] = text
    return values


def references(text: str) -> list[str]:
    """Return the URLs and paths listed in a cell.

    1. Spaces and line breaks are separators.
    2. A comma or semicolon is a separator next to a space, before a URL, and after an image
       file's name.
    3. Any other comma or semicolon is part of a URL, such as ``…/upload/w_300,h_200/a.jpg``.
    """
    text = _AFTER_IMAGE_NAME.sub(r"\1 ", text)
    return _SEPARATOR.sub(" ", text).split()


def ratio_from_time(text: str) -> str | None:
    """Return the ratio that a spreadsheet turned into a time; None if the text is not a time.

    16:9 may have become 16:09, 16:09:00, 4:09 PM, or 0.67291667 (a fraction of a day).
    """
    if match := _TIME.fullmatch(text):
        hours, minutes = int(match[1]), int(match[2])
        if match[3]:
            hours = hours % 12 + (12 if match[3] in "Pp" else 0)
        return f"{hours}:{minutes}"
    if _DAY_FRACTION.fullmatch(text):
        hours, minutes = divmod(round(float(text.replace(",", ".")) * 24 * 60), 60)
        return f"{hours}:{minutes}"
    return None
