"""What results are called at home. Values that come from elsewhere never leave their folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from string import Formatter
from urllib.parse import unquote

from ..errors import ConfigurationError
from ..models.kinds import SUFFIXES
from ..models.outcomes import Outcome
from ..models.request import Request
from ..models.tasks import Task
from .addresses import file_name

Destination = str | os.PathLike[str]

MAX_NAME_BYTES = 150
"""Bytes of UTF-8; file systems take 255, and a part's name is longer than its target's."""
MAX_KEY_BYTES = 80
"""Bytes, so that an id and an index beside a key still fit into a name."""

FIELDS: Mapping[str, str | int] = {"index": 0, "task_id": "i2v-0", "key": "key", "model": "V"}
"""What a template may name, each with a value such as it will have."""
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
    """Return name as a file's or a folder's, on every system: it cannot leave its folder or hide.

    Letters, marks and digits of every script stay, composed (NFC); ``_``, ``-``, ``.`` and
    blanks too. Anything else becomes ``_``, and so does what the names of this system's files
    cannot hold, as in the C locale. Names that Windows keeps for devices get a ``_`` in front,
    on every system, for files are copied. What is too long loses its beginning.
    """
    composed = unicodedata.normalize("NFC", name)
    clean = "".join(letter if _is_allowed(letter) else "\0" for letter in composed)
    clean = re.sub("\0+", "_", clean).strip(" .")
    short = clean.encode()[-MAX_NAME_BYTES:].decode(errors="ignore").strip(" .") or "result"
    return _not_a_device(short)


def _not_a_device(name: str) -> str:
    return f"_{name}" if _DEVICE.match(name) else name


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


def target_of(what: Task | str, destination: Destination) -> Path:
    """Return the file a result goes to.

    Args:
        what: a task, or a result's URL.
        destination: a file; a folder, in which it gets a name of its own; or for a task
            a template that names ``{task_id}``.

    Raises:
        ConfigurationError: the template names something else.
    """
    path, text = Path(destination), os.fspath(destination)
    if isinstance(what, Task) and _is_template(text):
        return Template(text, ("task_id",)).path(what, {})
    if not (os.path.isdir(path) or text.endswith(("/", os.sep)) or not path.suffix):
        return path
    return path / (_own_name(what) if isinstance(what, Task) else _remote_name(what))


def files_of(task: Task, target: Path) -> dict[str, Path]:
    """Return where each of a task's results goes, by its field: the others beside the main one.

    Args:
        task: one that succeeded.
        target: the main one's file.
    """
    main, *others = task.results or ("video_url",)
    files = {main: target}
    for field in others:
        suffix = _suffix_of(task, field)
        beside = target.with_suffix(suffix)
        files[field] = target.with_name(target.name + suffix) if beside == target else beside
    return files


def _own_name(task: Task) -> str:
    return safe_name(task.task_id) + _suffix_of(task)


def _remote_name(url: str) -> str:
    return safe_name(unquote(file_name(url)))


def _suffix_of(task: Task, field: str | None = None) -> str:
    """Return how the name of a result ends; of the main one, if none is named."""
    field = field or next(iter(task.results), "video_url")
    return Path(_remote_name(task.results.get(field, ""))).suffix or SUFFIXES[field]


def _is_template(text: str) -> bool:
    return "{" in text or "}" in text


class Template:
    """A path with fields in it, such as ``videos/{index:05d}-{task_id}``.

    Read as ``str.format`` reads it, but for attributes, items, conversions and fields within
    fields, which are refused. ``{{`` and ``}}`` stand for braces.

    Args:
        text: the template; one that ends with a separator is a folder of ``{task_id}``.
        known: the fields it may name.

    Raises:
        ConfigurationError: it names another field, or cannot be read.
    """

    def __init__(self, text: str, known: tuple[str, ...]) -> None:
        self._text = text
        self._known = known
        self._pieces = self._read()

    def _read(self) -> tuple[_Piece, ...]:
        folder = self._text.endswith(("/", os.sep))
        try:
            pieces = tuple(Formatter().parse(self._text + "{task_id}" * folder))
        except ValueError as error:
            raise self._bad(f"{error}; write {{{{ or }}}} for a brace") from None
        for _, name, spec, conversion in pieces:
            if name is not None:
                self._check(name, spec or "", conversion)
        return pieces

    @property
    def fields(self) -> set[str]:
        """The fields it names."""
        return {name for _, name, _, _ in self._pieces if name is not None}

    @property
    def folder(self) -> Path:
        """What stands before the part of the path in which the first field is."""
        before = ""
        for literal, name, _, _ in self._pieces:
            before += literal
            if name is not None:
                break
        return Path(os.path.dirname(before))

    def path(self, task: Task, values: Mapping[str, str | int]) -> Path:
        """Return where a task's result goes; its suffix is the file's, if the template has none."""
        path = Path(self._render({"task_id": safe_name(task.task_id), **values}))
        # Values are safe each for itself; beside other text they may still name a device.
        inner = map(_not_a_device, path.parent.relative_to(self.folder).parts)
        path = self.folder.joinpath(*inner, path.name)
        suffix = "" if _SUFFIX.search(self._ending()) else _suffix_of(task)
        return path.with_name(safe_name(path.name + suffix))

    def _ending(self) -> str:
        """Return the plain text after the last field: a suffix there is the template's own."""
        literal, name, _, _ = self._pieces[-1]
        return literal if name is None else ""

    def _check(self, name: str, spec: str, conversion: str | None) -> None:
        listed = ", ".join(f"{{{one}}}" for one in self._known)
        if name not in self._known:
            raise self._bad(f"{{{name}}} is not known here; there is {listed}")
        if conversion or "{" in spec or "/" in spec or "\\" in spec:
            raise self._bad(f"{{{name}}} takes a plain format only, such as {{index:05d}}")
        try:
            empty = not format(FIELDS[name], spec).strip(" .")
        except ValueError as error:
            raise self._bad(f"{{{name}:{spec}}}: {error}") from None
        if empty:
            raise self._bad(f"{{{name}:{spec}}} leaves nothing of it")

    def _bad(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the template {self._text!r} cannot name files: {why}")

    def _render(self, values: Mapping[str, str | int]) -> str:
        return "".join(
            literal + ("" if name is None else format(values[name], spec or ""))
            for literal, name, spec, _ in self._pieces
        )


class OutputNames:
    """Names the results of a fan-out: no two alike, and none like another task's file.

    Args:
        destination: a folder, or a Template's text.

    Raises:
        ConfigurationError: the template cannot be read, or would name all results alike.
    """

    def __init__(self, destination: Destination) -> None:
        text = os.fspath(destination)
        # With a separator at its end: a folder may be named like a file, "run.2026".
        self._folder = os.path.join(text, "")
        self._template = Template(text, tuple(FIELDS)) if _is_template(text) else None
        if self._template and self._template.fields.isdisjoint(_DISTINGUISHING):
            raise ConfigurationError(
                f"the template {text!r} names every video alike; "
                "put {task_id}, {key} or {index} into it"
            )

    @property
    def folder(self) -> Path:
        """The folder in which, or below which, all results come to lie."""
        return self._template.folder if self._template else Path(self._folder)

    @contextmanager
    def name(self, task: Task, outcome: Outcome, taken: set[str]) -> Generator[tuple[Path, bool]]:
        """Yield where a task's result goes, and whether a file that is there is the task's own.

        It is if its name holds the task's id. Any other may be a result that was paid for.

        Args:
            task: whose result it is.
            outcome: the item it belongs to.
            taken: names under way, this one among them for as long as it is.
        """
        path = self._path(task, outcome)
        mine = self._holds_id(path, task)
        if not mine:
            numbered = (path.with_stem(path.stem + end) for end in _suffixes())
            path = next(one for one in numbered if _are_free(task, one, taken))
        marks = {_casefolded(one) for one in files_of(task, path).values()}
        taken |= marks
        try:
            yield path, mine
        finally:
            taken -= marks

    def _path(self, task: Task, outcome: Outcome) -> Path:
        if self._template is None:
            return target_of(task, self._folder)
        key = safe_name(outcome.key).encode()[:MAX_KEY_BYTES].decode(errors="ignore")
        kind = outcome.request.kind.name if isinstance(outcome.request, Request) else ""
        model = safe_name(str(getattr(outcome.request, "model", kind)))
        return self._template.path(task, {"index": outcome.index, "key": key, "model": model})

    def _holds_id(self, path: Path, task: Task) -> bool:
        named = self._template is None or "task_id" in self._template.fields
        return named and safe_name(task.task_id) in str(path)  # it may have been cut


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))


def _are_free(task: Task, path: Path, taken: set[str]) -> bool:
    files = files_of(task, path).values()
    return not any(_casefolded(one) in taken or os.path.lexists(one) for one in files)


def _casefolded(path: Path) -> str:
    return str(path).casefold()  # as some file systems read names
