"""A process's claims on a shared journal, and the heartbeat that keeps them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import count
from secrets import token_hex

from ...errors import JournalError
from ..claims import Claims, Holds
from ..encoding import check_key, other_request_error
from ..protocol import DIED_WHILE_SENDING, Claim, stem_of
from . import encoding, scripts
from .connection import Connection, Sleep

log = logging.getLogger("keevx_async.journal")

LEASE = 10.0
"""Seconds without a heartbeat after which a worker counts as dead."""


CLAIM_TIMEOUT = 300.0
"""Seconds to wait for a key that another live worker has claimed."""


class Lease:
    """One run of one process: its id in Redis, its heartbeat, and the keys it has claimed.

    Args:
        connection: runs scripts.
        duration: seconds for which the lease lasts after a heartbeat; three heartbeats are sent in
            that time.
        name: this process's name, as shown to other processes.
        journal: the journal's name, for error messages.
        sleep: waits for the given number of seconds.

    Attributes:
        holder: this run's id in Redis.
        terms: the duration in milliseconds and the name, in the form that scripts expect.
        claims: the keys claimed by this process's callers.
        released_keys: keys that Redis freed when their creates' ids were recorded, and that callers
            in this process have not released yet.
    """

    def __init__(
        self, connection: Connection, duration: float, name: str, journal: str, sleep: Sleep
    ) -> None:
        self.holder: str = token_hex(scripts.HOLDER // 2)
        self.terms: str = f"{max(1, round(1000 * duration))} {name}"
        self.claims: Claims = Holds().join(0)
        self.released_keys: set[str] = set()
        self._fences: dict[str, tuple[int, int]] = {}
        self._tokens = count(1)
        self._connection = connection
        self._duration = duration
        self._journal = journal
        self._sleep = sleep
        self._heartbeat: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()

    def start_heartbeat(self) -> None:
        """Start sending heartbeats. Calling it again has no effect.

        A failed heartbeat is only logged, because the next may succeed before the lease ends.
        """

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._duration / 3)
                await self._run("the lease could not be extended", scripts.HEARTBEAT, self.terms)

        # A task on a stopped loop sends nothing, and a journal may outlive its loop.
        if self._heartbeat is None or self._heartbeat.get_loop() is not asyncio.get_running_loop():
            self._heartbeat = asyncio.create_task(beat())

    def fence(self, key: str) -> tuple[int, int]:
        """Return the token of this run's claim on a key, and the number of the last send attempt.

        Scripts compare both, so a duplicate call that arrives after a later call changes nothing.
        """
        return self._fences.get(key, (0, 0))

    def next_attempt(self, key: str) -> tuple[int, int]:
        """Start a new attempt to send a create; return the claim's token and attempt number."""
        token, attempt = self.fence(key)
        self._fences[key] = (token, attempt + 1)
        return self._fences[key]

    async def claim(self, kind: str, body: bytes, key: str | None) -> Claim:
        """Claim a create's key; see ``RedisJournal.claim``."""
        if key is None:

            async def take(key: str) -> Claim | None:
                try:
                    claim = await self._claim(kind, body, key, numbered=True)
                except BaseException:
                    self.release(key, made=True)
                    raise
                return None if isinstance(claim, str) else claim

            return await self.claims.number_held(stem_of(kind, body), take)
        # The key is claimed first among this process's callers, then among workers. The second
        # claim is retried with growing pauses, because Redis does not call back.
        check_key(key)
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT):
                await self.claims.hold(key)
        except TimeoutError:
            raise self._held_error(key, "another call in this process") from None
        pause, waited = 0.1, 0.0
        try:
            while isinstance(claim := await self._claim(kind, body, key), str):
                if waited == 0.0:
                    what = "%s is claimed by worker %s; waiting for it"
                    log.info(what, key, claim, extra={"key": key})
                if waited >= CLAIM_TIMEOUT:
                    raise self._held_error(key, f"worker {claim}")
                await self._sleep(pause)
                waited += pause
                pause = min(2 * pause, 0.5)
        except BaseException:
            self.release(key, made=True)
            raise
        return claim

    def _held_error(self, key: str, holder: str) -> JournalError:
        return JournalError(
            f"{self._journal}: {key} has been claimed by {holder} for {CLAIM_TIMEOUT:.0f} s. "
            "Find out what it is waiting for, then run again"
        )

    async def _claim(
        self, kind: str, body: bytes, key: str, *, numbered: bool = False
    ) -> Claim | str:
        """Claim a key in Redis. If it is taken, return its holder's name, or "" if it has none."""
        # The token distinguishes a claim repeated after a lost reply from a later claim.
        self.start_heartbeat()
        token = next(self._tokens)
        self._fences[key] = (token, 0)
        values = (self.terms, key, token, kind, body.decode(), int(numbered), DIED_WHILE_SENDING)
        purpose = f"{key} could not be claimed"
        answer = await self._connection.run(
            purpose,
            scripts.CLAIM,
            self.holder,
            *values,
            settled_by=(scripts.HEARTBEAT, self.terms),
        )
        verdict, *rest = answer
        if verdict == b"yours":
            return Claim(key, encoding.entry_of(key, rest[0], held=False))
        del self._fences[key]
        if verdict == b"other" and not numbered:
            raise other_request_error(self._journal, key, rest[0].decode(), body)
        return rest[0].decode() if verdict == b"held" else ""

    def release(self, key: str, *, made: bool) -> asyncio.Task[None]:
        """Start giving up a claim. The returned task completes even if nobody awaits it.

        Args:
            key: the claimed key.
            made: whether the create was made; if not, the next equal body gets the same key.
        """

        async def release() -> None:
            # The key is released in Redis first, because waiters in this process must find it free
            # there. This is retried, because nothing else frees the key while this process lives.
            try:
                if key in self.released_keys:
                    self.released_keys.discard(key)
                else:
                    token, _ = self.fence(key)
                    await self._run(f"{key} could not be released", scripts.RELEASE, key, token)
            finally:
                self._fences.pop(key, None)
                self.claims.release(key, made=made)

        releasing = asyncio.create_task(release())
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)
        return releasing

    async def close(self) -> None:
        """Release everything and end the lease, even if cancelled while keys are being released.

        If Redis cannot be reached, the lease expires automatically.
        """
        # Ending the lease frees any keys that could not be released, so that other workers can
        # claim them.
        try:
            if self._releasing:
                await asyncio.wait(self._releasing, timeout=self._duration)
                for releasing in self._releasing:
                    releasing.cancel()
        finally:
            heartbeat, self._heartbeat = self._heartbeat, None
            if heartbeat is not None:
                heartbeat.cancel()
                if heartbeat.get_loop() is asyncio.get_running_loop():
                    await asyncio.wait([heartbeat])
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._duration):
                        await self._run("the lease could not be ended", scripts.END_LEASE)

    async def _run(self, purpose: str, script: scripts.Script, *values: str | int) -> None:
        try:
            await self._connection.run(purpose, script, self.holder, *values)
        except JournalError as error:
            log.warning("%s", error)
