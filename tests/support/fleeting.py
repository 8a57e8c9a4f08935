"""A worker that dies: run by the fleet's tests, each in a process of its own.

    python -m tests.support.fleeting POINT REDIS_URL KEEVX_URL [SETTINGS]

works until it is killed, or kills itself at POINT of its second create. SETTINGS is JSON: those of
``WorkerSettings``, the fields of its budget, and ``redelivery`` and ``budget_delay``, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from keevx_async import Budget, PollPolicy, RetryPolicy
from keevx_async.docket import KeevxDocket, KeevxWorker, RedisJournal, WorkerSettings, tasks
from keevx_async.docket.rate_limit import SharedRateLimiter
from keevx_async.http.transport import AiohttpTransport
from keevx_async.journal.redis.polls import PollQueue
from tests.support.crashing import any_call, dying, is_create

FLEET = "films"
POLLING = PollPolicy(shortest=0.05, longest=1.0)
REDELIVERY = 4.0
"""Seconds. A lease lasts half of it: on a loaded machine a worker that lives misses a shorter one,
and what it was sending then counts as uncertain."""


POINTS: dict[str, Callable[[], None]] = {
    "nowhere": lambda: None,
    "before the limiter": lambda: dying(SharedRateLimiter, "acquire", any_call, after=False),
    "after the intent": lambda: dying(RedisJournal, "mark_sending", any_call, after=True),
    "after the POST": lambda: dying(AiohttpTransport, "exchange", is_create, after=True),
    "before the poll is added": lambda: dying(PollQueue, "schedule", any_call, after=False),
}


async def main(redis: str, keevx: str, given: str = "{}") -> None:
    more: dict[str, Any] = json.loads(given)
    redelivery = timedelta(seconds=more.pop("redelivery", REDELIVERY))
    tasks.BUDGET_DELAY = timedelta(seconds=more.pop("budget_delay", 30.0))
    budget = more.pop("budget", None)
    settings = WorkerSettings(
        budget=budget and Budget(**budget),
        api_key="test-key",
        base_url=keevx,
        polling=POLLING,
        retry=RetryPolicy(first_delay=0.05),
        **more,
    )
    async with (
        KeevxDocket(FLEET, redis) as docket,
        KeevxWorker(docket, settings, redelivery_timeout=redelivery) as worker,
    ):
        print("working", flush=True)
        await worker.run_forever()


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    asyncio.run(main(*sys.argv[2:]))
