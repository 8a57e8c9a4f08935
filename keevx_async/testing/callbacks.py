"""Callbacks: one POST for each task that ends, to the address its create gave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import attrs

from .records import EmulatedTask
from .state import State

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_AFTER = 0.001  # a timer may fire a tick early, when the task has not ended yet


@attrs.define(eq=False)
class Announcer:
    """Sends callbacks when their time has come, and forgets them when it is closed."""

    state: State
    _session: aiohttp.ClientSession = attrs.field(
        init=False, factory=lambda: aiohttp.ClientSession(timeout=_TIMEOUT)
    )
    _timers: dict[str, asyncio.TimerHandle] = attrs.field(
        init=False, factory=dict[str, asyncio.TimerHandle]
    )
    _sending: set[asyncio.Task[None]] = attrs.field(init=False, factory=set[asyncio.Task[None]])

    def expect(self, tasks: Iterable[EmulatedTask], url: str | None) -> None:
        """Set the clock for tasks with a callback address."""
        if url is None:
            return
        loop = asyncio.get_running_loop()
        for task in tasks:
            timer = loop.call_at(task.ready_at + _AFTER, self._ring, task, url)
            self._timers[task.task_id] = timer

    def _ring(self, task: EmulatedTask, url: str) -> None:
        del self._timers[task.task_id]
        sending = asyncio.get_running_loop().create_task(self._announce(task, url))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _announce(self, task: EmulatedTask, url: str) -> None:
        fault = self.state.faults.callbacks
        if fault == "drop":
            self.state.callbacks["dropped"] += 1
            return
        if fault == "delay":
            await asyncio.sleep(self.state.faults.callback_delay)
        for _ in range(2 if fault == "twice" else 1):
            await self._post(url, self._body(task))

    async def _post(self, url: str, body: object) -> None:
        try:
            async with self._session.post(url, json=body, allow_redirects=False) as response:
                outcome = "delivered" if response.ok else "rejected"
        except (aiohttp.ClientError, TimeoutError, ValueError):
            outcome = "unreachable"
        self.state.callbacks[outcome] += 1

    def _body(self, task: EmulatedTask) -> dict[str, object]:
        """The documented body: create page, section "Callback Notification"."""
        report = self.state.report(task)
        names = ("task_id", "status", *task.kind.announced, "error_message")
        data = {name: report[name] for name in names}
        return {"code": 0, "msg": "ok", "task_type": task.kind.name, "data": data}

    async def close(self) -> None:
        """Cancel what has not been sent; wait until nothing is left."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._session.close()
