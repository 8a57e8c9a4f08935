"""A run's input: rows of files, with missing values filled in from options, and combined."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from attrs import field, fields_dict, frozen

from keevx_async.errors import ConfigurationError
from keevx_async.models.converters import is_null
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.transfer.fitting import Fit, check_fit

from ..fields import FieldOptions
from ..options import InputOptions
from .axes import Axis, combine
from .columns import Columns, without_aliases
from .csv_types import ALIASES, IMAGE, KIND, kind_of_row
from .formats import BadLine, Format
from .sources import Source, is_read_once, open_source, working_folder
from .template import PROMPT, PromptTemplate

MODEL = "model"


@frozen
class Draft:
    """A row of a file, with missing values filled in from options but not yet checked.

    Attributes:
        values: the values by column.
        options: the columns with values from options.
        row: the original values by column.
    """

    values: dict[str, Any]
    options: frozenset[str] = frozenset()
    row: Mapping[str, Any] = field(factory=dict[str, Any])


@frozen(kw_only=True)
class Defaults:
    """Option values, for rows that do not set their own.

    Attributes:
        values: the values by field; local paths are resolved from the working folder.
        kind: the kind for rows that do not set one.
        template: the prompt given as ``--prompt``, which may contain column names in braces.
        columns: the columns that a file may have.
    """

    values: Mapping[str, Any] = field(factory=dict[str, Any])
    kind: str | None = None
    template: PromptTemplate | None = None
    columns: Columns = field(factory=Columns)

    @classmethod
    def from_options(
        cls, values: Mapping[str, Any], kind: str | None, columns: Sequence[str] = ()
    ) -> Defaults:
        """Return the defaults set by command-line options.

        Args:
            values: the values of the options that were passed, by field.
            kind: the value of ``--kind``; dashes count as underscores.
            columns: the columns used by other options.

        Raises:
            ConfigurationError: ``--prompt`` is malformed, the kind does not exist, or the working
                folder was removed.
        """
        if kind is not None and (kind := kind.replace("-", "_")) not in REQUESTS:
            raise ConfigurationError(f"--kind: must be one of {', '.join(REQUESTS)} (got {kind!r})")
        values = dict(values)
        prompt = values.pop(PROMPT, None)
        template = None if prompt is None else PromptTemplate.parse(prompt)
        names = Columns()
        used = (*(template.columns if template else ()), *columns)
        extra = [name for name in dict.fromkeys(used) if names.name(name) not in names]
        return cls(
            values=with_paths(values, working_folder()) if values else values,
            kind=kind,
            template=template,
            columns=Columns(extra),
        )

    def complete(self, line: int, row: dict[str, Any]) -> Draft | BadLine:
        """Return a row with aliases resolved, missing values added, and the prompt filled in."""
        # The order matters: the kind determines the fields, and the model determines the field for
        # an image. The template is filled last, because it may use any other value.
        if self.kind is not None and row.get(KIND) is None:
            row[KIND] = self.kind
        kind = REQUESTS.get(kind_of_row(row.get(KIND)))
        if kind is None:  # an unknown kind is reported with the row
            return Draft(dict(row), row=row)
        fields = fields_dict(cast(Any, kind))
        model = row.get(MODEL) or self.values.get(MODEL)
        values, messages = without_aliases(row, kind, model)
        if messages:
            return BadLine(line, messages)
        taken = {
            name: value
            for name, value in self.values.items()
            if name in fields and is_null(values.get(name))
        }
        values |= taken
        options = frozenset(taken)
        if self.template is not None and PROMPT in fields:
            wraps = any(self.columns.name(name) == PROMPT for name in self.template.columns)
            if wraps or is_null(values.get(PROMPT)):
                try:
                    values[PROMPT] = self.template.fill(values, self._value_name(fields))
                except ValueError as error:
                    return BadLine(line, (str(error),))
                options |= {PROMPT}
        for name in self.columns.extra:
            values.pop(name, None)
        return Draft(values, options, row)

    def unused(self, kinds: Collection[type[Request]]) -> list[str]:
        """Return the fields that were set by options but belong to none of the given kinds."""
        names = [*self.values, *([PROMPT] if self.template else [])]
        return [
            name
            for name in names
            if not any(name in fields_dict(cast(Any, kind)) for kind in kinds)
        ]

    def _value_name(self, fields: Mapping[str, Any]) -> Any:
        def name_of(text: str) -> str:
            name = self.columns.name(text)
            return next((each for each in ALIASES.get(name, ()) if each in fields), name)

        return name_of


@frozen(kw_only=True)
class Input:
    """The input for a run. Its rows can be read any number of times.

    Attributes:
        first: the file or folder with the rows to read one by one.
        axes: further axes, whose rows are combined with each row of ``first``.
        repeat: the number of times to make each combination.
        defaults: option values, for rows that do not set their own.
        fit: the ``--fit`` mode, which determines the images that are allowed.
    """

    first: Source | Axis
    axes: Sequence[Axis] = ()
    repeat: int = 1
    defaults: Defaults = field(factory=Defaults)
    fit: Fit = "none"

    @property
    def name(self) -> str:
        """The input's name in messages, before the line number."""
        return self.first.name

    def drafts(self) -> Iterator[tuple[int, Draft | BadLine]]:
        """Yield each completed row, with its starting line number.

        Raises:
            OSError: the file cannot be read.
        """
        for line, row in read_rows(self.first, self.defaults):
            if isinstance(row, BadLine):
                yield line, row
                continue
            for _, combined in combine(line, row, self.axes, self.repeat):
                if isinstance(combined, BadLine):
                    yield line, combined
                else:
                    yield line, self.defaults.complete(line, combined)

    def bad_lines(self) -> Iterator[tuple[str, BadLine]]:
        """Yield every bad line in the axes, with the name of its axis."""
        for axis in self.axes:
            for _, row in axis.rows:
                if isinstance(row, BadLine):
                    yield axis.name, row

    def count(self, total: int) -> str | None:
        """Return the formula for a total, such as ``12 prompts.txt * 5 images = 60 requests``.

        Return None if the total is just the number of lines.
        """
        factors = [len(axis.rows) for axis in self.axes] + [self.repeat] * (self.repeat > 1)
        if not factors:
            return None
        names = [f" {axis.name}" for axis in self.axes] + [""] * (self.repeat > 1)
        numbers = [
            (total // math.prod(factors), f" {self.name}"),
            *zip(factors, names, strict=True),
        ]
        terms = " \N{MULTIPLICATION SIGN} ".join(f"{number:,}{name}" for number, name in numbers)
        return f"{terms} = {total:,} request{'s' * (total != 1)}"


def read_rows(
    source: Source | Axis, defaults: Defaults
) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """Yield the rows of a file or an axis, with column names normalized and paths resolved."""
    if isinstance(source, Axis):
        yield from source.rows
        return
    columns = defaults.columns
    for line, row in source.rows(columns, defaults.kind):
        if isinstance(row, BadLine):
            yield line, row
            continue
        named = {columns.name(name): value for name, value in row.items()}
        if len(named) < len(row):
            twice = next(
                name for name in named if sum(columns.name(each) == name for each in row) > 1
            )
            yield line, BadLine(line, (f"{twice}: must appear once (got two spellings of it)",))
            continue
        yield line, with_paths(named, source.folder)


def with_paths(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a row with its local paths resolved; URLs and other fields are left unchanged.

    Args:
        row: the row; it is not changed.
        folder: the base folder for relative paths.
    """
    names = {
        name
        for name in row
        if name in (IMAGE, "video") or any(name in kind.source_fields for kind in REQUESTS.values())
    }
    if not names:
        return dict(row)

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(place(item) for item in cast(list[object], value))
        if isinstance(value, str) and value and "://" not in value:
            return folder / value.removeprefix("file:")
        return value

    return {name: place(value) if name in names else value for name, value in row.items()}


@contextmanager
def open_prompts(
    file: Path | None, options: InputOptions, fields: FieldOptions, columns: Sequence[str] = ()
) -> Generator[Input]:
    """Open the input named on the command line, for the duration of the block.

    Args:
        file: a file, ``-`` for standard input, or a folder of images; None to use only the matrix.
        options: the options for reading the input and combining it with other files.
        fields: field values for rows that do not set them.
        columns: the columns used in result names; they need not be fields.

    Raises:
        ConfigurationError: there is no input, a folder contains no images, an input that can be
            read only once is a terminal or cannot be copied, or ``--fit`` needs an extra that is
            not installed.
    """
    matrix, defaults = options.matrix, Defaults.from_options(fields.passed(), options.kind, columns)
    fit = check_fit(options.fit)
    if file is None and not matrix:
        raise ConfigurationError(
            "no prompts; pass a file, - for standard input, or --matrix (keevx init writes a "
            "sample file)"
        )
    first, *others = matrix if file is None else (file, *matrix)
    axes: list[Axis] = []
    for path in others:
        with _open_axis(path, None) as source:
            if isinstance(source, Source):
                try:
                    rows = list(read_rows(source, defaults))
                except OSError as error:
                    message = f"{source.name} cannot be read: {error.strerror}"
                    raise ConfigurationError(message) from None
                if not rows:
                    raise ConfigurationError(f"{source.name} contains no rows")
                source = Axis(source.name, rows)
            axes.append(source)
    with _open_axis(first, options.format) as source:
        yield Input(first=source, axes=axes, repeat=options.repeat, defaults=defaults, fit=fit)


@contextmanager
def _open_axis(path: Path, format: Format | None) -> Generator[Source | Axis]:
    if not is_read_once(path) and path.is_dir():
        yield Axis.from_folder(path)
        return
    with open_source(path, format) as source:
        yield source
