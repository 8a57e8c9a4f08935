"""Creates that are waited for: which are checked when, on a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from keevx_async.docket.completion import GATHERING, CompletionWaiter
from tests.support.simulated import simulated


class Checks:
    """Which keys are complete, and when which were checked."""

    def __init__(self, *complete: str) -> None:
        self.complete = {*complete}
        self.made: list[tuple[float, list[str]]] = []

    async def __call__(self, keys: Sequence[str]) -> dict[str, str]:
        self.made.append((asyncio.get_running_loop().time(), [*keys]))
        return {key: key for key in keys if key in self.complete}


@simulated
async def test_complete_creates_are_returned_at_once_one_after_the_other() -> None:
    checks = Checks(*map(str, range(200)))
    waiter: CompletionWaiter[str] = CompletionWaiter(checks)
    pending = asyncio.create_task(waiter.wait("pending"))
    await asyncio.sleep(30)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert [await waiter.wait(str(number)) for number in range(200)] == [*map(str, range(200))]
    assert loop.time() - began <= 200 * GATHERING + 0.001
    assert not pending.done()
    await waiter.close()
    await asyncio.gather(pending, return_exceptions=True)


@simulated
async def test_creates_that_arrive_together_are_checked_together() -> None:
    checks = Checks("4", "5")
    waiter: CompletionWaiter[str] = CompletionWaiter(checks)
    pending = [asyncio.create_task(waiter.wait("first"))]
    await asyncio.sleep(30)
    before = len(checks.made)
    pending += [asyncio.create_task(waiter.wait(key)) for key in ("0", "1", "2")]
    left = asyncio.create_task(waiter.wait("left"))
    await asyncio.sleep(0)
    left.cancel()
    assert [*await asyncio.gather(waiter.wait("4"), waiter.wait("5"))] == ["4", "5"]
    assert [sorted(keys) for _, keys in checks.made[before:]] == [["0", "1", "2", "4", "5"]]
    await asyncio.sleep(10)
    assert len(checks.made) < before + 20, "checked again and again"
    await waiter.close()
    await asyncio.gather(*pending, return_exceptions=True)
