"""Run keevx_async against a hidden rate limit; report the ids, the errors and the time."""

from __future__ import annotations

import asyncio

from .common import arguments, report, timed
from .ours import client, requests


async def main() -> None:
    args = arguments()
    async with client(args.url) as keevx:
        with timed() as timing:
            done = await keevx.submit_many(requests(args.count), concurrency=args.at_once)
    errors = sorted({type(error).__name__ for error in done.errors})
    report(timing, args.count, len(set(done.task_ids)), errors=errors)


if __name__ == "__main__":
    asyncio.run(main())
