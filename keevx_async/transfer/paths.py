"""Name the files of results. Values from elsewhere never lead out of the chosen folder.

A name may hold a task's id, the caller's key or a URL's last part, and a template may join them:
each value is made safe on its own, and so is every part of the path that results.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from string import Formatter
from urllib.parse import unquote

from ..errors import ConfigurationError
from ..models.kinds import SUFFIXES
from ..models.object_path import as_path, is_object
from ..models.outcomes import Outcome
from ..models.request import Request
from ..models.tasks import Task
from .addresses import file_name
from .objects import check_storage

Destination = str | os.PathLike[str]

MAX_NAME_BYTES = 150
"""Bytes of UTF-8; file systems take 255, and a part's name is longer than its target's."""
MAX_KEY_BYTES = 80
"""Bytes, so that an id and an index beside a key still fit into a name."""

FIELDS: Mapping[str, str | int] = {"index": 0, "task_id": "i2v-0", "key": "key", "model": "V"}
"""The fields of templates, each with a value such as it will have."""
_DISTINGUISHING = ("index", "task_id", "key")
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(?:\.|$)", re.IGNORECASE
)
"""Names of devices, whatever follows a dot. Source: Microsoft's "Naming Files, Paths, and
Namespaces"; superscript digits count too."""
_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,9}$")
_Piece = tuple[str, str | None, str | None, str | None]
"""What string.Formatter().parse yields: text, then a field, its format and its conversion."""


def safe_name(name: str) -> str:
    """Return a file or folder name that is safe on every system, made from any text.

    It cannot lead out of its folder, be hidden, or be empty. Letters, marks and digits of every
    script stay, composed (NFC), and so do ``_``, ``-``, ``.`` and blanks. Runs of anything else
    become ``_``, and so does what the names of this system's files cannot hold, as in the C
    locale. Names that Windows keeps for devices get a ``_`` in front, on every system, for files
    are copied. A name over ``MAX_NAME_BYTES`` loses its beginning, so that its suffix stays.
    """
    composed = unicodedata.normalize("NFC", name)
    clean = "".join(letter if _is_allowed(letter) else "\0" for letter in composed)
    clean = re.sub("\0+", "_", clean).strip(" .")
    short = clean.encode()[-MAX_NAME_BYTES:].decode(errors="ignore").strip(" .") or "result"
    return _not_a_device(short)


def _is_allowed(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum() or letter in "_-. "
    if unicodedata.category(letter)[0] not in "LMN":
        return False
    try:
        os.fsencode(letter)
    except UnicodeEncodeError:
        return False
    return True


def _not_a_device(name: str) -> str:
    return f"_{name}" if _DEVICE.match(name) else name


def target_path(what: Task | str, destination: Destination) -> Path:
    """Return the file that a result is downloaded to. Nothing is created.

    In a folder, the file is named after the task's id or the last part of the URL.

    Args:
        what: a task, or a result's URL.
        destination: a file, a folder, or a template that names ``{task_id}`` only.

    Raises:
        ConfigurationError: the template names another field, or cannot be read.
    """
    # 1. A template, for a task: what it renders to.
    # 2. A folder (one that exists, ends with a separator or has no suffix): a file in it.
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
    """Return where each of a task's results goes, by its field of the task.

    The main one goes to target. The others, such as captions, are next to it and differ by suffix.

    Args:
        task: one that succeeded.
        target: the main result's file.
    """
    main, *others = task.results or ("video_url",)
    paths = {main: target}
    for field in others:
        suffix = _suffix_of(task, field)
        beside = target.with_suffix(suffix)
        paths[field] = target.with_name(target.name + suffix) if beside == target else beside
    return paths


def _remote_name(url: str) -> str:
    return safe_name(unquote(file_name(url)))


def _suffix_of(task: Task, field: str | None = None) -> str:
    """Return the suffix of a result's file, of the main one if no field is named."""
    field = field or next(iter(task.results), "video_url")
    return Path(_remote_name(task.results.get(field, ""))).suffix or SUFFIXES[field]


def _is_template(text: str) -> bool:
    return "{" in text or "}" in text


class Template:
    """A path with fields in it, such as ``videos/{index:05d}-{task_id}``.

    Read as ``str.format`` reads it, but attributes, items, conversions and fields within fields
    are refused: a template may come from a config file. ``{{`` and ``}}`` stand for braces.

    Args:
        text: the template; one that ends with a separator is a folder of ``{task_id}``.
        fields: the fields that it may name, of `FIELDS`.

    Raises:
        ConfigurationError: it names another field, or cannot be read.
    """

    def __init__(self, text: str, fields: tuple[str, ...]) -> None:
        self._text = text
        self._fields = fields
        is_folder = text.endswith(("/", os.sep))
        try:
            self._pieces: tuple[_Piece, ...] = tuple(
                Formatter().parse(text + "{task_id}" * is_folder)
            )
        except ValueError as error:
            raise self._invalid(f"{error}; write {{{{ or }}}} for a brace") from None
        # Refused now rather than at the first result: unknown fields, formats that str.format would
        # reject for such a value, and formats that could name another folder or nothing.
        for _, name, spec, conversion in self._pieces:
            if name is None:
                continue
            if name not in fields:
                listed = ", ".join(f"{{{field}}}" for field in fields)
                raise self._invalid(f"unknown field {{{name}}}; it must be one of {listed}")
            spec = spec or ""
            if conversion or "{" in spec or "/" in spec or "\\" in spec:
                raise self._invalid(f"{{{name}}} takes a plain format only, such as {{index:05d}}")
            try:
                is_empty = not format(FIELDS[name], spec).strip(" .")
            except ValueError as error:
                raise self._invalid(f"{{{name}:{spec}}}: {error}") from None
            if is_empty:
                raise self._invalid(f"{{{name}:{spec}}} leaves nothing of the value")

    @property
    def fields(self) -> set[str]:
        """The fields that it names; empty for one with escaped braces only."""
        return {name for _, name, _, _ in self._pieces if name is not None}

    @property
    def folder(self) -> Path:
        """The folder that holds all its paths: what precedes the first part with a field."""
        before = ""
        for literal, name, _, _ in self._pieces:
            before += literal
            if name is not None:
                break
        return as_path(os.path.dirname(before))

    def path(self, task: Task, values: Mapping[str, str | int]) -> Path:
        """Return where a task's result goes: a path below `folder`, made safe part by part.

        If the template's own text does not end with a suffix, the result's is added.

        Args:
            task: gives ``{task_id}`` and the suffix.
            values: of the other fields; strings must be safe names already.
        """
        values = {"task_id": safe_name(task.task_id), **values}
        path = as_path(
            "".join(
                literal + ("" if name is None else format(values[name], spec or ""))
                for literal, name, spec, _ in self._pieces
            )
        )
        # Values are safe each by itself; joined with other text they may still name a device.
        inner = map(_not_a_device, path.parent.relative_to(self.folder).parts)
        path = self.folder.joinpath(*inner, path.name)
        literal, name, _, _ = self._pieces[-1]
        has_suffix = name is None and _SUFFIX.search(literal)
        return path.with_name(safe_name(path.name + ("" if has_suffix else _suffix_of(task))))

    def _invalid(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the template {self._text!r} cannot name files: {why}")


class OutputNames:
    """Names the results of a fan-out: no two alike, and none like another task's file.

    Args:
        destination: a folder, or a template as in `Template`; either may be in object storage.

    Raises:
        ConfigurationError: the template cannot be read, or would name results alike; or the
            destination is a URL that nothing can be written to, or obstore is not installed.
    """

    def __init__(self, destination: Destination) -> None:
        text = os.fspath(destination)
        in_storage = is_object(text)
        if in_storage:
            check_storage()
        # With a separator at its end: a folder may be named like a file, "run.2026".
        self._folder = os.path.join(text, "")
        self._template = Template(text, tuple(FIELDS)) if _is_template(text) else None
        if self._template and self._template.fields.isdisjoint(_DISTINGUISHING):
            raise ConfigurationError(
                f"the template {text!r} names every video alike; "
                "put {task_id}, {key} or {index} into it"
            )
        # On disk a name that is taken is numbered. Storage cannot be asked and written to in one
        # step, so there only an id makes sure that no other result is replaced.
        if in_storage and self._template and "task_id" not in self._template.fields:
            raise ConfigurationError(
                f"the template {text!r} might name two objects alike; put {{task_id}} into it"
            )

    @property
    def folder(self) -> Path:
        """The folder in which, or below which, all results are written. It need not exist."""
        return self._template.folder if self._template else as_path(self._folder)

    @contextmanager
    def name(self, task: Task, outcome: Outcome, taken: set[str]) -> Generator[tuple[Path, bool]]:
        """Reserve a path for a task's result, and yield it with whether a file there is its own.

        A path that is not the task's own names no existing file, nor one that is reserved.

        Args:
            task: whose result it is.
            outcome: the item that it belongs to.
            taken: reserved names, shared by a fan-out; this one is among them until the exit.
        """
        # 1. The name holds the task's id: a file there is the task's own, and may be kept or
        #    replaced.
        # 2. It does not: a file there may be another result, that was paid for. The path is
        #    numbered (-2, -3, ...) until neither it nor one beside it exists or is reserved.
        if self._template is None:
            path, has_id = target_path(task, self._folder), True
        else:
            key = safe_name(outcome.key).encode()[:MAX_KEY_BYTES].decode(errors="ignore")
            kind = outcome.request.kind.name if isinstance(outcome.request, Request) else ""
            model = safe_name(str(getattr(outcome.request, "model", kind)))
            values: dict[str, str | int] = {"index": outcome.index, "key": key, "model": model}
            path, has_id = self._template.path(task, values), "task_id" in self._template.fields
        is_own = has_id and safe_name(task.task_id) in str(path)  # a long name may have been cut
        if not is_own:
            suffixes = chain([""], (f"-{number}" for number in count(2)))
            numbered = (path.with_stem(path.stem + suffix) for suffix in suffixes)
            path = next(
                candidate
                for candidate in numbered
                if not any(
                    _casefolded(beside) in taken or os.path.lexists(beside)
                    for beside in result_paths(task, candidate).values()
                )
            )
        reserved = {_casefolded(beside) for beside in result_paths(task, path).values()}
        taken |= reserved
        try:
            yield path, is_own
        finally:
            taken -= reserved


def _casefolded(path: Path) -> str:
    return str(path).casefold()  # as some file systems compare names
