"""Run scripts on a Redis server that may be temporarily unavailable."""

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
"""Maximum seconds between retries."""
SETTLING = 1.0
"""Seconds after an outage during which nothing is claimed. This is longer than any retry pause."""

Sleep = Callable[[float], Awaitable[None]]
Value = str | int | float
T = TypeVar("T")


class Client(Protocol):
    """The client interface that ``redis.asyncio.Redis`` and ``docket.redis()`` provide."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]:
        """Run a script that the server has loaded."""
        ...

    def script_load(self, script: str, /) -> Awaitable[Any]:
        """Load a script onto the server."""
        ...

    def pipeline(self) -> Any:
        """Return a pipeline, which sends several commands in one round trip."""
        ...


class Connection:
    """Runs scripts, and retries them while Redis is unavailable.

    A script may run twice if its reply is lost, so every script must be safe to repeat. A script
    that records something that was paid for is retried after any error; other scripts are retried
    only after temporary errors.

    Args:
        redis: the client; it must return bytes.
        name: the journal's name, with which all keys start.
        reconnect_timeout: maximum seconds to wait for an unavailable Redis.
        sleep: waits for the given number of seconds.

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
        """Make all calls stop waiting for an unavailable Redis after this many seconds."""
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
            purpose: a description of the failure, for the error message.
            script: the script.
            holder: the id of the holder that runs the script.
            values: the script's arguments.
            on_failure: called once if the script fails at first and is retried.
            settled_by: a script and its argument, used to detect the end of an outage. The main
                script then waits until other workers have had time to write their pending records.

        Raises:
            JournalError: Redis stayed unavailable or refused the script.
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
        """Run a script once for each sequence of values, in one round trip.

        Raises:
            JournalError: Redis stayed unavailable or refused a script.
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
        """Call Redis and return its reply, retrying while Redis is unavailable.

        Args:
            purpose: a description of the failure, for the error message.
            send: calls Redis; it must be safe to repeat.
            holds_paid: whether the call records something that was paid for. If so, it is retried
                after any error.
            on_failure: called once if the call fails at first and is retried.

        Raises:
            JournalError: Redis stayed unavailable or refused the call.
        """
        # 1. Redis is unavailable or refuses temporarily: the call is retried until the deadline.
        # 2. Redis refuses for another reason, such as a wrong password, or for an unknown reason: a
        #    call that records something that was paid for is retried until the deadline, because
        #    the record would otherwise be lost. Any other call raises.
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
        # Leases expire during an outage. Without this wait, the first claim would consider a live
        # worker dead, and the worker's paid creates would be uncertain until it writes their ids.
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
