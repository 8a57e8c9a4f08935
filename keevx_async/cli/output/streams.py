"""Standard output and error that may be gone, full or non-blocking: that does not end paid work."""

from __future__ import annotations

import io
import os
import select
import sys
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = "standard output", "standard error"


class WaitingFile(io.FileIO):
    """A descriptor whose writes wait until there is room, also where it is non-blocking.

    Pipes of Node and terminals of ssh may be non-blocking, and the other end can make them so at
    any time: O_NONBLOCK belongs to the open file, not to the process. Python's own streams then
    raise BlockingIOError and drop what did not fit.

    Args:
        descriptor: stays open when this is closed.
        called: the file's name in errors.
    """

    def __init__(self, descriptor: int, called: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._called = called

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what fits, at least one byte.

        Raises:
            OSError: with the stream's name as its file name.
        """
        try:
            while (written := super().write(data)) is None:  # it would block
                select.select((), (self,), ())
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._called) from None
        return written


def prepare_streams() -> None:
    """Have standard output and error wait for room, and escape what their encoding lacks."""
    sys.stdout = _prepared(sys.stdout, STDOUT)
    sys.stderr = _prepared(sys.stderr, STDERR)


def _prepared(stream: TextIO, called: str) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's, a test's
        return stream
    if os.name == "nt":  # consoles are written to otherwise there, and nothing is non-blocking
        stream.reconfigure(errors="backslashreplace")
        return stream
    try:
        descriptor = stream.fileno()
    except OSError:  # text in memory, as of a program that captures what we print
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(WaitingFile(descriptor, called)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def finish_output() -> OSError | None:
    """Write what standard output still holds; return what kept it from being written.

    Else the interpreter would try at its exit, and show a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        return error
    return None


_ABANDONED: set[TextIO] = set()


def abandon(stream: TextIO) -> None:
    """Send what is still written to a stream nowhere."""
    _ABANDONED.add(stream)
    # docs.python.org, "Note on SIGPIPE": else the flush at exit would fail too.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class Errors(Console):
    """Standard error, which falls silent once it cannot be written."""

    def on_broken_pipe(self) -> None:
        """Go on: rich itself ends the process here."""
        self.quiet = True
        abandon(sys.stderr)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was gathered: all that rich writes, live screens too, goes this way."""
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except OSError:
            self.on_broken_pipe()


def write_error(text: str) -> bool:
    """Print a line to standard error, and return whether it was written; nothing ends if not."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)
    return sys.stderr not in _ABANDONED
