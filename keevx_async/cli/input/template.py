"""The ``--prompt`` template, such as ``A {animal} in {place}``, filled from a row's columns."""

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
    """A prompt with column names in braces.

    Attributes:
        parts: literal texts, each with the name of the column that follows it, or None.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> PromptTemplate:
        """Parse the value of ``--prompt``, in which ``{{`` and ``}}`` stand for braces.

        Raises:
            ConfigurationError: a brace is not closed, or braces contain anything but a name.
        """
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise _malformed(str(error)) from None
        for _, name, format_spec, conversion in parsed:
            if name is not None and (not name.strip() or format_spec or conversion):
                raise _malformed("braces must contain a column name")
        return cls(tuple((literal, name) for literal, name, _, _ in parsed))

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names in braces, as written."""
        return tuple(name for _, name in self.parts if name is not None)

    def fill(self, row: Mapping[str, Any], column: Callable[[str], str]) -> str:
        """Return the prompt for a row.

        Args:
            row: the row's values by column.
            column: returns the column that a name in braces refers to.

        Raises:
            ValueError: the row has no value for a column, which the message names.
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
