"""Programs that die: run by the crash tests, each in a process of its own.

    python -m tests.support.crashing POINT URL JOURNAL OUT

makes three videos one after the other, and kills itself at POINT of the second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from keevx_async import ImageToVideo, Journal, Keevx, Outcome, PollPolicy
from keevx_async.http.transport import AiohttpTransport

COUNT = 3
VICTIM = 1


def request(number: int) -> ImageToVideo:
    return ImageToVideo(
        model="V",
        prompt=f"prompt {number}",
        image_url="https://example.com/start.jpg",
        aspect_ratio="16:9",
        aspect_resolution="1080p",
        duration=6,
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(owner: Any, name: str, is_it: Callable[..., bool], *, after: bool) -> None:
    """Have a step kill this process at its second call that is meant."""
    real, calls = getattr(owner, name), 0

    async def step(*args: Any) -> Any:
        nonlocal calls
        calls += is_it(*args)
        meant = is_it(*args) and calls == VICTIM + 1
        if meant and not after:
            die()
        result = await real(*args)
        if meant:
            die()
        return result

    setattr(owner, name, step)


def any_call(*_: Any) -> bool:
    return True


def is_create(_: Any, call: Any) -> bool:
    return bool(call.method == "POST")


POINTS: dict[str, Callable[[], None]] = {
    "nowhere": lambda: None,
    "before the intent": lambda: dying(Journal, "mark_sending", any_call, after=False),
    "after the intent": lambda: dying(Journal, "mark_sending", any_call, after=True),
    "before the POST": lambda: dying(AiohttpTransport, "exchange", is_create, after=False),
    "after the POST": lambda: dying(AiohttpTransport, "exchange", is_create, after=True),
    "before the ids": lambda: dying(Journal, "mark_submitted", any_call, after=False),
    "after the ids": lambda: dying(Journal, "mark_submitted", any_call, after=True),
    "before the file is noted": lambda: dying(Journal, "mark_downloaded", any_call, after=False),
    "after the file is noted": lambda: dying(Journal, "mark_downloaded", any_call, after=True),
}


async def generate(
    url: str, journal: Path | str, out: Path | str, on_uncertain: Any = "report"
) -> AsyncGenerator[Outcome]:
    """The program itself."""
    polling = PollPolicy(shortest=0.01, longest=0.05, timeout=20)
    record = Journal(journal, on_uncertain=on_uncertain)
    requests = [request(number) for number in range(COUNT)]
    async with Keevx("test-key", base_url=url, journal=record, polling=polling) as keevx:
        async for outcome in keevx.generate_many(requests, concurrency=1, download=out):
            yield outcome


async def main(*where: str) -> None:
    async for _ in generate(*where):
        pass


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    asyncio.run(main(*sys.argv[2:]))
