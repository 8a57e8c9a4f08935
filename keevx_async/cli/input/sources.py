"""Opens the input for prompts: a file, standard input, or another pipe."""

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

from attrs import frozen

from keevx_async.errors import ConfigurationError

from .columns import Columns
from .formats import Format, Row, detect_format, read_csv, read_json, read_text

STDIN = "-"
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
TEXT_SUFFIXES = (".txt", ".text", ".md")
"""Suffixes of prompt lists. Spreadsheets also save tables as ``.txt``."""
DEVICES = ("/dev/", "/proc/")
"""Folders of devices that may continue where another reader stopped, like macOS's /dev/stdin."""
NO_WORKING_FOLDER = "the working folder no longer exists; change to another one"
NOT_DECODED = "keevx.not-decoded"
# Bytes that are not text become a lone surrogate, which the readers report as a bad line.
codecs.register_error(NOT_DECODED, lambda error: ("\udc80", getattr(error, "end", 0)))


@frozen
class Source:
    """A file of prompts that can be read any number of times.

    Attributes:
        path: the file's path.
        name: the file's name in messages.
        folder: the base folder for local paths in the file. It is absolute, so requests do not
            depend on the form of the file's path.
        format: the file's format; None to detect it from the first line.
        is_text: whether the file has a text suffix.
    """

    path: Path
    name: str
    folder: Path
    format: Format | None = None
    is_text: bool = False

    @classmethod
    def from_path(cls, path: Path, format: Format | None = None) -> Source:
        """Return the source for a file; without ``format``, the suffix may determine the format.

        The file is not opened. Local paths in the file are relative to its real folder, with
        symbolic links resolved.
        """
        suffix = path.suffix.lower()
        format, is_text = format or SUFFIXES.get(suffix), suffix in TEXT_SUFFIXES
        return cls(path, str(path), Path(os.path.realpath(path)).parent, format, is_text)

    def rows(self, columns: Columns, kind: str | None) -> Iterator[Row]:
        """Yield each row with its starting line number; blank lines are skipped.

        Each call reads the file from the start, and keeps only one row in memory.

        Args:
            columns: the columns that a table may have.
            kind: the kind for rows that do not set one.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            encoding = detect_encoding(file.read(4))
        with self.path.open(encoding=encoding, errors=NOT_DECODED, newline="") as text:
            match self.format or detect_format(text, columns, is_text=self.is_text):
                case "jsonl":
                    yield from read_json(text)
                case "csv":
                    yield from read_csv(text, columns, kind)
                case "txt":
                    yield from read_text(text)


def detect_encoding(head: bytes) -> str:
    """Detect the encoding of a text from its first four bytes.

    1. A UTF-16 byte-order mark means UTF-16. Excel's "Unicode Text" and PowerShell write it.
    2. If every second byte is zero, it is UTF-16 without a mark: headers and JSON start in ASCII.
    3. Anything else is UTF-8, with or without a mark. Older code pages are not guessed: a file
       does not name its code page, and a wrongly decoded prompt would be paid for.
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
    """Return whether a path can be read only once: ``-``, a pipe, a terminal or a device.

    A path that does not exist counts as a file; opening it later raises an error.
    """
    if str(path) == STDIN or str(path).startswith(DEVICES):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def open_source(file: Path, format: Format | None) -> Generator[Source]:
    """Open the input named on the command line, for the duration of the block.

    Prompts are read twice, because all are checked before the first is sent. An input that can be
    read only once is therefore first copied to a temporary file, which is removed when the block
    ends. Local paths in this input are relative to the working folder.

    Args:
        file: the file; ``-`` for standard input.
        format: the format; None to detect it.

    Raises:
        ConfigurationError: the input is a terminal or cannot be copied, or the working folder was
            removed.
    """
    if not is_read_once(file):
        working_folder()
        yield Source.from_path(file, format)
        return
    name = "stdin" if str(file) == STDIN else str(file)
    try:
        temporary = TemporaryDirectory(prefix="keevx-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _cannot_buffer(name, error) from None
    with temporary as folder:
        path = Path(folder) / "prompts"
        try:
            with (
                open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
                if str(file) == STDIN
                else file.open("rb", buffering=0)
            ) as pipe:
                if pipe.isatty():
                    raise ConfigurationError(
                        f"{name} is a terminal; pipe the input in, or pass a file"
                    )
                _copy(pipe, path, name)
        except OSError as error:
            raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None
        suffix = file.suffix.lower()
        format = format or SUFFIXES.get(suffix)
        yield Source(path, name, working_folder(), format, suffix in TEXT_SUFFIXES)


def working_folder() -> Path:
    """Return the working folder.

    Raises:
        ConfigurationError: the folder was removed. The system only reports "No such file or
            directory".
    """
    try:
        return Path.cwd()
    except OSError:
        raise ConfigurationError(NO_WORKING_FOLDER) from None


def _copy(pipe: io.RawIOBase, path: Path, name: str) -> None:
    """Copy a pipe to a file until the pipe ends; if it is non-blocking, wait for data.

    Raises:
        OSError: the pipe cannot be read.
        ConfigurationError: the copy cannot be written.
    """
    while (piece := pipe.read(65536)) != b"":
        if piece is None:
            select.select((pipe,), (), ())
            continue
        try:
            with path.open("ab") as copy:
                copy.write(piece)
        except OSError as error:
            raise _cannot_buffer(name, error) from None
    path.touch()


def _cannot_buffer(name: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot copy {name}, which can be read only once: {error.strerror}; set TMPDIR to a "
        "folder with free space, or save the input to a file and pass that"
    )
