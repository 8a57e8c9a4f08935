"""Name result files. No value can produce a path outside the chosen folder.

A name may contain a task's id, a prompt, the caller's key or the last part of a URL, and a template
may join several of them. Each value is made safe separately, and so is each part of the final path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import date
from itertools import chain, count
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import ConfigurationError
from ..models.kinds import SUFFIXES
from ..models.object_path import as_path, check_storage, is_object
from ..models.outcomes import Outcome
from ..models.request import Request
from ..models.tasks import Task
from .addresses import file_name
from .safe_names import not_a_device, safe_name, short_id, slug

Destination = str | os.PathLike[str]

MAX_KEY_BYTES = 80
"""Maximum length of a key in a file name, in bytes. This leaves room for an id and an index."""

FIELDS: Mapping[str, str | int] = {
    "index": 0,
    "id": "i2v-ec37",
    "task_id": "i2v-0",
    "key": "key",
    "model": "V",
    "prompt": "a-golden-retriever",
    "date": "2026-01-31",
}
"""The template fields, each with an example value."""
ROW_FIELDS: Mapping[str, str | int] = {"line": 1, "row": "cell"}
"""Additional template fields for requests that come from rows of a file."""
_DISTINGUISHING = {"index", "id", "task_id", "key", "prompt", "line"}
_COLUMN = re.compile(r"row\[([^\[\]]+)\]")
_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,9}$")
DEFAULT_NAME = "{task_id}"
"""The default template for file names in a folder."""
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_Piece = tuple[str, str | None, str | None, str | None]
"""An item from string.Formatter().parse: text, then a field's name, format and conversion."""


def target_path(what: Task | str, destination: Destination) -> Path:
    """Return the path that a result should be downloaded to. Nothing is created.

    In a folder, the file is named after the task's id or the last part of the URL.

    Args:
        what: a task, or the URL of a result.
        destination: a file, a folder, or a template whose only field is ``{task_id}``.

    Raises:
        ConfigurationError: the template has an unknown field, or is invalid.
    """
    # 1. A template, for a task: fill it in.
    # 2. A folder (it exists, ends with a separator, or has no suffix): a file in it.
    # 3. Anything else: that file.
    path, text = as_path(destination), os.fspath(destination)
    if isinstance(what, Task) and _is_template(text):
        return Template(text, ("task_id",)).path(what, {})
    if not (os.path.isdir(path) or text.endswith(("/", os.sep)) or not path.suffix):
        return path
    if isinstance(what, Task):
        return path / (safe_name(what.task_id) + _suffix_of(what))
    return path / _remote_name(what)


def result_paths(task: Task, target: Path) -> dict[str, Path]:
    """Return the paths of a task's results, by field name.

    The main result goes to ``target``. The others, such as captions, go next to it, with different
    suffixes.

    Args:
        task: a task that succeeded.
        target: the path of the main result.
    """
    main, *others = task.results or ("video_url",)
    paths = {main: target}
    for field in others:
        suffix = _suffix_of(task, field)
        beside = target.with_suffix(suffix)
        paths[field] = target.with_name(target.name + suffix) if beside == target else beside
    return paths


def thumbnail_path(task_id: str, url: str, folder: Path) -> Path:
    """Return the path of a task's thumbnail."""
    suffix = Path(_remote_name(url)).suffix.lower()
    return folder / (safe_name(task_id) + (suffix if suffix in PICTURE_SUFFIXES else ".jpg"))


def _remote_name(url: str) -> str:
    return safe_name(unquote(file_name(url)))


def _suffix_of(task: Task, field: str | None = None) -> str:
    """Return the file suffix of a task's result. If ``field`` is None, use the main result."""
    field = field or next(iter(task.results), "video_url")
    return Path(_remote_name(task.results.get(field, ""))).suffix or SUFFIXES[field]


def _is_template(text: str) -> bool:
    return "{" in text or "}" in text


class Template:
    """A path with fields, such as ``videos/{index:05d}-{task_id}``.

    The syntax is that of ``str.format``, but attributes, conversions, nested fields and items other
    than ``{row[column]}`` are refused, because a template may come from a config file. ``{{`` and
    ``}}`` stand for braces.

    Args:
        text: the template. If it ends with a separator, it names a folder.
        fields: the fields that the template may use, from `FIELDS` and `ROW_FIELDS`.
        default: the template for file names in a folder.

    Raises:
        ConfigurationError: the template has an unknown field, or is invalid.
    """

    def __init__(self, text: str, fields: tuple[str, ...], default: str = DEFAULT_NAME) -> None:
        self._text = text
        self._fields = fields
        is_folder = text.endswith(("/", os.sep))
        try:
            self._pieces: tuple[_Piece, ...] = tuple(Formatter().parse(text + default * is_folder))
        except ValueError as error:
            raise self._invalid(f"{error}; write {{{{ or }}}} for a brace") from None
        # Three mistakes are refused now rather than at the first result: an unknown field, a format
        # that str.format rejects for the field's values, and a format that could name another
        # folder or nothing at all.
        for _, name, spec, conversion in self._pieces:
            if name is None:
                continue
            column = _COLUMN.fullmatch(name)
            if name == "row" or (name if column is None else "row") not in fields:
                listed = field_names(fields)
                raise self._invalid(f"unknown field {{{name}}}; it must be one of {listed}")
            spec = spec or ""
            if conversion or "{" in spec or "/" in spec or "\\" in spec:
                raise self._invalid(
                    f"{{{name}}} accepts only a plain format, such as {{index:05d}}"
                )
            try:
                sample = {**FIELDS, **ROW_FIELDS}["row" if column else name]
                is_empty = not format(sample, spec).strip(" .")
            except ValueError as error:
                raise self._invalid(f"{{{name}:{spec}}}: {error}") from None
            if is_empty:
                raise self._invalid(f"{{{name}:{spec}}} makes the value empty")

    @property
    def fields(self) -> set[str]:
        """The fields that the template uses; empty if it has none."""
        return {name for _, name, _, _ in self._pieces if name is not None}

    @property
    def columns(self) -> list[str]:
        """The columns that the template uses, as in ``{row[column]}``."""
        matches = (_COLUMN.fullmatch(name) for name in sorted(self.fields))
        return [match[1] for match in matches if match]

    @property
    def folder(self) -> Path:
        """The folder that contains every path: all parts before the first one with a field."""
        before = ""
        for literal, name, _, _ in self._pieces:
            before += literal
            if name is not None:
                break
        return as_path(os.path.dirname(before))

    def path(self, task: Task, values: Mapping[str, str | int]) -> Path:
        """Return the path of a task's result, inside `folder` and with each part made safe.

        If the template's own text does not end with a suffix, the result's suffix is added.

        Args:
            task: provides ``{task_id}`` and the suffix.
            values: the values of the other fields; strings must already be safe names.
        """
        values = {"task_id": safe_name(task.task_id), **values}
        path = as_path(
            "".join(
                literal + ("" if name is None else format(values[name], spec or ""))
                for literal, name, spec, _ in self._pieces
            )
        )
        # Each value is safe alone, but joined with other text it may still name a device.
        inner = map(not_a_device, path.parent.relative_to(self.folder).parts)
        path = self.folder.joinpath(*inner, path.name)
        literal, name, _, _ = self._pieces[-1]
        has_suffix = name is None and _SUFFIX.search(literal)
        return path.with_name(safe_name(path.name + ("" if has_suffix else _suffix_of(task))))

    def _invalid(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the template {self._text!r} cannot name files: {why}")


class Row(NamedTuple):
    """The row that a request came from: its line in the file, and its values by column."""

    line: int
    values: Mapping[str, Any]


class OutputNames(os.PathLike[str]):
    """Names a fan-out's result files. Every name is unique, and no other task's file is replaced.

    Args:
        destination: a folder, or a template (see `Template`); either may be in object storage.
        default: the template for file names in a folder. In object storage, its ``{id}`` is
            replaced by ``{task_id}``.
        has_rows: whether the requests come from rows of a file. If so, the template may use
            `ROW_FIELDS`, and `with_rows` provides the rows.
        today: the value of ``{date}``; today by default.

    Attributes:
        thumbnails: a local folder for video thumbnails; None to store none.

    Raises:
        ConfigurationError: the template is invalid, or would give two results the same name; the
            destination is a URL that cannot be written to; or obstore is not installed.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        default: str = DEFAULT_NAME,
        has_rows: bool = False,
        today: date | None = None,
    ) -> None:
        text = os.fspath(destination)
        in_storage = is_object(text)
        if in_storage:
            check_storage()
            default = default.replace("{id}", "{task_id}")
        self._destination = text
        self.thumbnails: Path | None = None
        self._today = (today or date.today()).isoformat()
        self._rows: Callable[[Any], Row] | None = None
        is_template = _is_template(text)
        # The separator marks a folder whose name looks like a file's ("run.2026"). A path with
        # braces is always a template, never a folder.
        folder = text if is_template else os.path.join(text, "")
        self._template = Template(folder, (*FIELDS, *(ROW_FIELDS if has_rows else ())), default)
        names = self._template.fields
        if names.isdisjoint(_DISTINGUISHING) and not self.columns:
            raise ConfigurationError(
                f"the template {text!r} gives every video the same name; "
                "add {task_id}, {key} or {index} to it"
            )
        # On disk, a number is added to a name that exists. Object storage cannot check and write in
        # one step, so only the task's id ensures that no other result is replaced.
        if in_storage and "task_id" not in names:
            raise ConfigurationError(
                f"the template {text!r} may give two objects the same name; add {{task_id}} to it"
            )

    @classmethod
    def of(cls, destination: Destination) -> OutputNames:
        """Return an ``OutputNames`` for a destination; an existing one is returned unchanged."""
        return destination if isinstance(destination, OutputNames) else cls(destination)

    def __fspath__(self) -> str:
        return self._destination

    @property
    def folder(self) -> Path:
        """The folder that contains all results, directly or in subfolders. It may not exist yet."""
        return self._template.folder

    @property
    def columns(self) -> Sequence[str]:
        """The columns that the template uses, as in ``{row[column]}``."""
        return self._template.columns

    def with_rows(self, rows: Callable[[Any], Row]) -> OutputNames:
        """Return a copy for requests that come from rows of a file.

        Args:
            rows: returns a request's row; called while its results are being named.
        """
        names = copy(self)
        names._rows = rows
        return names

    @contextmanager
    def name(self, task: Task, outcome: Outcome[Any], taken: set[str]) -> Generator[Named]:
        """Reserve a path for a task's result.

        Args:
            task: the task that made the result.
            outcome: the outcome of the task's item in the fan-out.
            taken: the names that the fan-out has reserved. This name is added, and removed again
                when the context exits.
        """
        # 1. The name contains the task's full id: an existing file is the task's own, and may be
        #    kept or replaced.
        # 2. Otherwise, an existing file may be another result, which was paid for. A number is
        #    added (-2, -3, ...) until neither the path nor one of the paths next to it exists or
        #    is reserved.
        path = self._template.path(task, self._values(task, outcome))
        # A long name may have been cut, so look for the id in the path itself.
        is_own = "task_id" in self._template.fields and safe_name(task.task_id) in str(path)
        lookalikes: list[Path] = []
        if not is_own:
            suffixes = chain([""], (f"-{number}" for number in count(2)))
            for suffix in suffixes:
                candidate = path.with_stem(path.stem + suffix)
                beside = result_paths(task, candidate).values()
                exists = any(os.path.lexists(each) for each in beside)
                if exists:
                    lookalikes.append(candidate)
                elif not any(_casefolded(each) in taken for each in beside):
                    path = candidate
                    break
        reserved = {_casefolded(beside) for beside in result_paths(task, path).values()}
        taken |= reserved
        try:
            yield Named(path, is_own, lookalikes)
        finally:
            taken -= reserved

    def _values(self, task: Task, outcome: Outcome[Any]) -> dict[str, str | int]:
        """Return the values of the fields that the template uses."""
        names, request = self._template.fields, outcome.request
        kind = request.kind.name if isinstance(request, Request) else ""
        values: dict[str, str | int] = {"index": outcome.index, "date": self._today}
        if "key" in names:
            values["key"] = _cell(outcome.key)
        if "model" in names:
            values["model"] = safe_name(str(getattr(request, "model", kind)))
        if "prompt" in names:
            subject = request.subject if isinstance(request, Request) else ""
            values["prompt"] = slug(subject, kind.replace("_", "-") or "result")
        if "id" in names:
            values["id"] = short_id(task.task_id)
        if self._rows is not None and ("line" in names or self.columns):
            row = self._rows(request)
            values["line"] = row.line
            for column in self.columns:
                values[f"row[{column}]"] = _cell(str(row.values.get(column, "")))
        return values


class Named(NamedTuple):
    """A reserved path.

    Attributes:
        path: the path. Unless it is the task's own, no file exists there and no other result
            reserved it.
        is_own: whether an existing file at this path is certain to belong to the task.
        lookalikes: existing files with the same name and a lower number. One of them may be this
            result, downloaded by a run that died before recording it.
    """

    path: Path
    is_own: bool
    lookalikes: Sequence[Path]


def field_names(fields: Sequence[str] = (*FIELDS, *ROW_FIELDS)) -> str:
    """Return template fields as a list for a message: ``{index}, {id}, …``."""
    return ", ".join("{row[column]}" if name == "row" else f"{{{name}}}" for name in fields)


def _cell(text: str) -> str:
    return safe_name(text).encode()[:MAX_KEY_BYTES].decode(errors="ignore")


def _casefolded(path: Path) -> str:
    return str(path).casefold()  # some file systems ignore case
