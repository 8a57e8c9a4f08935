"""Standard output and error that may be gone, or full: that does not end paid work."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TextIO

from rich.console import Console


def abandon(stream: TextIO) -> None:
    """Send what is still written to a stream nowhere."""
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
