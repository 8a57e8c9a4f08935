"""Records exchanges to a file that can be shared: ``Keevx(record=…)``, ``keevx run --record``."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from ..errors import ConfigurationError, request_id_of
from .transport import AiohttpTransport, HttpRequest, HttpResponse, interruption_of
from .verdict import TransportError

log = logging.getLogger("keevx_async.http")

MAX_TEXT = 2_000
"""The maximum number of characters of a non-JSON response to record; the rest is dropped."""
REMOVED = "***"
_URL = re.compile(r"(https?://)(?:[^\s/?#@\"'<>]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?")
"""Matches a URL: scheme, user, host and path, and query or fragment, which may be a signature."""


class Recorder:
    """Appends one JSON line per exchange to a file. docs/testing.md describes the lines.

    The file never contains headers (which include the API key), callback URLs, uploaded content,
    or the user, query or fragment of any URL. It does contain prompts and task ids.

    Args:
        path: the file, created if missing. Lines from earlier runs are kept.

    Raises:
        ConfigurationError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            reason = f"cannot record to {path}: {error.strerror or error}"
            raise ConfigurationError(reason) from None

    def add(
        self,
        request: HttpRequest,
        outcome: HttpResponse | TransportError,
        seconds: float,
        secrets: list[str],
    ) -> None:
        """Write one exchange. Never raises: a create must not fail because recording fails.

        Args:
            request: the request as it was sent.
            outcome: the response, or the error if no response arrived.
            seconds: the duration of the exchange.
            secrets: values to mask if a response echoes them.
        """
        if self._file is None:
            return
        try:
            line = self._to_line(request, outcome, seconds, secrets)
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except Exception as error:  # noqa: BLE001 - whatever it is, the exchange was made
            log.warning("stopped recording to %s: %s", self._path, error)
            self.close()

    def _to_line(
        self,
        request: HttpRequest,
        outcome: HttpResponse | TransportError,
        seconds: float,
        secrets: list[str],
    ) -> dict[str, Any]:
        now = time.time()
        line: dict[str, Any] = {
            "at": round(now, 3),
            "seconds": round(seconds, 3),
            "method": request.method,
            "path": request.path.partition("?")[0],
        }
        if isinstance(request.body, bytes):
            body = json.loads(request.body)
            if isinstance(body, dict):
                body = {**cast("dict[str, Any]", body)}
                body.pop("callback_url", None)
            line["request"] = body
        if isinstance(outcome, TransportError):
            line |= {"sent": outcome.sent, "reason": outcome.reason}
        else:
            line["status"] = outcome.status
            if (wait := outcome.retry_after(now)) is not None:
                line["retry_after"] = round(wait, 3)
            if request_id := request_id_of(outcome.headers):
                line["request_id"] = request_id
            if not outcome.complete:
                line["reason"] = outcome.reason
            try:
                line["response"] = json.loads(outcome.body)
            except (ValueError, RecursionError):
                line["response"] = outcome.body.decode("utf-8", "replace")[:MAX_TEXT]
        cleaned: dict[str, Any] = _clean(line, secrets)
        return cleaned

    def close(self) -> None:
        """Close the file. Calling it again has no effect."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # the rest cannot be written; a warning was logged
                file.close()


def _clean(value: Any, secrets: list[str]) -> Any:
    """Mask the secrets in a JSON value, and remove the user, query and fragment from its URLs."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REMOVED)
        return _URL.sub(r"\1\2", value)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {_clean(name, secrets): _clean(each, secrets) for name, each in fields.items()}
    if isinstance(value, list):
        return [_clean(each, secrets) for each in cast("list[object]", value)]
    return value


class RecordingTransport(AiohttpTransport):
    """A transport that records its exchanges.

    Args:
        recorder: records the exchanges; transports made by ``with_options`` share it.
        args: the arguments for ``AiohttpTransport``.
    """

    def __init__(self, recorder: Recorder, *args: Any) -> None:
        super().__init__(*args)
        self._recorder = recorder

    async def exchange(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once, and record the exchange."""
        began = time.monotonic()
        try:
            response = await super().exchange(request)
        except TransportError as error:
            self._record(request, error, began)
            raise
        except asyncio.CancelledError as error:
            interruption = interruption_of(error)
            if request.method != "GET" and interruption.sent:
                lost = TransportError("cancelled in flight", sent=True)
                self._record(request, interruption.response or lost, began)
            raise
        self._record(request, response, began)
        return response

    def _record(
        self, request: HttpRequest, outcome: HttpResponse | TransportError, began: float
    ) -> None:
        self._recorder.add(request, outcome, time.monotonic() - began, self.secrets())

    async def close(self) -> None:
        """Close the pool and the file permanently."""
        try:
            await super().close()
        finally:
            self._recorder.close()
