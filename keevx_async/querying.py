"""What costs nothing and may be asked at will."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .errors import ConnectionFailed, KeevxError, ResponseError
from .kinds import Kind
from .kinship import Kinship
from .retry import Again, Retrier
from .tasks import Task
from .transport import Call, Exchange, Reply
from .verdict import NO_CODES, Fault, api_error, is_passing, is_transient, retry_after
from .wire import (
    LANGUAGES_PATH,
    Envelope,
    decode_envelope,
    decode_languages,
    decode_task,
    query_path,
)


class Querier:
    """Asks Keevx.

    Args:
        exchange: one request, one answer.
        retrier: repeats what failed in passing.
        host: named in errors.
        kinship: knows where a task is asked about.
    """

    def __init__(self, exchange: Exchange, retrier: Retrier, host: str, kinship: Kinship) -> None:
        self._exchange = exchange
        self._retrier = retrier
        self._host = host
        self._kinship = kinship

    async def status(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a task's snapshot, asking again after a passing fault."""
        return await self._retrier(self._status, task_id, kind)

    async def status_once(self, task_id: str, kind: Kind | None = None) -> Task:
        """Return a task's snapshot, asking once: the schedule says when to ask again."""
        try:
            return await self._status(task_id, kind)
        except Again as again:
            raise again.error from again.__cause__

    async def _status(self, task_id: str, kind: Kind | None = None) -> Task:
        kind = kind or await self._kinship.of(task_id)
        reply, envelope = await self.ask(Call("GET", query_path(kind, task_id)), kind.codes)
        task = decode_task(envelope.data, kind)
        if task is None or task.task_id != task_id:
            said = "no task" if task is None else f"task {task.task_id}"
            raise Again(ResponseError(reply.status, f"asked for {task_id}, it tells of {said}"))
        return task

    async def target_languages(self) -> tuple[str, ...]:
        """Return the languages that a video can be translated to."""
        return await self._retrier(self._target_languages)

    async def _target_languages(self) -> tuple[str, ...]:
        reply, envelope = await self.ask(Call("GET", LANGUAGES_PATH))
        languages = decode_languages(envelope.data)
        if languages is None:
            raise Again(ResponseError(reply.status, "it tells of no languages"))
        return languages

    async def ask(self, call: Call, codes: Mapping[int, int] = NO_CODES) -> tuple[Reply, Envelope]:
        """Return one answer and its envelope, asking once.

        Args:
            call: what is asked.
            codes: as of ``api_error``.

        Raises:
            Again: another try may fare better.
            KeevxError: it would not.
        """
        try:
            reply = await self._exchange.exchange(call)
        except Fault as fault:
            raise Again(ConnectionFailed(self._host, fault.reason)) from fault
        if not reply.complete:
            raise Again(ConnectionFailed(self._host, reply.reason))
        envelope = decode_envelope(reply.body)
        if envelope is not None and envelope.code == 0 and reply.status < 400:
            return reply, envelope
        raise _refusal(reply, envelope, codes)


def _refusal(
    reply: Reply, envelope: Envelope | None, codes: Mapping[int, int]
) -> Again | KeevxError:
    text = reply.body[:500].decode("utf-8", "replace")
    wait = retry_after(reply.headers.get("Retry-After"), time.time()) or None
    if envelope is None and not 400 <= reply.status < 600:
        return Again(ResponseError(reply.status, "it holds no envelope", text), wait)
    code, msg = (envelope.code, envelope.msg) if envelope else (None, "")
    error = api_error(reply.status, code, msg, text, codes)
    passing = is_transient(reply.status, code) or is_passing(reply.status)
    return Again(error, wait) if passing else error
