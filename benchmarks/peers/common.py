"""Runs a peer's creates and reports the result, as the programs in ``clients`` do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..clients.common import IMAGE, KEY, arguments, body, prompt, report, share, timed

__all__ = ["IMAGE", "KEY", "Create", "arguments", "body", "measure", "prompt"]

Create = Callable[[int], Awaitable[str]]
"""Sends a create with the given number; returns its id."""


def measure(peer: Callable[[str], Create]) -> None:
    """Measure one peer's creates.

    Args:
        peer: returns a function that sends one create, given the server's URL.
    """
    asyncio.run(_measure(peer))


async def _measure(peer: Callable[[str], Create]) -> None:
    args = arguments()
    create = peer(args.url)
    ids: set[str] = set()

    async def one(number: int) -> None:
        ids.add(await create(number))

    await share(one, min(args.count, 200), args.at_once)
    ids.clear()
    with timed() as timing:
        await share(one, args.count, args.at_once)
    report(timing, args.count, len(ids))
