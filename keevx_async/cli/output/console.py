"""Standard output and error, safe to write to, and the exit codes of every command.

Either stream may be closed, full or non-blocking. That is reported where it can be, and never ends
a run whose creates are paid.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console

from keevx_async.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    JournalError,
    SubmissionUncertain,
    UploadError,
)
from keevx_async.models.outcomes import error_dict

from .wording import for_terminal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OK, FAILED, USAGE, UNCERTAIN, STOPPED, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: all done; something failed; invalid usage, input, key, host or journal (nothing was
sent); a create may have been paid although its answer was lost; stopped before all had begun;
interrupted, everything known saved."""
EXIT_CODES: dict[type[Exception], int] = {
    SubmissionUncertain: UNCERTAIN,
    ConfigurationError: USAGE,
    AuthenticationError: USAGE,
    ConnectionFailed: USAGE,
    JournalError: USAGE,
    UploadError: USAGE,
    ValueError: USAGE,
}
"""Exit codes by error, the first match; any other error is ``FAILED``."""

_PASSWORD = re.compile(r"(://[^/@:?#]*:)[^/?#]*@|([?&]password=)[^&#]*")
_abandoned: set[TextIO] = set()


class BlockingFile(io.FileIO):
    """A descriptor whose writes wait until there is room, even where it is non-blocking.

    Pipes made by Node and terminals of ssh may be non-blocking, and the other end can make them so
    at any time: O_NONBLOCK belongs to the open file, not to the process. Python's own streams then
    raise ``BlockingIOError`` and drop what did not fit.

    Args:
        descriptor: stays open when this object is closed.
        label: the file's name in errors.
    """

    def __init__(self, descriptor: int, label: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._label = label

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as much as fits, at least one byte; return the number of bytes.

        Raises:
            OSError: the write failed; its file name is the stream's label.
        """
        try:
            while (written := super().write(data)) is None:  # it would block
                select.select((), (self,), ())
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._label) from None
        return written


class ErrorConsole(Console):
    """Standard error. Once it cannot be written, it discards everything and raises nothing."""

    def on_broken_pipe(self) -> None:
        """Discard further output; rich's own method ends the process.

        The run continues: its creates are paid, and the journal and results.jsonl are written.
        """
        self.quiet = True
        abandon(sys.stderr)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush buffered output. Everything rich writes, live displays included, passes here."""
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except OSError:
            self.on_broken_pipe()


ERRORS = ErrorConsole(stderr=True, highlight=False, markup=False, emoji=False)
# Lines are wrapped for people only: a program that reads them gets each in one piece.
ERRORS.soft_wrap = not ERRORS.is_interactive


def print_error(message: object, command: str = "") -> bool:
    """Print ``keevx: message`` to standard error; return whether it was written.

    Every error and notice of every command goes this way. A message says what is wrong and, after
    a semicolon, what to do. A terminal gets it wrapped between words.

    Args:
        message: worded for a terminal; control characters in it are escaped.
        command: the command to run next, on a line of its own that is never wrapped.
    """
    # By way of rich, which knows of a live display on the same terminal and prints above it.
    ERRORS.print(f"keevx: {printable(for_terminal(str(message)))}")
    if command:
        ERRORS.print(f"  {printable(command)}", soft_wrap=True)
    return not ERRORS.quiet and sys.stderr not in _abandoned


def exit_code(error: Exception) -> int:
    """Return the exit code of a command that ends with an error."""
    if isinstance(error, JournalError) and error.task_ids:  # they are paid: something was sent
        return FAILED
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


def print_error_event(error: Exception, **fields: object) -> None:
    """Print an error to standard output as a JSON event, for a program that reads ``--json``.

    Nothing is raised if nobody reads it.

    Args:
        error: its ``type``, ``message`` and ``hint`` are printed.
        fields: what else a program needs to know, such as the ``exit`` code.
    """
    with suppress(OSError):
        print(json.dumps({"event": "error", **error_dict(error), **fields}), flush=True)


def prepare_streams() -> None:
    """Make standard output and error wait for room, and escape what their encoding lacks.

    Streams that are not files of the system, such as those of a notebook or a test, stay as they
    are. To call it a second time changes nothing more.
    """
    sys.stdout = _prepared(sys.stdout, "standard output")
    sys.stderr = _prepared(sys.stderr, "standard error")


def _prepared(stream: TextIO, label: str) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's, or a test's
        return stream
    stream = cast("io.TextIOWrapper[io.BufferedWriter]", stream)
    # On Windows nothing is non-blocking, and a console is not written to by its descriptor.
    if os.name == "nt":
        stream.reconfigure(errors="backslashreplace")
        return stream
    try:
        descriptor = stream.fileno()
    except OSError:  # text in memory: a program captures what we print
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(BlockingFile(descriptor, label)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def finish_output() -> OSError | None:
    """Flush standard output; return the error that kept it from being written, if any.

    Called before the interpreter's own flush at exit, which would print a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        return error
    return None


def abandon(stream: TextIO) -> None:
    """Discard everything that is written to a stream from now on.

    The descriptor is redirected to the null device; otherwise the flush at exit would fail again.
    Source: docs.python.org, "Note on SIGPIPE".
    """
    _abandoned.add(stream)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), stream.fileno())


def printable(text: str) -> str:
    """Return text with every control character escaped.

    Prompts, reasons and file names come from elsewhere; none of them can move the cursor, change
    the terminal's title, or begin a line that looks like ours.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def masked(argument: str) -> str:
    """Return a command-line argument with the password of a URL in it replaced by ``***``.

    Both forms of Redis URLs are covered: ``redis://:password@host`` and ``?password=``.
    """
    return _PASSWORD.sub(
        lambda match: f"{match[1]}***@" if match[1] else f"{match[2]}***", argument
    )
