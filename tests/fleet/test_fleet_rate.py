"""A fleet's rate, as Redis grants it: no window has more grants than the rate and the burst."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from keevx_async.docket.rate_limit import AHEAD, BURST
from tests.support.crashing import request
from tests.support.fleet import RedisServer
from tests.support.fleet_processes import a_fleet
from tests.support.fleeting import FLEET

pytestmark = pytest.mark.fleet


@asynccontextmanager
async def granted(server: RedisServer) -> AsyncIterator[list[float]]:
    """Collect when turns are granted during the block, in seconds by Redis's clock.

    The limiter's script writes the next turn with each grant, and Redis shows every command.
    """
    grants: list[float] = []
    async with (
        # Without a timeout: nothing is to be seen while workers start, which takes long under load.
        Redis(port=server.port, socket_timeout=None) as client,
        client.monitor() as monitor,
    ):

        async def collect() -> None:
            async for command in monitor.listen():
                if command["command"].startswith(f"SET {{{FLEET}}}:turn "):
                    grants.append(command["time"])  # noqa: PERF401 - read while it grows

        collecting = asyncio.create_task(collect())
        try:
            yield grants
        finally:
            collecting.cancel()
            with suppress(asyncio.CancelledError):  # but no other error: some grants would lack
                await collecting


async def test_no_second_grants_more_than_the_rate_and_the_burst(
    redis_server: RedisServer,
) -> None:
    # When a create arrives depends on the machine's load; when it is granted does not.
    rate = 50
    async with a_fleet(redis_server) as fleet, granted(redis_server) as grants:
        keys = [await fleet.docket.add(request(number)) for number in range(200)]
        await fleet.start_two(rate=float(rate))
        assert await fleet.results(keys) == {"ended": 200}
        assert len(grants) >= fleet.emulator.creates.total() == 200, "a create without a grant"
        most = max(bisect_right(grants, at + 1) - place for place, at in enumerate(grants))
        # A turn may be granted so much before it is due; who gets it waits.
        early = rate * AHEAD / 1000
        assert rate / 2 < most <= rate + BURST * rate + early + 1
