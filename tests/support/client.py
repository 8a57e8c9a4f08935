"""Requests, and clients of an emulator with short waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from keevx_async import (
    FanOut,
    ImageToVideo,
    Keevx,
    PollPolicy,
    RetryPolicy,
)
from keevx_async.testing import Emulator, Faults

RETRY = RetryPolicy(attempts=6, first_delay=0.01, max_delay=0.05, deadline=20, grace=2)


POLLING = PollPolicy(shortest=0.01, longest=0.05, timeout=120)


def a_request(prompt: str = "a dog runs", **changes: Any) -> ImageToVideo:
    given: dict[str, Any] = {
        "model": "V",
        "prompt": prompt,
        "aspect_ratio": "16:9",
        "aspect_resolution": "1080p",
        "duration": 6,
        "image_url": "https://example.com/start.jpg",
    }
    return ImageToVideo(**given | changes)


def some_requests(count: int, **changes: Any) -> list[ImageToVideo]:
    return [a_request(f"prompt {number}", **changes) for number in range(count)]


def keevx_of(emulator: Emulator, **settings: Any) -> Keevx:
    """A client in a hurry."""
    hurry: dict[str, Any] = {"base_url": emulator.url, "retry": RETRY, "polling": POLLING}
    return Keevx(**{"api_key": "test-key"} | hurry | settings)


def busy(times: int) -> Faults:
    """Refuse the first so many creates with HTTP 503."""
    left = [times]

    def strikes(_: str) -> bool:
        left[0] -= 1
        return left[0] >= 0

    return Faults(refuse=strikes, refuse_status=503, once=False)


@asynccontextmanager
async def speaking(seconds: float = 0.02, **settings: Any) -> AsyncIterator[tuple[Any, Keevx]]:
    """An emulator and a client of it."""
    async with Emulator(seconds, **settings) as emulator, keevx_of(emulator) as keevx:
        yield emulator, keevx


async def awaited(fan: FanOut) -> FanOut:
    """A FanOut as a coroutine, which makes a task."""
    return await fan
