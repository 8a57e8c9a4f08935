"""The axes of ``--matrix``: rows from files and images from folders, to be combined."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from keevx_async.errors import ConfigurationError
from keevx_async.transfer.media_types import FORMATS

from .csv_types import IMAGE, KEY
from .formats import BadLine, Row

_COLUMNS = {
    suffix: IMAGE if row.media == IMAGE else "video" for row in FORMATS for suffix in row.suffixes
}
"""The column for a file, by the file's suffix."""


@frozen
class Axis:
    """Rows, kept in memory, to combine with the rows of other axes.

    Attributes:
        name: the name of the file or folder, for messages.
        rows: the rows, with their line numbers.
    """

    name: str
    rows: Sequence[Row]

    @classmethod
    def from_folder(cls, folder: Path) -> Axis:
        """Return an axis of the images and videos in a folder, sorted by name.

        Hidden files, subfolders and other kinds of files are skipped.

        Raises:
            ConfigurationError: the folder contains no images or videos, or cannot be read.
        """
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise ConfigurationError(f"{folder} cannot be read: {error.strerror}") from None
        real = Path(os.path.realpath(folder))
        files = [
            (column, real / name)
            for name in names
            if not name.startswith(".") and (column := _COLUMNS.get(Path(name).suffix.lower()))
        ]
        if not files:
            suffixes = ", ".join(suffix for suffix, column in _COLUMNS.items() if column == IMAGE)
            raise ConfigurationError(f"{folder} contains no images ({suffixes})")
        return cls(str(folder), [(line, {c: path}) for line, (c, path) in enumerate(files, 1)])


def combine(line: int, row: Mapping[str, Any], axes: Sequence[Axis], repeat: int) -> Iterator[Row]:
    """Yield every combination of a row with the rows of other axes, ``repeat`` times each.

    If any of the combined rows has a key, the combination's key joins the keys of all its rows.
    A row without a key contributes its file name or line number, so keys stay the same when rows
    are added. The keys of repetitions end in ``-2``, ``-3`` and so on.

    Args:
        line: the row's line number.
        row: the row; it is not changed.
        axes: the other axes, without bad lines.
        repeat: the number of times to yield each combination.
    """
    if not axes and repeat == 1:
        yield line, dict(row)
        return
    for others in itertools.product(*(axis.rows for axis in axes)):
        merged = dict(row)
        clash: str | None = None
        labels = [_label(line, row)]
        has_key = row.get(KEY) is not None
        for axis, (number, other) in zip(axes, others, strict=True):
            if isinstance(other, BadLine):
                continue
            labels.append(_label(number, other))
            has_key = has_key or other.get(KEY) is not None
            clash = clash or next(
                (
                    f"{name}: {axis.name} also has it"
                    for name in other
                    if name in merged and name != KEY
                ),
                None,
            )
            merged.update(other)
        if clash:
            yield line, BadLine(line, (clash,))
            return
        for number in range(1, repeat + 1):
            if has_key:
                suffix = [] if number == 1 else [str(number)]
                merged[KEY] = "-".join([*labels, *suffix])
            yield line, dict(merged)


def _label(line: int, row: Mapping[str, Any]) -> str:
    path = next((value for value in row.values() if isinstance(value, Path)), None)
    key = row.get(KEY)
    return str(key) if key is not None else path.stem if path and len(row) == 1 else str(line)
