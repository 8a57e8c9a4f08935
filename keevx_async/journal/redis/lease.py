"""What one process holds of a shared journal, and the sign of life that keeps it."""

from __future__ import annotations

import asyncio
import logging
from secrets import token_hex

from ...errors import JournalError
from ..claims import Claims
from . import scripts
from .connection import Connection

log = logging.getLogger("keevx_async")

LEASE = 10.0
"""Seconds after which a worker that is not heard of counts as dead."""


class Lease:
    """One run of one process: who it is in Redis, and which keys are whose within it.

    Args:
        server: runs scripts.
        lease: seconds that a sign of life holds.
    """

    def __init__(self, server: Connection, lease: float) -> None:
        self.holder: str = token_hex(scripts.HOLDER // 2)
        self.ttl: int = max(1, round(1000 * lease))
        self.claims: Claims = Claims(0)
        self._server = server
        self._lease = lease
        self._living: asyncio.Task[None] | None = None
        self._going: set[asyncio.Task[None]] = set()

    def start_heartbeat(self) -> None:
        """Give signs of life from now on."""
        if self._living is None or self._living.get_loop() is not asyncio.get_running_loop():
            self._living = asyncio.create_task(self._heartbeat())

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._server.run("no sign of life", scripts.LIVE, self.holder, self.ttl)
            except JournalError as error:
                log.warning("%s", error)

    def release(self, key: str, *, made: bool) -> asyncio.Task[None]:
        """Begin to let others have a key; that ends even where nobody waits for it."""
        going = asyncio.create_task(self._release(key, made))
        self._going.add(going)
        going.add_done_callback(self._going.discard)
        return going

    async def _release(self, key: str, made: bool) -> None:
        """Redis first: whoever waits for it in this process must find it free there."""
        try:
            await self._server.run(f"{key} is not let go", scripts.RELEASE, self.holder, key)
        except JournalError as error:
            log.warning("%s", error)  # it is free for this process, and for all when this one ends
        finally:
            self.claims.release(key, made=made)

    async def close(self) -> None:
        """Let go of everything, also where this is cancelled while keys are being let go."""
        try:
            if self._going:
                await asyncio.wait(self._going)
        finally:
            await self._die()

    async def _die(self) -> None:
        living, self._living = self._living, None
        if living is None:
            return
        living.cancel()
        if living.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([living])
        try:
            await self._server.run("no sign of death", scripts.DIE, self.holder)
        except JournalError as error:
            log.warning("%s", error)  # its lease ends soon
