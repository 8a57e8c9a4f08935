"""Writes a worker's log with time, level and worker on each line, and without repetitions."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from .console import ERRORS

LogFormat = Literal["text", "json"]
WINDOW = 30.0
"""Seconds during which a message is logged only once; repetitions are counted."""
ALWAYS = "keevx_async.journal"
"""The logger whose messages are always logged: they are rare, and name paid creates."""
OURS = "keevx_async.cli"
"""The logger for the command's own messages."""


class OncePerIncident(logging.Filter):
    """Logs similar messages only once within ``WINDOW`` seconds.

    Messages are similar if their logger, template and error class are equal, so an outage causes
    one line rather than one line per job. Journal messages are always logged.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record.

        Set its ``left_out`` to the number of similar records that were left out before it.
        """
        if record.name == ALWAYS:
            return True
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        kind, now = (record.name, str(record.msg), error), self._clock()
        began, left_out = self._seen.get(kind, (float("-inf"), 0))
        if now - began < WINDOW:
            self._seen[kind] = (began, left_out + 1)
            return False
        self._seen[kind] = (now, 0)
        record.left_out = left_out
        return True


class Formatter(logging.Formatter):
    """Formats a record as a line of text or as a JSON object.

    For an error, text has only the class and the message; JSON also has the traceback.

    Args:
        form: text or JSON.
        worker: the worker's name.
    """

    def __init__(self, form: LogFormat, worker: str) -> None:
        super().__init__()
        self._form = form
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message, left_out = record.getMessage(), getattr(record, "left_out", 0)
        error = record.exc_info[1] if record.exc_info else None
        brief = f"{type(error).__name__}: {error}" if error is not None else ""
        if self._form == "json":
            fields: dict[str, object] = {
                "time": at,
                "level": record.levelname,
                "worker": self._worker,
                "logger": record.name,
                "message": message,
            }
            if error is not None:
                fields |= {"error": brief, "traceback": "".join(traceback.format_exception(error))}
            if left_out:
                fields["left_out"] = left_out
            return json.dumps(fields)
        more = f" ({left_out:,} more like it since the last one)" if left_out else ""
        line = f"{at} {record.levelname} {self._worker} {message}"
        return " ".join(f"{line}{': ' * bool(brief)}{brief}{more}".splitlines())


class Handler(logging.Handler):
    """Writes records to standard error, which may be closed or full."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            ERRORS.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
        except Exception:  # noqa: BLE001 - as in every handler
            self.handleError(record)


def configure_logs(form: LogFormat, worker: str) -> None:
    """Send this process's log to standard error.

    Args:
        form: text, or a JSON object on each line.
        worker: the worker name to show on each line.
    """
    handler = Handler()
    handler.setFormatter(Formatter(form, worker))
    handler.addFilter(OncePerIncident())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(logging.INFO)
