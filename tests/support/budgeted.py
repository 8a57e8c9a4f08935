"""A program with a budget, which the tests run and kill.

    python -m tests.support.budgeted URL JOURNAL

submits 300 requests of one to four videos, 64 at a time, within 100 videos.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from attrs import evolve

from keevx_async import Budget, FanOut, ImageToVideo, Keevx
from tests.support.crashing import request

COUNT, LIMIT, CONCURRENCY = 300, 100, 64


def requests() -> list[ImageToVideo]:
    """Requests of 1, 2, 3 and 4 videos, in an order that mixes them."""
    return [evolve(request(n), generate_count=1 + (n * 7 + n // 4) % 4) for n in range(COUNT)]


async def submit_all(url: str, journal: Path | str | None) -> FanOut[ImageToVideo]:
    budget = Budget(videos=LIMIT)
    async with Keevx("test-key", base_url=url, journal=journal, budget=budget) as keevx:
        return await keevx.submit_many(requests(), concurrency=CONCURRENCY)


if __name__ == "__main__":
    asyncio.run(submit_all(*sys.argv[1:]))
