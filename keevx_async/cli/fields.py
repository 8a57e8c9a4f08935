"""Command-line options for request fields, derived from the request classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, cast, get_type_hints

import attrs
from cyclopts import Group, Parameter, Token

from keevx_async import ImageToVideo
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.models.rules import IMAGE_VALUES, MODELS

from .input.csv_types import ALIASES
from .options import CONVERTED, REQUEST_SORT_KEY

HELP_WORDS = {
    ", the address of an object (``s3://``, ``gs://``, ``az://``), or an earlier task that made an "
    "image": " or the address of an object (s3://, gs://, az://)",
    ", a ``pathlib.Path``, or an earlier task that made a video": " or a local file",
    "``pathlib.Path``": "local file",
    "``MODELS``": "keevx models",
    "URLs, local paths or earlier tasks": "URLs or local files",
    "as ``Keevx.target_languages()`` names it": "as Keevx names it, such as English",
    "; with False, lip movements are changed too": ", or the lip movements too",
}
"""Phrases in request docstrings, each with its replacement for the command line."""

TEMPLATE_HELP = (
    "It may contain columns: 'A {animal} in the {place}'. A row's own prompt takes precedence, "
    "unless {prompt} is one of them."
)


def _union(name: str) -> tuple[Any, ...]:
    """Return every value that at least one model accepts for a field."""
    rules = MODELS.values()
    return tuple(dict.fromkeys(value for each in rules for value in getattr(each, name)))


CHOICES: dict[str, tuple[Any, ...]] = {
    "model": tuple(MODELS),
    "aspect_ratio": _union("aspect_ratios"),
    "aspect_resolution": _union("resolutions"),
    "duration": tuple(sorted(_union("durations"))),
    **IMAGE_VALUES,
}
"""The values for shell completion, by field. Combinations of values are checked later."""


def _parse_number(_: object, tokens: Sequence[Token]) -> int | str:
    """Convert the value of an option with numeric choices; any other text stays a string.

    The request's rules validate the value later, because they depend on the row's model.
    """
    text = tokens[0].value
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _parse_text(_: object, tokens: Sequence[Token]) -> str:
    """Return the value of an option with text choices unchanged; it is validated later."""
    return tokens[0].value


def field_option(
    kind: type[Request],
    name: str,
    *,
    is_optional: bool = False,
    more_help: str = "",
    **settings: Any,
) -> Any:
    """Return the annotation for a field's option, with help from the request's docstring.

    Args:
        kind: the request class that has the field.
        name: the field's name.
        is_optional: whether the value is None if the option is not passed.
        more_help: sentences to add to the help.
        settings: further arguments for ``cyclopts.Parameter``.
    """
    docstring = inspect.getdoc(kind) or ""
    helps = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", docstring, re.MULTILINE))
    help_text = " ".join(helps.get(name, "").split())  # a phrase may be wrapped
    # A literal is left unchanged; a sentence starts with a capital letter.
    if help_text and not help_text.startswith("`"):
        help_text = help_text[0].upper() + help_text[1:]
    for phrase, replacement in HELP_WORDS.items():
        help_text = help_text.replace(phrase, replacement)
    type_: Any = get_type_hints(kind)[name]
    if choices := CHOICES.get(name):
        settings["converter"] = _parse_number if isinstance(choices[0], int) else _parse_text
        settings["show_choices"] = False  # the help lists them, with their conditions
        type_ = cast(Any, Literal[choices])
    parameter = Parameter(
        help=f"{help_text.replace('``', '')} {more_help}".strip(),
        consume_multiple=True,
        **settings,
    )
    # Values are validated when the request is made, which reports all problems together.
    return Annotated[type_ | None if is_optional else type_, CONVERTED, parameter]


def _alias(kind: type[Request], name: str) -> str | None:
    """Return the option for a field's column alias, such as ``--ratio``; None if it has none."""
    fields = attrs.fields_dict(cast(Any, kind))
    return next(
        (
            f"--{alias}"
            for alias, targets in ALIASES.items()
            if name == next((field for field in targets if field in fields), None)
        ),
        None,
    )


def submit_options(kind: type[Request]) -> Iterator[inspect.Parameter]:
    """Yield the options of ``keevx submit``: one for each field of the request."""
    for field in attrs.fields(cast(Any, kind)):  # Request itself is not an attrs class
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is attrs.NOTHING else field.default,
            annotation=field_option(
                kind,
                field.name,
                alias=_alias(kind, field.name),
                negative=None if field.default is True else "",  # --no-NAME, if it is on by default
                show_default=bool(field.default),
            ),
        )


def _row_options() -> dict[str, Any]:
    """Return one attribute for each field of any kind, even if several kinds share the field."""
    options: dict[str, Any] = {}
    aliases: set[str | None] = {None}
    for number, kind in enumerate(REQUESTS.values()):
        title = "Request" if kind is ImageToVideo else f"Request: {kind.kind.name}"
        title += " (for rows that leave these out)"
        group = Group(title, sort_key=REQUEST_SORT_KEY + number)
        for field in attrs.fields(cast(Any, kind)):
            if field.name not in options:
                more = TEMPLATE_HELP if field.name == "prompt" else ""
                annotation = field_option(
                    kind,
                    field.name,
                    is_optional=True,
                    group=group,
                    alias=None if (alias := _alias(kind, field.name)) in aliases else alias,
                    negative=None if field.default is True else "",
                    show_default=False,
                    more_help=more,
                )
                options[field.name] = attrs.field(default=None, type=annotation)
                aliases.add(alias)
    return options


@Parameter(name="*")
@attrs.frozen(kw_only=True, these=_row_options())
class FieldOptions:
    """One option for each request field, for rows that do not set the field."""

    def passed(self) -> dict[str, Any]:
        """Return the values of the options that were passed, by field name."""
        values = attrs.asdict(cast(Any, self), recurse=False)
        return {name: value for name, value in values.items() if value is not None}
