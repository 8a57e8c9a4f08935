"""Signals that end a command: Ctrl-C, SIGTERM of services, SIGHUP of a terminal that was closed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeVar

from keevx_async.settings import RetryPolicy

from .output.report import INTERRUPTED

# SIGBREAK is Windows': Ctrl-Break, and a console window that is closed.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
STOPPING = (
    "keevx: stopping: nothing new starts, creates in flight are given "
    f"{RetryPolicy().grace:.0f} s to answer; Ctrl-C again ends it at once"
)
AT_ONCE = "keevx: ending at once: creates that have not answered are uncertain"

T = TypeVar("T")


def handled() -> list[signal.Signals]:
    """Return the signals that end a command.

    A signal that the parent process had ignored stays ignored: ``nohup`` does so with SIGHUP, a
    shell's ``&`` with SIGINT. None off the main thread, where Python lets no handler be set.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]


@contextmanager
def raising_interrupts() -> Generator[None]:
    """Within the block each signal raises ``KeyboardInterrupt``, where no event loop takes it.

    So SIGTERM ends a wait for a pipe, and what is open is closed. Afterwards the signals do what
    they did before.
    """
    before = {one: signal.signal(one, signal.default_int_handler) for one in handled()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def stoppable(work: Awaitable[T], on_signal: Callable[[int], object]) -> T | int:
    """Await work, which a signal cancels; return its result, or the exit code of an interruption.

    The first signal cancels once, so that creates in flight keep their grace. The second cancels
    again, which ends the grace. A third ends the process as the system does.

    Args:
        work: ends when it is cancelled, with everything known saved.
        on_signal: called with the number of signals so far.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    numbers, times = count(1), 0

    def stop() -> None:
        nonlocal times
        times = next(numbers)
        if task is not None:
            task.cancel()
        if times > 1:
            _leave_to_the_system(loop)
        on_signal(times)

    _take(loop, stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not times:
            raise
        return INTERRUPTED
    finally:
        if times > 1:
            _leave_to_the_system(loop)
        else:
            _release(loop)


def _take(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Have signals call ``stop`` on the loop."""

    def wake(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    for number in handled():
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows: its loops only wake up for a signal
            signal.signal(number, wake)


def _release(loop: asyncio.AbstractEventLoop) -> None:
    """Have signals raise ``KeyboardInterrupt`` again."""
    _reset(loop, signal.default_int_handler)


def _leave_to_the_system(loop: asyncio.AbstractEventLoop) -> None:
    """Have the next signal end the process, and the loop tell nothing of what was cut off.

    asyncio would log tracebacks of tasks that were cancelled in their clean-up; those may quote
    the signed URL of a result.
    """
    _reset(loop, signal.SIG_DFL)
    loop.set_exception_handler(lambda *_: None)


def _reset(loop: asyncio.AbstractEventLoop, handler: Any) -> None:
    for number in handled():
        with suppress(NotImplementedError):
            loop.remove_signal_handler(number)
        signal.signal(number, handler)
