"""An event loop whose clock jumps to the next timer when nothing else is to be done.

A day of waiting takes no time, and a test that would hang fails: nothing left to wait for.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, ParamSpec, TypeVarTuple

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class _Jump(selectors.DefaultSelector):
    """Asks the sockets without waiting, then moves the clock on by what was to be waited."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("the test hangs: every task waits, and no timer is set")
        if not found and timeout:
            self.now += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Keeps what its exception handler was told, such as an exception nobody retrieved."""

    def __init__(self) -> None:
        self._jump = _Jump()
        self.complaints: list[Mapping[str, Any]] = []
        self.steps = 0
        self._interrupts: dict[int, Callable[[], object]] = {}
        super().__init__(self._jump)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._jump.now

    def interrupt(self, after: int, what: Callable[[], object]) -> None:
        """Call what after so many more steps of any task or callback, between two of them."""
        self._interrupts[self.steps + after + 1] = what

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._step, callback, *args, context=context)

    def _step(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        self.steps += 1
        if what := self._interrupts.pop(self.steps, None):
            what()
        callback(*args)


def simulated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a SimulatedLoop; it must leave no task and no complaint behind."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = SimulatedLoop()
        with asyncio.Runner(debug=False, loop_factory=lambda: loop) as runner:  # debug is slow
            runner.run(_watched(test(*args, **kwargs)))
        assert loop.complaints == []

    return run


async def _watched(test: Awaitable[None]) -> None:
    await test
    await hops(3)  # what was told to end may need a moment to
    assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks were left behind"


async def hops(count: int) -> None:
    """Let the loop go round so many times; the clock stands still."""
    for _ in range(count):
        await asyncio.sleep(0)
