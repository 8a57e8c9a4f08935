"""Where prompts are read from: a file, standard input, or another pipe."""

from __future__ import annotations

import codecs
import io
import os
import select
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from attrs import frozen

from keevx_async.errors import ConfigurationError

from .formats import Row, is_json, read_csv, read_json

Form = Literal["jsonl", "csv"]
STDIN = "-"
SUFFIXES: dict[str, Form] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DEVICES = ("/dev/", "/proc/")
"""Where a file may go on reading where another reader of it stopped: macOS's /dev/stdin."""
NOT_DECODED = "keevx.not-decoded"
codecs.register_error(NOT_DECODED, lambda error: ("\udc80", getattr(error, "end", 0)))


@frozen
class Source:
    """Something to read prompts from.

    Attributes:
        path: the file.
        name: what a person calls it.
        folder: what its local paths are relative to; absolute, so that a request does not
            depend on how the file was named.
        form: ``jsonl`` or ``csv``; None: as its suffix says, else its first letter.
    """

    path: Path
    name: str
    folder: Path
    form: Form | None = None

    @classmethod
    def of(cls, path: Path, form: Form | None = None) -> Source:
        """Return a file as a source."""
        form = form or SUFFIXES.get(path.suffix.lower())
        return cls(path, str(path), Path(os.path.realpath(path)).parent, form)

    def rows(self) -> Iterator[Row]:
        """Yield each row and its line number, blank lines left out.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            encoding = encoding_of(file.read(4))
        with self.path.open(encoding=encoding, errors=NOT_DECODED, newline="") as text:
            form = self.form or ("jsonl" if is_json(text) else "csv")
            yield from (read_csv if form == "csv" else read_json)(text)


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text by its first bytes.

    1. A byte-order mark of UTF-16, which Excel's "Unicode Text" and PowerShell write.
    2. Every second byte is zero: UTF-16 without a mark, for a header or JSON begins in ASCII.
    3. Anything else is UTF-8, with or without a mark. An older code page is not guessed: which
       one it is cannot be known, and a prompt that is read in a wrong one would be paid.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) == 4 and (zeros := [not byte for byte in head]) in (
        [False, True, False, True],
        [True, False, True, False],
    ):
        return "utf-16-be" if zeros[0] else "utf-16-le"
    return "utf-8-sig"


def is_read_once(path: Path) -> bool:
    """Tell whether a path leads to what cannot be read twice: a pipe, a terminal, a device."""
    if str(path) == STDIN or str(path).startswith(DEVICES):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def opened(file: Path, form: Form | None) -> Generator[Source]:
    """Return what a command line named.

    Prompts are read twice: all are checked before the first is sent. So what can be read only
    once is copied to a temporary file first, until its writer closes it; then local paths are
    relative to the working folder.

    Raises:
        ConfigurationError: it is a terminal, it cannot be copied, or the working folder is gone.
    """
    if not is_read_once(file):
        working_folder()
        yield Source.of(file, form)
        return
    name = "stdin" if str(file) == STDIN else str(file)
    try:
        kept = TemporaryDirectory(prefix="keevx-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _cannot_keep(name, error) from None
    with kept as folder:
        path = Path(folder) / "prompts"
        try:
            with _opened_once(file) as source:
                if source.isatty():
                    raise ConfigurationError(
                        f"{name} is a terminal; pipe the prompts in, or name a file"
                    )
                _copy(source, path, name)
        except OSError as error:
            raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None
        form = form or SUFFIXES.get(file.suffix.lower())
        yield Source(path, name, working_folder(), form)


def working_folder() -> Path:
    """Return the folder that the command runs in.

    Raises:
        ConfigurationError: it was removed.
    """
    try:
        return Path.cwd()
    except OSError:
        raise ConfigurationError(
            "the folder that this runs in is gone; change to one that is there"
        ) from None


def _opened_once(file: Path) -> io.RawIOBase:
    if str(file) == STDIN:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return file.open("rb", buffering=0)


def _copy(source: io.RawIOBase, path: Path, name: str) -> None:
    """Copy all of a source that may be non-blocking, and then has nothing yet, not its end."""
    while (piece := source.read(65536)) != b"":
        if piece is None:
            select.select((source,), (), ())
            continue
        try:
            with path.open("ab") as kept:
                kept.write(piece)
        except OSError as error:
            raise _cannot_keep(name, error) from None
    path.touch()


def _cannot_keep(name: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{name} can be read only once, and there is no room for a copy: {error.strerror}; set "
        "TMPDIR to a folder with room, or save the prompts to a file and name that"
    )
