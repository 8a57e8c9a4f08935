"""The template that ``--prompt`` may be: ``A {animal} in {place}``, filled from a row's columns."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import frozen

from keevx_async.errors import ConfigurationError
from keevx_async.models.converters import is_null

PROMPT = "prompt"


@frozen
class PromptTemplate:
    """A prompt with the names of columns in braces.

    Attributes:
        parts: texts, each with the column whose value follows it, or None.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> PromptTemplate:
        """Parse the value of ``--prompt``; a brace of the prompt itself is doubled.

        Raises:
            ConfigurationError: a brace is not closed, or holds more than a name.
        """
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise _malformed(str(error)) from None
        for _, name, format_spec, conversion in parsed:
            if name is not None and (not name.strip() or format_spec or conversion):
                raise _malformed("braces must hold the name of a column")
        return cls(tuple((literal, name) for literal, name, _, _ in parsed))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in braces, as they are written."""
        return tuple(name for _, name in self.parts if name is not None)

    def fill(self, row: Mapping[str, Any], column: Callable[[str], str]) -> str:
        """Return the prompt of a row.

        Args:
            row: its values by column.
            column: returns the column that a name in braces means.

        Raises:
            ValueError: the row has no value for a column; the message names it.
        """
        texts: list[str] = []
        for literal, name in self.parts:
            texts.append(literal)
            if name is not None:
                value = row.get(column(name))
                if is_null(value):
                    raise ValueError(f"--prompt: the row has no value for {{{name}}}")
                many = isinstance(value, list | tuple)
                texts.append(
                    ", ".join(map(str, cast("list[object]", value))) if many else str(value)
                )
        return "".join(texts)


def _malformed(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"--prompt: {reason}; write {{{{ and }}}} for braces that belong to the prompt"
    )
