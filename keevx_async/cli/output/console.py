"""Makes standard output and standard error safe to write to, and defines the exit codes.

Either stream may be closed, full or non-blocking. A write error is reported if possible, and never
ends a run with paid creates.
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
sent); a create whose response was lost may have been charged; stopped before every item was
started; interrupted, with everything known saved."""
EXIT_CODES: dict[type[Exception], int] = {
    SubmissionUncertain: UNCERTAIN,
    ConfigurationError: USAGE,
    AuthenticationError: USAGE,
    ConnectionFailed: USAGE,
    JournalError: USAGE,
    UploadError: USAGE,
    ValueError: USAGE,
}
"""Exit codes by error; the first match applies. Any other error is ``FAILED``."""

_PASSWORD = re.compile(r"(://[^/@:?#]*:)[^/?#]*@|([?&]password=)[^&#]*")
_abandoned: set[TextIO] = set()


class BlockingFile(io.FileIO):
    """A file whose writes wait until there is room, even if its descriptor is non-blocking.

    Node's pipes and ssh's terminals may be non-blocking, or become so at any time, because
    O_NONBLOCK belongs to the open file rather than the process. Python's own streams then raise
    ``BlockingIOError`` and drop the data that did not fit.

    Args:
        descriptor: the descriptor; it stays open when this object is closed.
        label: the file's name in errors.
    """

    def __init__(self, descriptor: int, label: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._label = label

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as much as fits, at least one byte; return the number of bytes written.

        Raises:
            OSError: the write failed; the error's file name is the label.
        """
        try:
            while (written := super().write(data)) is None:  # it would block
                select.select((), (self,), ())
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._label) from None
        return written


class ErrorConsole(Console):
    """Standard error. If it cannot be written, further output is discarded without an error."""

    def on_broken_pipe(self) -> None:
        """Discard further output. Rich's own method would end the process.

        The run continues, because its creates are paid for. The journal and results.jsonl are still
        written.
        """
        self.quiet = True
        abandon(sys.stderr)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush buffered output. Everything that rich writes passes through here."""
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except OSError:
            self.on_broken_pipe()


ERRORS = ErrorConsole(stderr=True, highlight=False, markup=False, emoji=False)
# Lines are only wrapped for people; a program gets each line unwrapped.
ERRORS.soft_wrap = not ERRORS.is_interactive


def print_error(message: object, command: str = "") -> bool:
    """Print ``keevx: message`` to standard error; return whether it was written.

    All commands print their errors and notices with this function. A message says what is wrong
    and, after a semicolon, what to do. On a terminal, the message is wrapped between
    words.

    Args:
        message: the message; it is reworded for a terminal, and control characters are escaped.
        command: the command to run next; it is printed on its own line, which is never wrapped.
    """
    # Rich prints it, because it knows about a live display on the terminal and prints above it.
    ERRORS.print(f"keevx: {printable(for_terminal(str(message)))}")
    if command:
        ERRORS.print(f"  {printable(command)}", soft_wrap=True)
    return not ERRORS.quiet and sys.stderr not in _abandoned


def exit_code(error: Exception) -> int:
    """Return the exit code for a command that ends with an error."""
    if isinstance(error, JournalError) and error.task_ids:  # paid creates: something was sent
        return FAILED
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


def print_error_event(error: Exception, **fields: object) -> None:
    """Print an error to standard output as a JSON event, for programs that use ``--json``.

    Nothing is raised if standard output cannot be written to.

    Args:
        error: the error; its ``type``, ``message`` and ``hint`` are printed.
        fields: further fields, such as the ``exit`` code.
    """
    with suppress(OSError):
        print(json.dumps({"event": "error", **error_dict(error), **fields}), flush=True)


def prepare_streams() -> None:
    """Make standard output and error wait for room, and escape characters they cannot encode.

    Streams without a descriptor, such as those of a notebook or a test, are left unchanged. Calling
    it again has no effect.
    """
    sys.stdout = _prepared(sys.stdout, "standard output")
    sys.stderr = _prepared(sys.stderr, "standard error")


def _prepared(stream: TextIO, label: str) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # in a notebook or a test
        return stream
    stream = cast("io.TextIOWrapper[io.BufferedWriter]", stream)
    # On Windows nothing is non-blocking, and consoles are not written through a descriptor.
    if os.name == "nt":
        stream.reconfigure(errors="backslashreplace")
        return stream
    try:
        descriptor = stream.fileno()
    except OSError:  # text in memory: a program captures our output
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(BlockingFile(descriptor, label)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def finish_output() -> OSError | None:
    """Flush standard output; return the error if it cannot be written.

    Call this before the interpreter exits, because the interpreter's own flush would print a
    traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        return error
    return None


def abandon(stream: TextIO) -> None:
    """Discard everything written to a stream from now on.

    The descriptor is redirected to the null device, because otherwise the flush at exit would fail
    again. Source: docs.python.org, "Note on SIGPIPE".
    """
    _abandoned.add(stream)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), stream.fileno())


def printable(text: str) -> str:
    """Return text with every control character escaped.

    Prompts, error messages and file names are untrusted. They must not move the cursor, change the
    terminal's title, or start a line that looks like one of ours.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def masked(argument: str) -> str:
    """Return a command-line argument with any URL password replaced by ``***``.

    Both forms in Redis URLs are covered: ``redis://:password@host`` and ``?password=``.
    """
    return _PASSWORD.sub(
        lambda match: f"{match[1]}***@" if match[1] else f"{match[2]}***", argument
    )
