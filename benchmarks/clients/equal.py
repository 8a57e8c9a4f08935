"""The second baseline: a careful engineer's code for the same job, fast but still simple.

A pydantic model checks each request, tenacity retries each call, and a semaphore limits the
requests in flight. Each create's intent and ids are committed to SQLite (WAL, synchronous=FULL, as
durable as our journal) before and after the POST. Commits run in a separate thread, which is faster
here than committing on the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import aiohttp
from pydantic import BaseModel, Field, HttpUrl
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from .common import KEY, arguments, body, report, timed


class ImageToVideo(BaseModel):
    """The fields that this benchmark sends, with their single-field rules."""

    model: Literal["V", "KL", "S"]
    prompt: str = Field(min_length=1, max_length=1000)
    image_url: HttpUrl | None = None
    end_image_url: HttpUrl | None = None
    reference_images: list[HttpUrl] = Field(default_factory=list, max_length=7)
    aspect_ratio: Literal["16:9", "9:16"]
    aspect_resolution: Literal["720p", "1080p", "4k"]
    duration: Literal[4, 5, 6, 8, 10, 12]
    generate_audio: bool = False
    generate_count: int = Field(default=1, ge=1, le=4)


class Refused(Exception):
    """Keevx returned 429: the create was not made, and may be sent again."""


class Record:
    """Stores intents and ids in SQLite. Each is committed before the call returns."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE creates (key TEXT PRIMARY KEY, body TEXT, ids TEXT)")

    async def intent(self, key: str, sent: str) -> None:
        await self._write("INSERT INTO creates (key, body) VALUES (?, ?)", key, sent)

    async def ids(self, key: str, ids: list[str]) -> None:
        await self._write("UPDATE creates SET ids = ? WHERE key = ?", " ".join(ids), key)

    async def _write(self, statement: str, *values: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._database.execute, statement, values)

    def close(self) -> None:
        self._thread.shutdown()
        self._database.close()


async def creates(url: str, count: int, at_once: int, record: Record | None) -> int:
    """Send ``count`` creates, with ``at_once`` in flight; return the number of distinct ids."""
    ids: list[str] = []
    slots = asyncio.Semaphore(at_once)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Refused),
        wait=wait_random_exponential(max=30),
        stop=stop_after_attempt(8),
        reraise=True,
    )
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(sent: str) -> list[str]:
            async with session.post(f"{url}/v1/image_to_video", data=sent) as response:
                if response.status == 429:
                    raise Refused
                response.raise_for_status()
                answer = await response.json()
                return list(answer["data"]["task_ids"])

        async def create(number: int) -> None:
            async with slots:
                request = ImageToVideo.model_validate(body(number))
                sent = request.model_dump_json(exclude_defaults=True)
                if record is not None:
                    await record.intent(str(number), sent)
                made: list[str] = await retrying.copy()(post, sent)
                if record is not None:
                    await record.ids(str(number), made)
                ids.extend(made)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(create(number))
    return len(set(ids))


async def main() -> None:
    args = arguments()
    await creates(args.url, min(args.count, 500), args.at_once, None)
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder, "creates.db")) if args.job == "journal" else None
        with timed() as timing:
            ids = await creates(args.url, args.count, args.at_once, record)
        if record is not None:
            record.close()
    report(timing, args.count, ids)


if __name__ == "__main__":
    asyncio.run(main())
