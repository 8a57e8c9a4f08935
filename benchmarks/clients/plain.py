"""The baseline: a good engineer's hand-written aiohttp loop, and a tuned version of it.

``creates`` is the baseline: one ClientSession, ``json=`` and ``await response.json()``, 64 workers
that share one iterator. ``gather`` is the other common approach: a task for each create, limited by
a semaphore. ``tuned`` sends and reads bytes and keeps no cookies. None of them checks requests,
distinguishes a refusal from a lost response, or retries anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp

from .common import KEY, arguments, body, report, share, timed

HEADERS = {"Authorization": f"Bearer {KEY}"}
Job = Callable[[str, int, int], Awaitable[int]]


async def creates(url: str, count: int, at_once: int) -> int:
    """Send ``count`` creates in the usual way; return the number of distinct ids."""
    ids: list[str] = []
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def create(number: int) -> None:
            async with session.post(f"{url}/v1/image_to_video", json=body(number)) as response:
                response.raise_for_status()
                answer = await response.json()
                ids.extend(answer["data"]["task_ids"])

        await share(create, count, at_once)
    return len(set(ids))


async def gather(url: str, count: int, at_once: int) -> int:
    """Send ``count`` creates, each in its own task; return the number of distinct ids."""
    gate = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def create(number: int) -> list[str]:
            async with (
                gate,
                session.post(f"{url}/v1/image_to_video", json=body(number)) as response,
            ):
                response.raise_for_status()
                answer = await response.json()
                return list(answer["data"]["task_ids"])

        ids = await asyncio.gather(*(create(number) for number in range(count)))
    return len({one for several in ids for one in several})


def tuned_session() -> aiohttp.ClientSession:
    """Return a session without cookies and without a connection limit."""
    return aiohttp.ClientSession(
        headers={**HEADERS, "Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
    )


async def tuned_creates(session: aiohttp.ClientSession, url: str, count: int, at_once: int) -> int:
    """Send ``count`` creates, encoding and decoding bytes; return the number of distinct ids."""
    ids: list[str] = []

    async def create(number: int) -> None:
        data = json.dumps(body(number)).encode()
        async with session.post(f"{url}/v1/image_to_video", data=data) as response:
            response.raise_for_status()
            ids.extend(json.loads(await response.read())["data"]["task_ids"])

    await share(create, count, at_once)
    return len(set(ids))


async def tuned(url: str, count: int, at_once: int) -> int:
    """Send ``count`` creates with every known optimization; return the number of distinct ids."""
    async with tuned_session() as session:
        return await tuned_creates(session, url, count, at_once)


async def polls(url: str, count: int, at_once: int) -> int:
    """Query ``count`` task statuses; return the number of distinct ids."""
    seen: list[str] = []
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def poll(number: int) -> None:
            async with session.get(f"{url}/v1/image_to_video/i2v-{number:032x}") as response:
                response.raise_for_status()
                seen.append((await response.json())["data"]["task_id"])

        await share(poll, count, at_once)
    return len(set(seen))


JOBS: dict[str, Job] = {"creates": creates, "gather": gather, "tuned": tuned, "polls": polls}


async def main() -> None:
    args = arguments()
    job = JOBS[args.job]
    await job(args.url, min(args.count, 500), args.at_once)
    with timed() as timing:
        ids = await job(args.url, args.count, args.at_once)
    report(timing, args.count, ids)


if __name__ == "__main__":
    asyncio.run(main())
