"""Measure the cost of a create with many in flight, once the connections are open."""

from __future__ import annotations

import asyncio

from .common import Timing, arguments, raise_file_limit, report, timed
from .ours import client, creates
from .plain import tuned_creates, tuned_session


async def ours(url: str, count: int, at_once: int) -> tuple[Timing, int]:
    """Measure keevx_async."""
    async with client(url, max_connections=at_once) as keevx:
        await creates(keevx, at_once, at_once)
        with timed() as timing:
            ids = await creates(keevx, count, at_once)
    return timing, ids


async def tuned(url: str, count: int, at_once: int) -> tuple[Timing, int]:
    """Measure the tuned aiohttp loop."""
    async with tuned_session() as session:
        await tuned_creates(session, url, at_once, at_once)
        with timed() as timing:
            ids = await tuned_creates(session, url, count, at_once)
    return timing, ids


async def main() -> None:
    args = arguments()
    raise_file_limit()
    job = {"ours": ours, "tuned": tuned}[args.job]
    timing, ids = await job(args.url, args.count, args.at_once)
    report(timing, args.count, ids)


if __name__ == "__main__":
    asyncio.run(main())
