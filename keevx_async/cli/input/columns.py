"""Recognizes column names in different spellings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

from attrs import fields_dict

from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request, similar_name
from keevx_async.models.rules import MODELS

from .csv_types import ALIASES, IMAGE, KEY, KIND

_SEPARATORS = re.compile(r"(?<=.)[\s_-]+")


def field_names() -> dict[str, None]:
    """Return the names of all request fields, and of ``kind`` and ``key``, which only rows have."""
    names: dict[str, None] = dict.fromkeys((KIND, KEY))
    for request in REQUESTS.values():
        names |= dict.fromkeys(fields_dict(cast(Any, request)))
    return names


def _folded(name: str) -> str:
    """Return a name's normal form, which is the same for ``Image URL`` and ``image_url``.

    Other characters are kept, including quotation marks and a leading dash, which may show that
    the file has another format.
    """
    return _SEPARATORS.sub("", name).casefold()


class Columns:
    """The columns that a file may have.

    Args:
        extra: columns that are used by a template but are not fields.
    """

    def __init__(self, extra: Collection[str] = ()) -> None:
        self.fields = field_names()
        self.extra = tuple(extra)
        self._names = dict.fromkeys((*self.extra, *ALIASES, *self.fields))
        self._by_spelling = {_folded(name): name for name in self._names}

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def name(self, text: str) -> str:
        """Return the column that a name refers to; an unknown name is returned unchanged.

        Case, spaces, dashes and underscores are ignored.
        """
        return text if text in self._names else self._by_spelling.get(_folded(text), text)

    def unknown(self, name: str, *, suggest_all: bool = True) -> str:
        """Return a message about an unknown column, with the most similar known name.

        Args:
            name: the unknown column.
            suggest_all: whether to list all names if none is similar.
        """
        shown = name[:50]
        if similar := similar_name(name, self._names):
            return f"unknown field {shown!r}: did you mean {similar!r}?"
        fields = (
            f"known fields are {', '.join((*self.fields, *self.extra))}; " if suggest_all else ""
        )
        return (
            f"unknown field {shown!r}: {fields}remove it, or use it in --prompt as {{{shown}}}, or "
            f"in --out as {{row[{shown}]}}"
        )


def without_aliases(
    row: Mapping[str, Any], request: type[Request], model: object
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a row with its aliases replaced by field names, and messages about conflicts.

    Args:
        row: the row; it is not changed.
        request: the request class of the row's kind. Aliases of fields that the class does not have
            are kept.
        model: the row's model. If it uses no start frame, ``image`` is a reference image.
    """
    if row.keys().isdisjoint(ALIASES):  # nearly always
        return dict(row), ()
    fields = fields_dict(cast(Any, request))
    rules = MODELS.get(model) if isinstance(model, str) else None
    values: dict[str, Any] = {}
    messages: list[str] = []
    for name, value in row.items():
        targets = [field for field in ALIASES.get(name, ()) if field in fields]
        if name == IMAGE and rules is not None and rules.start_frame == "unused":
            targets.reverse()
        field = targets[0] if targets else name
        if field != name and row.get(field) is not None:
            messages.append(f"{name}: is another name for {field}, which the row also has")
        elif field != name and field == "reference_images" and not isinstance(value, list | tuple):
            values[field] = [value]
        else:
            values[field] = value
    return values, tuple(messages)
