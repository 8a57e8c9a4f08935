"""Scripts run on a Redis that may be away for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from ...errors import JournalError
from .scripts import Script

log = logging.getLogger("keevx_async")

UNAVAILABLE = (ConnectionError, TimeoutError, ReadOnlyError)
"""What passes by itself: a restart, a dropped connection, a new primary."""
PAUSES = (0.05, 2.0)
"""Seconds before the first try again, and at most; they double from the one to the other."""

Sleep = Callable[[float], Awaitable[None]]


class Client(Protocol):
    """What is asked of a client: ``redis.asyncio.Redis``, or what ``docket.redis()`` yields."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]:
        """Run a script that the server knows."""
        ...

    def script_load(self, script: str, /) -> Awaitable[Any]:
        """Have the server know a script."""
        ...

    def pipeline(self) -> Any:
        """Return what sends several commands in one round trip."""
        ...


class Connection:
    """Runs scripts, again and again while Redis is away.

    Args:
        redis: the client.
        name: of the journal; all keys lie under it.
        reconnect_timeout: seconds to wait for a Redis that is away.
        sleep: waits for the given seconds; tests pass their own.
    """

    def __init__(self, redis: Client, name: str, reconnect_timeout: float, sleep: Sleep) -> None:
        self._redis = redis
        self._prefix = f"{{{name}}}:"
        self._name = name
        self._reconnect_timeout = reconnect_timeout
        self._sleep = sleep

    async def run(self, what: str, script: Script, me: str, *values: str | int | float) -> Any:
        """Run a script once Redis is there.

        Args:
            what: said in the error if it cannot be run.
            script: the script.
            me: who runs it.
            values: what it is given.

        Raises:
            JournalError: Redis stayed away, or refused.
        """
        (answer,) = await self.run_many(what, script, me, [values])
        return answer

    async def run_many(
        self, what: str, script: Script, me: str, each: Sequence[Sequence[str | int | float]]
    ) -> list[Any]:
        """Run a script for each of several values, in one round trip."""
        runs = [self._arguments(script, me, values) for values in each]
        deadline = asyncio.get_running_loop().time() + self._reconnect_timeout
        pause, longest = PAUSES
        while True:
            try:
                return await self._try(script, runs)
            except RedisError as error:
                now = asyncio.get_running_loop().time()
                if not _passes(error) or now + pause > deadline:
                    raise self._error(what, error) from error
                log.warning("Redis is away (%s); trying again in %.2f s", error, pause)
            await self._sleep(pause)
            pause = min(2 * pause, longest)

    def _arguments(
        self, script: Script, me: str, values: Sequence[str | int | float]
    ) -> tuple[Any, ...]:
        order = f"{self._prefix}order"  # a cluster finds the node by it
        return (script.sha, 1, order, self._prefix, me, *map(str, values))

    async def _try(self, script: Script, runs: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            return await self._send(runs)
        except ResponseError as error:
            if not _is_unknown(error):
                raise
            await self._redis.script_load(script.source)
            return await self._send(runs)

    async def _send(self, runs: Sequence[tuple[Any, ...]]) -> list[Any]:
        if len(runs) == 1:
            return [await self._redis.evalsha(*runs[0])]
        pipeline = self._redis.pipeline()
        for run in runs:
            pipeline.evalsha(*run)
        answers: list[Any] = await pipeline.execute()
        return answers

    def _error(self, what: str, error: RedisError) -> JournalError:
        return JournalError(
            f"journal {self._name!r} in Redis: {what}: {error}. "
            "Look after Redis, then run again: nothing more is sent without it"
        )


def _is_unknown(error: ResponseError) -> bool:
    """Tell whether the server does not know a script: it is new, or was restarted."""
    return isinstance(error, NoScriptError) or str(error).startswith("NOSCRIPT")  # a pipeline's


def _passes(error: RedisError) -> bool:
    return isinstance(error, UNAVAILABLE) and not isinstance(error, AuthenticationError)
