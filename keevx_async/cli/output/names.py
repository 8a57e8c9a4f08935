"""Names the results of ``keevx run``, and looks up the input columns used in the names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from keevx_async.models.object_path import ObjectPath
from keevx_async.models.request import Request
from keevx_async.transfer.output_paths import OutputNames, Row

from ..input.inputs import Input
from ..input.prompts import Job, Problem, Prompts
from ..input.resume import local_folder

RUN_NAME = "{index:04d}-{prompt}-{id}"
"""The default name of a result, such as ``0007-a-golden-retriever-i2v-ec37.mp4``."""
THUMBNAILS = "thumbnails"
"""The thumbnail folder, beside results.jsonl. Each thumbnail is named after its task's id."""


def output_names(destination: Path) -> OutputNames:
    """Return the names for a run's results.

    Raises:
        ConfigurationError: the destination is a template that cannot name results.
    """
    names = OutputNames(destination, default=RUN_NAME, has_rows=True)
    names.thumbnails = local_folder(names.folder) / THUMBNAILS
    return names


class NamedColumns:
    """The input columns used in result names, as in ``{row[scene]}``.

    Args:
        names: the columns, in any spelling.
        source: the input that should have the columns.
    """

    def __init__(self, names: Sequence[str], source: Input) -> None:
        self._source = source
        self._columns = {name: source.defaults.columns.name(name) for name in names}
        self._missing = dict(self._columns)

    def add(self, job: Job) -> None:
        """Look for the columns in a row. A column with only empty cells counts as missing."""
        if self._missing:
            self._missing = {k: v for k, v in self._missing.items() if v not in job.row}

    def problems(self) -> list[Problem]:
        """Return a problem for each column that no row has."""
        return [
            Problem(self._source.name, 0, f"--out: there is no column {name!r}")
            for name in self._missing
        ]

    def bind(self, names: OutputNames, prompts: Prompts) -> OutputNames:
        """Return names that take column values from each request's row."""

        def row(request: Request) -> Row:
            line, values = prompts.row(request)
            return Row(line, {name: values.get(key, "") for name, key in self._columns.items()})

        return names.with_rows(row)


def shown_path(path: Path) -> str:
    """Return a path as it is shown in all output.

    It is relative to the working folder, unless the absolute path is shorter. An object storage
    address is left unchanged.
    """
    if isinstance(path, ObjectPath):
        return str(path)
    absolute = os.path.abspath(path)
    try:
        return min(os.path.relpath(absolute), absolute, key=len)
    except ValueError:  # another drive, on Windows
        return absolute
