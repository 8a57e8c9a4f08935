"""Handles signals that stop a command: Ctrl-C, SIGTERM, and SIGHUP from a closed terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from keevx_async.settings import RetryPolicy

from .output.console import INTERRUPTED, print_error

# SIGBREAK exists on Windows: Ctrl-Break, or the console window was closed.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
STOPPING = (
    "stopping: nothing new starts, and creates in flight have "
    f"{RetryPolicy().grace:.0f} s to finish; press Ctrl-C again to end now"
)
STOPPING_NOW = "ending now: creates without a response are uncertain"

T = TypeVar("T")


def handled_signals() -> list[signal.Signals]:
    """Return the signals that stop a command.

    Signals that the parent process ignores stay ignored: ``nohup`` ignores SIGHUP, and a shell's
    ``&`` ignores SIGINT. Outside the main thread the list is empty, because Python cannot set
    handlers there.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def raising_interrupts() -> Generator[None]:
    """Make signals raise ``KeyboardInterrupt`` in the block, unless an event loop handles them.

    SIGTERM then also ends a blocking read from a pipe, and open files are closed. The previous
    handlers are restored on exit.
    """
    previous = {
        number: signal.signal(number, signal.default_int_handler) for number in handled_signals()
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def print_stopping(times: int) -> None:
    """Print the effect of a signal on a command that sends creates.

    Args:
        times: the number of signals so far.
    """
    print_error(STOPPING if times == 1 else STOPPING_NOW)


async def stoppable(
    work: Awaitable[T], on_signal: Callable[[int], object], *, terminated: int = INTERRUPTED
) -> T | int:
    """Await work that signals can cancel; return its result, or an exit code if interrupted.

    1. The first signal cancels the work; creates in flight keep their grace period.
    2. The second signal cancels the work again, which ends the grace period.
    3. A third signal kills the process.

    A cancellation that was not caused by a signal is raised. Handlers are set only while the work
    runs; if calls are nested, the inner call handles the signals.

    Args:
        work: the awaitable; it must save everything it knows when it is cancelled.
        on_signal: called with the number of signals so far.
        terminated: the exit code after a single SIGTERM, which is how services are stopped.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    times, first = 0, signal.SIGINT

    def stop(number: signal.Signals) -> None:
        nonlocal times, first
        times += 1
        if times == 1:
            first = number
        if task is not None:
            task.cancel()
        if times > 1:
            end_by_system()
        on_signal(times)

    def end_by_system() -> None:
        # asyncio would log the tracebacks of tasks that were cancelled during their cleanup, and
        # tracebacks may contain a result's signed URL.
        _reset_handlers(loop, signal.SIG_DFL)
        loop.set_exception_handler(lambda loop, context: None)

    def wake(number: int, _: object) -> None:
        loop.call_soon_threadsafe(stop, signal.Signals(number))

    for number in handled_signals():
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:  # on Windows a signal only wakes the loop up
            signal.signal(number, wake)
    try:
        return await work
    except asyncio.CancelledError:
        if not times:
            raise
        return terminated if (times, first) == (1, signal.SIGTERM) else INTERRUPTED
    finally:
        if times > 1:
            end_by_system()
        else:
            _reset_handlers(loop, signal.default_int_handler)


@contextmanager
def passing_signals_to(send: Callable[[signal.Signals], object]) -> Generator[None]:
    """Within the block, forward signals that would stop this command to another process.

    Every foreground process already gets the signals for Ctrl-C and for closing the terminal. They
    are not forwarded, because a second signal would end the other process immediately.

    Args:
        send: sends a signal to the process, which may have ended already.
    """
    loop = asyncio.get_running_loop()

    def pass_on(number: signal.Signals) -> None:
        if not (number in (signal.SIGINT, signal.SIGHUP) and _is_in_foreground()):
            with suppress(ProcessLookupError):
                send(number)

    for number in handled_signals():
        try:
            loop.add_signal_handler(number, pass_on, number)
        except NotImplementedError:  # on Windows, a console signals every process
            signal.signal(number, _ignore)
    try:
        yield
    finally:
        _reset_handlers(loop, signal.default_int_handler)


def _ignore(*_: object) -> None:
    """Ignore a signal."""


def _is_in_foreground() -> bool:
    """Return whether this process is in the foreground of its terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _reset_handlers(loop: asyncio.AbstractEventLoop, handler: Any) -> None:
    for number in handled_signals():
        with suppress(NotImplementedError):
            loop.remove_signal_handler(number)
        signal.signal(number, handler)
