"""What costs nothing and may be repeated at will: status queries and uploads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import ConnectionFailed, InvalidRequest, KeevxError, ResponseError, Violation
from .kinds import IMAGE_TO_VIDEO
from .media import read_source, upload_form
from .retry import Again, Retrier
from .tasks import Task
from .transport import Call, Exchange, Reply
from .verdict import Fault, api_error, is_passing, is_transient, retry_after
from .wire import UPLOAD_PATH, Envelope, decode_envelope, decode_task, decode_upload, query_path

PARALLEL_UPLOADS = 4


class Querier:
    """Asks Keevx, and brings it files.

    Args:
        exchange: one request, one answer.
        retrier: repeats what failed in passing.
        host: named in errors.
    """

    def __init__(self, exchange: Exchange, retrier: Retrier, host: str) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._host = host
        self._uploading = asyncio.Semaphore(PARALLEL_UPLOADS)

    async def status(self, task_id: str) -> Task:
        """Return a task's snapshot, asking again after a passing fault."""
        return await self._retrier(self._status, task_id)

    async def status_once(self, task_id: str) -> Task:
        """Return a task's snapshot, asking once: the schedule says when to ask again."""
        try:
            return await self._status(task_id)
        except Again as again:
            raise again.error from again.__cause__

    async def upload(self, data: bytes, filename: str | None) -> str:
        """Return the URL of an uploaded image."""
        async with self._uploading:
            return await self._retrier(self._upload, data, filename)

    async def upload_files(self, paths: tuple[Path, ...]) -> Mapping[Path, str]:
        """Return each local file's URL."""
        urls: dict[Path, str] = {}
        for path in paths:
            if path not in urls:
                data = await asyncio.to_thread(read_source, path)
                urls[path] = await self.upload(data, path.name)
        return urls

    async def _status(self, task_id: str) -> Task:
        if not task_id or not isinstance(task_id, str):
            message = f"{task_id!r} is no task id"
            raise InvalidRequest([Violation("task_id", task_id, "required", message)])
        call = Call("GET", query_path(IMAGE_TO_VIDEO, task_id))
        reply, envelope = await self._get(lambda: call)
        task = decode_task(envelope.data)
        if task is None or task.task_id != task_id:
            said = "no task" if task is None else f"task {task.task_id}"
            raise Again(ResponseError(reply.status, f"asked for {task_id}, it tells of {said}"))
        return task

    async def _upload(self, data: bytes, filename: str | None) -> str:
        reply, envelope = await self._get(
            lambda: Call("POST", UPLOAD_PATH, upload_form(data, filename))
        )
        url = decode_upload(envelope.result or envelope.data)
        if url is None:
            raise Again(ResponseError(reply.status, "the upload's answer holds no URL"))
        return url

    async def _get(self, call: Callable[[], Call]) -> tuple[Reply, Envelope]:
        """Return one answer's envelope; raise Again where another try may fare better."""
        try:
            reply = await self._exchange.exchange(call())
        except Fault as fault:
            raise Again(ConnectionFailed(self._host, fault.reason)) from fault
        envelope = decode_envelope(reply.body)
        if envelope is not None and envelope.code == 0 and reply.status < 400:
            return reply, envelope
        raise _refusal(reply, envelope)


def _refusal(reply: Reply, envelope: Envelope | None) -> Again | KeevxError:
    text = reply.body[:500].decode("utf-8", "replace")
    wait = retry_after(reply.headers.get("Retry-After"), time.time()) or None
    if envelope is None and not 400 <= reply.status < 600:
        return Again(ResponseError(reply.status, "it holds no envelope", text), wait)
    code, msg = (envelope.code, envelope.msg) if envelope else (None, "")
    error = api_error(reply.status, code, msg, text)
    passing = is_transient(reply.status, code) or is_passing(reply.status)
    return Again(error, wait) if passing else error
