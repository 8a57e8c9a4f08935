"""A Redis client that counts, and loses answers."""

from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import pytest_asyncio
from docket import Docket
from redis.exceptions import ConnectionError


class Counting:
    """Counts what a client is asked to run, and loses as many answers as it is told to."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.lose = 0
        self.ran: list[str] = []
        self.words: tuple[Any, ...] = ()

    async def evalsha(self, sha: str, numkeys: int, /, *words: Any) -> Any:
        self.ran.append(sha)
        self.words = (sha, numkeys, *words)
        answer = await self.client.evalsha(sha, numkeys, *words)
        if self.lose:
            self.lose -= 1
            raise ConnectionError("the answer was lost")
        return answer

    async def again(self, words: tuple[Any, ...]) -> Any:
        """Run a call again; ``words`` holds the last one."""
        return await self.client.evalsha(*words)

    def script_load(self, script: str, /) -> Awaitable[Any]:
        loaded: Awaitable[Any] = self.client.script_load(script)
        return loaded

    def pipeline(self) -> Any:
        return self.client.pipeline()


@pytest_asyncio.fixture
async def memory() -> Counting:
    async with Docket(name="a", url=f"memory://{uuid4()}") as docket, docket.redis() as client:
        return Counting(client)
