"""Send callbacks: one POST per ended task, to the create's ``callback_url``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import attrs

from .records import EmulatedTask
from .state import State

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_AFTER = 0.001  # seconds; a timer may fire a tick early, before the task has ended


@attrs.define(eq=False)
class Announcer:
    """Sends a callback when a task ends. ``close`` drops callbacks that have not been sent."""

    state: State
    _session: aiohttp.ClientSession = attrs.field(
        init=False, factory=lambda: aiohttp.ClientSession(timeout=_TIMEOUT)
    )
    _timers: dict[str, asyncio.TimerHandle] = attrs.field(
        init=False, factory=dict[str, asyncio.TimerHandle]
    )
    _scripted: dict[str, str] = attrs.field(init=False, factory=dict[str, str])
    _sending: set[asyncio.Task[None]] = attrs.field(init=False, factory=set[asyncio.Task[None]])

    def expect(self, tasks: Iterable[EmulatedTask], url: str | None) -> None:
        """Schedule a callback for each task, unless ``url`` is None."""
        if url is None:
            return
        loop = asyncio.get_running_loop()
        for task in tasks:
            if task.timeline:
                self._scripted[task.task_id] = url
                self.moved(task)
                continue
            ready_at = task.recorded[-1].at if task.recorded else task.ready_at
            timer = loop.call_at(ready_at + _AFTER, self._start, task, url)
            self._timers[task.task_id] = timer

    def moved(self, task: EmulatedTask) -> None:
        """Send a scripted task's callback once its timeline has reached the last status."""
        if len(task.timeline) == 1 and (url := self._scripted.pop(task.task_id, None)):
            self._start(task, url)

    def _start(self, task: EmulatedTask, url: str) -> None:
        self._timers.pop(task.task_id, None)
        sending = asyncio.get_running_loop().create_task(self._send(task, url))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, task: EmulatedTask, url: str) -> None:
        """Send a task's callback, subject to the fault ``callbacks``, and count the outcome.

        The body is documented in the "Callback Notification" section of the create page.
        """
        # The fault is read now, not when the task was made, because a test may change it in
        # between.
        fault = self.state.faults.callbacks
        if fault == "drop":
            self.state.callbacks["dropped"] += 1
            return
        if fault == "delay":
            await asyncio.sleep(self.state.faults.callback_delay)
        for _ in range(2 if fault == "twice" else 1):
            report = self.state.report(task)
            names = ("task_id", "status", *task.kind.announced, "error_message")
            data = {name: report[name] for name in names}
            body = {"code": 0, "msg": "ok", "task_type": task.kind.name, "data": data}
            try:
                async with self._session.post(url, json=body, allow_redirects=False) as response:
                    outcome = "delivered" if response.ok else "rejected"
            except (aiohttp.ClientError, TimeoutError, ValueError):
                outcome = "unreachable"
            self.state.callbacks[outcome] += 1

    async def close(self) -> None:
        """Cancel all unsent callbacks, and wait until none are in flight."""
        # Timers first, because a timer firing during the gather would start a task that nobody
        # awaits.
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._session.close()
