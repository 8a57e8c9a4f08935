"""Run scripts on a Redis that may be temporarily unavailable."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from ...errors import ConfigurationError, JournalError
from .refusals import Outage, refusal_of
from .scripts import Script

MIN_PAUSE = 0.05
"""Seconds before the first retry; each later pause is twice the previous pause."""
MAX_PAUSE = 0.5
"""The maximum number of seconds between two retries."""
SETTLING = 1.0
"""Seconds after an outage during which nothing is claimed: longer than any worker's pause."""

Sleep = Callable[[float], Awaitable[None]]
Value = str | int | float
T = TypeVar("T")


class Client(Protocol):
    """The interface of a client, as provided by ``redis.asyncio.Redis`` and ``docket.redis()``."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]:
        """Run a script that the server has loaded."""
        ...

    def script_load(self, script: str, /) -> Awaitable[Any]:
        """Load a script into the server."""
        ...

    def pipeline(self) -> Any:
        """Return a pipeline, which sends several commands in one round trip."""
        ...


class Connection:
    """Runs scripts, and retries them while Redis is unavailable.

    A script may run twice if its reply is lost, so each must be safe to repeat. A script that
    records something paid for is repeated after any error; any other script, only after a temporary
    error.

    Args:
        redis: the client; it must return bytes.
        name: the journal's name, with which all keys start.
        reconnect_timeout: seconds to wait for an unavailable Redis.
        sleep: waits for a number of seconds.

    Raises:
        ConfigurationError: the name or the client cannot be used.
    """

    def __init__(self, redis: Client, name: str, reconnect_timeout: float, sleep: Sleep) -> None:
        if not name or set(name) & set("{}"):
            raise ConfigurationError(f"the journal needs a name without braces (got {name!r})")
        pool = getattr(redis, "connection_pool", None)
        if pool is not None and pool.connection_kwargs.get("decode_responses"):
            raise ConfigurationError("create the Redis client without decode_responses=True")
        self._redis = redis
        self._prefix = f"{{{name}}}:"
        self._name = name
        self._reconnect_timeout = reconnect_timeout
        self._sleep = sleep
        self._outage = Outage()
        self._last_deadline = math.inf

    def end_within(self, seconds: float) -> None:
        """Stop waiting for an unavailable Redis, in any call, a number of seconds from now."""
        self._last_deadline = asyncio.get_running_loop().time() + seconds

    async def run(
        self,
        purpose: str,
        script: Script,
        holder: str,
        *values: Value,
        on_failure: Callable[[], object] | None = None,
        settled_by: tuple[Script, Value] | None = None,
    ) -> Any:
        """Run a script and return its reply.

        Args:
            purpose: what could not be done, for the error.
            script: the script.
            holder: the id of the holder that runs it.
            values: the script's arguments.
            on_failure: called once if the script fails at first and is retried.
            settled_by: a script, with its argument, that detects the end of an outage. The main
                script then waits until other workers have written their pending records.

        Raises:
            JournalError: Redis stayed unavailable, or refused.
        """
        (answer,) = await self.run_many(
            purpose, script, holder, [values], on_failure=on_failure, settled_by=settled_by
        )
        return answer

    async def run_many(
        self,
        purpose: str,
        script: Script,
        holder: str,
        each: Sequence[Sequence[Value]],
        *,
        on_failure: Callable[[], object] | None = None,
        settled_by: tuple[Script, Value] | None = None,
    ) -> list[Any]:
        """Run a script once for each of several sequences of values, in one round trip.

        Raises:
            JournalError: Redis stayed unavailable, or refused.
        """
        order = f"{self._prefix}order"  # a cluster finds the node by this key
        runs = [(script.sha, 1, order, self._prefix, holder, *map(str, values)) for values in each]

        async def send() -> list[Any]:
            if settled_by is not None:
                await self._settle(holder, *settled_by)
            return await self._load_and_send(script, runs)

        holds_paid = script.holds_paid
        return await self.call(purpose, send, holds_paid=holds_paid, on_failure=on_failure)

    async def call(
        self,
        purpose: str,
        send: Callable[[], Awaitable[T]],
        *,
        holds_paid: bool = False,
        on_failure: Callable[[], object] | None = None,
    ) -> T:
        """Return what a call of Redis returns, repeating it while Redis is unavailable.

        Args:
            purpose: what could not be done, for the error.
            send: calls Redis; safe to repeat.
            holds_paid: whether it records something paid for, and is repeated after any error.
            on_failure: called once if the call fails at first and is repeated.

        Raises:
            JournalError: Redis stayed unavailable, or refused.
        """
        # 1. Redis is unavailable, or refuses temporarily: repeated until the deadline.
        # 2. It refuses for another reason, such as a wrong password, or an unknown one: a record of
        #    something paid for is repeated until the deadline, because it would otherwise be lost.
        #    Anything else raises.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._reconnect_timeout
        pause, failed = MIN_PAUSE, False
        while True:
            try:
                answer = await send()
            except (RedisError, RedisClusterException) as error:
                now, refusal = loop.time(), refusal_of(error)
                retried = refusal.passes or holds_paid
                if not retried or now + pause > min(deadline, self._last_deadline):
                    raise JournalError(
                        f"journal {self._name!r} in Redis: {purpose}: {refusal.reason}. "
                        "Check Redis, then run again: nothing more is sent without it"
                    ) from error
                self._outage.failed(refusal.reason, now)
                if not failed and on_failure is not None:
                    on_failure()
                failed = True
            else:
                if failed:
                    self._outage.passed(loop.time())
                return answer
            await self._sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def _settle(self, holder: str, script: Script, value: Value) -> None:
        """Wait after an outage until every worker has had time to write its pending records."""
        # Leases expire during an outage. Without this wait, the first claim would take a live
        # worker for dead, and its paid creates would be uncertain until it writes their ids.
        loop = asyncio.get_running_loop()
        if self._outage.is_on:
            run = (script.sha, 1, f"{self._prefix}order", self._prefix, holder, str(value))
            await self._load_and_send(script, [run])
            self._outage.passed(loop.time())
        if (rest := self._outage.ended + SETTLING - loop.time()) > 0:
            await self._sleep(rest)

    async def _load_and_send(self, script: Script, runs: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            return await self._send(runs)
        except ResponseError as error:
            # The server is new, or was restarted. A pipeline raises the plain error.
            if not (isinstance(error, NoScriptError) or str(error).startswith("NOSCRIPT")):
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
