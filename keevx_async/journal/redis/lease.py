"""What one process has claimed of a shared journal, and the heartbeat that keeps it."""

from __future__ import annotations

import asyncio
import logging
from secrets import token_hex

from ...errors import JournalError
from ..claims import Claims, Holds
from . import scripts
from .connection import Connection

log = logging.getLogger("keevx_async.journal")

LEASE = 10.0
"""Seconds without a heartbeat after which a worker counts as dead."""


class Lease:
    """One run of one process: its id in Redis, its heartbeat, and the keys it has claimed.

    Args:
        connection: runs scripts.
        duration: seconds that the lease lasts after a heartbeat, of which there are three in
            that time.

    Attributes:
        holder: the id under which Redis knows this run.
        ttl: the duration in milliseconds, as the scripts take it.
        claims: which caller of this process has which key.
    """

    def __init__(self, connection: Connection, duration: float) -> None:
        self.holder: str = token_hex(scripts.HOLDER // 2)
        self.ttl: int = max(1, round(1000 * duration))
        self.claims: Claims = Holds().join(0)
        self._connection = connection
        self._duration = duration
        self._heartbeat: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()

    def start_heartbeat(self) -> None:
        """Send heartbeats from now on; a second call does nothing.

        One that fails is logged: the next may succeed before the lease ends.
        """

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._duration / 3)
                await self._run("the lease could not be extended", scripts.HEARTBEAT, self.ttl)

        # A task of a loop that has stopped sends nothing: a journal may outlive its loop.
        if self._heartbeat is None or self._heartbeat.get_loop() is not asyncio.get_running_loop():
            self._heartbeat = asyncio.create_task(beat())

    def release(self, key: str, *, made: bool) -> asyncio.Task[None]:
        """Begin to give up a claim; the task ends even if nobody awaits it.

        Args:
            key: the key claimed.
            made: whether the create was made; if not, the next equal body gets the same key.
        """

        async def release() -> None:
            # Redis first: who waits for the key in this process must find it free there. If that
            # fails, it is free for this process now, and for all others when the lease ends.
            try:
                await self._run(f"{key} could not be released", scripts.RELEASE, key)
            finally:
                self.claims.release(key, made=made)

        releasing = asyncio.create_task(release())
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)
        return releasing

    async def close(self) -> None:
        """Release everything and end the lease, also if cancelled while keys are being released.

        If Redis cannot be reached, the lease ends by itself.
        """
        # The end of the lease frees whatever could not be released, for workers that wait for it.
        try:
            if self._releasing:
                await asyncio.wait(self._releasing)
        finally:
            heartbeat, self._heartbeat = self._heartbeat, None
            if heartbeat is not None:
                heartbeat.cancel()
                if heartbeat.get_loop() is asyncio.get_running_loop():
                    await asyncio.wait([heartbeat])
                await self._run("the lease could not be ended", scripts.END_LEASE)

    async def _run(self, purpose: str, script: scripts.Script, *values: str | int) -> None:
        try:
            await self._connection.run(purpose, script, self.holder, *values)
        except JournalError as error:
            log.warning("%s", error)
